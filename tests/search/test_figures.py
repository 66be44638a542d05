"""Pictures of a search: what is drawn are its trials, little data is no error, equal trials give equal bytes."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from search_case import DONE, NAME, PAPER, PRUNED, WIDE, add, large, make_study, small

from ecdm.drawing import drawing
from ecdm.search.figures import history, importances, intermediate, write_figures
from ecdm.search.findings import Findings, Studies
from ecdm.search.landscape import landscape, pareto
from ecdm.search.spread import parallel, slices

BEST = {"sail.lambda": 0.345678, "acda.radius": 6.0}
ALL = ["landscape", "history", "slices", "importances", "parallel", "intermediate"]


def drawn(figure: Figure) -> tuple[list[Axes], list[str]]:
    """The panels, and the labels of the legend."""
    figure.draw_without_rendering()
    return figure.axes, [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def points(panel: Axes, label: str) -> list[list[float]]:
    """Where the marks with this label lie."""
    (found,) = (one for one in panel.collections if one.get_label() == label)
    return np.asarray(found.get_offsets()).tolist()


def shown_ticks(panel: Axes, side: str) -> list[str]:
    line, (low, high) = getattr(panel, f"{side}axis"), getattr(panel, f"get_{side}lim")()
    return [tick.label1.get_text() for tick in line.get_major_ticks() if low <= tick.get_loc() <= high]


def made(path: Path) -> list[str]:
    return [one.stem for one in write_figures(MADE[path.name](), path)]


def alone(*params: dict[str, Any], pruned: int = 0) -> Studies:
    """A search of the given trials, the last `pruned` of which were."""
    study = make_study(paper=params[0], slots=len(params))
    for slot, values in enumerate(params):
        gone = slot >= len(params) - pruned
        add(study, slot, values, [] if gone else [24.0 + slot], state=PRUNED if gone else DONE, steps={10: 20.0 + slot})
    return Studies(study, None, None)


LISTS = [{"sail.features": name, "acda.window": "circle"} for name in ("decoder", "residuals")]
MADE = {
    "none": lambda: Studies(make_study(slots=4), None, None),
    "one": lambda: alone(PAPER),
    "two": lambda: alone(PAPER, BEST),
    "three": lambda: alone(PAPER, BEST, {**BEST, "acda.radius": 9.0}),
    "pruned": lambda: alone(PAPER, *[{**BEST, "acda.radius": float(i)} for i in range(6)], pruned=6),
    "all_pruned": lambda: alone(PAPER, BEST, pruned=2),
    "lists": lambda: alone(*LISTS * 5),
    "single": lambda: alone({"sail.lambda": 0.1}, {"sail.lambda": 0.2}),
    "zero": lambda: alone({"acda.radius": 0.0}, {"acda.radius": 0.0}),
    "wide": lambda: large(paper=WIDE),
    "several": lambda: large(several=True),
}
EXPECTED = {
    "none": [],
    "one": ["landscape", "history", "slices", "intermediate"],
    "two": ["landscape", "history", "slices", "parallel", "intermediate"],
    "three": ["landscape", "history", "slices", "parallel", "intermediate"],
    "pruned": ["landscape", "history", "slices", "intermediate"],
    "all_pruned": ["intermediate"],
    "lists": ["history", "slices", "importances", "parallel", "intermediate"],
    "single": ["landscape", "history", "slices", "parallel", "intermediate"],
    "zero": ["landscape", "history", "slices", "parallel", "intermediate"],
    "wide": ALL,
    "several": ["landscape", "pareto", "slices", "importances", "parallel"],
}


@pytest.mark.parametrize("name", MADE)
def test_what_cannot_be_drawn_is_left_out(tmp_path: Path, name: str) -> None:
    assert made(tmp_path / name) == EXPECTED[name]
    for stem in EXPECTED[name]:
        with Image.open(tmp_path / name / f"{stem}.png") as image:
            assert image.width == 1600
            assert "Software" not in image.info
            assert np.asarray(image.convert("L")).min() < 128


def test_equal_trials_give_equal_pictures_whatever_the_users_style(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", 30)):
        with matplotlib.rc_context({"font.size": size, "savefig.dpi": 2 * size}):
            write_figures(large(), tmp_path / name)
    assert sorted(path.stem for path in (tmp_path / "a").iterdir()) == sorted(ALL)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_pictures_of_an_earlier_search_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"kept")
    write_figures(large(), tmp_path)
    write_figures(large(several=True), tmp_path)
    expected = sorted([*EXPECTED["several"], "mine"])
    assert sorted(path.stem for path in tmp_path.iterdir()) == expected


def test_the_landscape_has_every_trial_at_its_place() -> None:
    found = Findings(small())
    with drawing():
        (panel, bar), labels = drawn(landscape(found))
    assert points(panel, "complete") == [[0.1, 4.0], [1.235, 8.0], [0.3457, 6.0]]
    assert points(panel, "pruned") == [[2.5, 30.0]]
    assert points(panel, "paper's values") == [[0.1, 4.0]]
    assert points(panel, "best trial (3)") == [[0.3457, 6.0]]
    assert labels == ["pruned", "complete", "best trial (3)", "paper's values"]
    (complete,) = (one for one in panel.collections if one.get_label() == "complete")
    assert np.asarray(complete.get_array()).tolist() == [24.0, 23.5, 24.25]
    for label in ("pruned", "best trial (3)"):
        (hollow,) = (one for one in panel.collections if one.get_label() == label)
        assert len(hollow.get_facecolor()) == 0
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("λ", "radius")
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    assert bar.get_ylabel() == f"{NAME}, dB (higher is better)"


def test_a_wide_landscape_is_ticked_by_decades() -> None:
    with drawing():
        (panel, _), _ = drawn(landscape(Findings(large(paper=WIDE))))
    assert shown_ticks(panel, "x") == ["0.01", "0.1", "1"]
    assert panel.get_title(loc="left").endswith("(features, window, learning rate vary too)")


def test_few_very_bad_trials_do_not_stretch_the_colours() -> None:
    study = make_study(slots=21)
    for slot in range(21):
        add(study, slot, {**BEST, "acda.radius": float(slot)}, [24.0 + slot / 20 if slot else -900.0])
    with drawing():
        panel = landscape(Findings(Studies(study, None, None))).axes[0]
    (complete,) = (one for one in panel.collections if one.get_label() == "complete")
    low, high = complete.get_clim()
    assert (low, high) == (pytest.approx(24.1), 25.0)


def test_the_band_is_one_standard_deviation_of_noise() -> None:
    studies = small()
    with drawing():
        panels = [drawn(history(Findings(studies)))[0][0], *drawn(slices(Findings(studies)))[0]]
    spread = float(np.std([23.9, 24.1], ddof=1))
    for panel in panels:
        (band,) = (one for one in panel.patches if one.get_label() == "paper's value ± noise (2 seeds)")
        box = band.get_path().get_extents(band.get_patch_transform())
        assert (box.y0, box.y1) == (pytest.approx(24 - spread), pytest.approx(24 + spread))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_history_is_each_value_and_the_best_until_then(direction: str) -> None:
    study = make_study(directions=[direction], slots=7)
    for slot, value in enumerate((4.0, 5.0, 3.0, 9.0, 1.0, 6.0)):
        add(study, slot, BEST, [value], constraints={"memory": 1.0 if slot in (3, 4) else -1.0})
    add(study, 6, BEST, state=PRUNED)
    with drawing():
        (panel,), labels = drawn(history(Findings(Studies(study, None, None))))
    lines = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in panel.lines}
    best = [4.0, 5.0, 5.0, 6.0, 6.0] if direction == "maximize" else [4.0, 4.0, 3.0, 3.0, 3.0]
    assert lines["best so far"] == [[slot, value] for slot, value in zip((0, 1, 2, 5, 6), best, strict=True)]
    assert points(panel, "complete") == [[0, 4.0], [1, 5.0], [2, 3.0], [5, 6.0]]
    assert points(panel, "broke a constraint") == [[3, 9.0], [4, 1.0]]
    assert lines["pruned"][0][0] == 6
    assert "best so far" in labels


def test_slices_put_each_parameter_across_and_categories_by_name() -> None:
    found = Findings(large(paper=WIDE))
    with drawing():
        panels, _ = drawn(slices(found))
    assert [panel.get_xlabel() for panel in panels[:5]] == ["λ", "radius", "features", "window", "learning rate"]
    assert [text.get_text() for text in panels[2].get_xticklabels()] == ["decoder", "residuals"]
    across = [round(x) for x, _ in points(panels[2], "complete")]
    choices = ["decoder", "residuals"]
    assert across == [choices.index(trial.params["sail.features"]) for trial in found.allowed]
    assert [x for x, _ in points(panels[1], "complete")] == [trial.params["acda.radius"] for trial in found.allowed]
    assert [y for _, y in points(panels[1], "complete")] == [trial.value for trial in found.allowed]


def test_parallel_lines_run_from_the_smallest_to_the_largest_value() -> None:
    with drawing():
        (panel, _), labels = drawn(parallel(Findings(small())))
    assert labels == ["paper's values", "best trial"]
    lines = [np.asarray(line.get_ydata()) for line in panel.lines if len(np.asarray(line.get_ydata())) == 3]
    span = np.log10(1.235 / 0.1)
    paper = [0.0, 0.0, 0.5 / 0.75]
    best = [np.log10(3.457) / span, 0.5, 1.0]
    for expected in ([1.0, 1.0, 0.0], paper, best):
        assert any(np.allclose(line, expected) for line in lines)
    assert [text.get_text() for text in panel.get_xticklabels()] == ["λ", "radius", NAME]


def test_curves_of_pruned_trials_are_dashed() -> None:
    with drawing():
        (panel,), labels = drawn(intermediate(Findings(small())))
    lines = {str(line.get_label()): line for line in panel.lines}
    assert np.asarray(lines["paper's values"].get_xydata()).tolist() == [[100, 23], [200, 24]]
    assert np.asarray(lines["pruned"].get_xydata()).tolist() == [[100, 20.5]]
    assert lines["pruned"].is_dashed()
    assert not lines["complete"].is_dashed()
    assert labels == ["complete", "pruned", "paper's values"]


def test_importances_are_bars_with_the_largest_on_top() -> None:
    found = Findings(large(paper=WIDE))
    with drawing():
        (panel,), _ = drawn(importances(found))
    assert [bar.get_width() for bar in panel.containers[0]] == list(reversed(found.importances.values()))


def test_the_front_steps_along_what_some_trial_reaches() -> None:
    for directions in (("minimize", "minimize"), ("maximize", "maximize"), ("maximize", "minimize")):
        found = Findings(Studies(crossed(directions), None, None))
        with drawing():
            (panel,), _ = drawn(pareto(found))
        (stairs,) = panel.lines
        corners = np.asarray(stairs.get_path().interpolated(1).vertices)
        steps = np.asarray(stairs.get_xydata())
        assert len(steps) == len(found.front) == len(found.search.best_trials)
        assert points(panel, "Pareto front") == [[trial.values[1], trial.values[0]] for trial in found.front]
        # Each corner is reached by a trial of the front that is as good on both.
        signs = np.where([found.higher[1], found.higher[0]], 1, -1)
        for corner in corners:
            assert any((signs * (np.array(trial.values[::-1]) - corner) >= 0).all() for trial in found.front)


def crossed(directions: tuple[str, str]) -> optuna.Study:
    rng = np.random.default_rng(6)
    goals = [{"metric": "psnr", "bucket": "50-60"}, {"metric": "training_flops", "bucket": None}]
    study = make_study(objectives=goals, directions=list(directions))
    for slot in range(30):
        add(study, slot, {**BEST, "acda.radius": float(slot)}, list(map(float, rng.random(2))))
    return study


def test_three_objectives_are_drawn_in_pairs_with_the_first() -> None:
    goals = [{"metric": name, "bucket": "50-60"} for name in ("psnr", "ssim", "l1")]
    study = make_study(objectives=goals, directions=["maximize", "maximize", "minimize"], slots=3)
    for slot, values in enumerate(([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [0.0, 0.0, 9.0])):
        add(study, slot, {**BEST, "acda.radius": float(slot)}, values)
    with drawing():
        panels, _ = drawn(pareto(Findings(Studies(study, None, None))))
    assert [points(panel, "not on the front") for panel in panels] == [[[0.0, 0.0]], [[9.0, 0.0]]]
    assert [panel.get_xlabel() for panel in panels] == [
        "ssim/50-60 (higher is better)",
        "l1/50-60 (lower is better)",
    ]
