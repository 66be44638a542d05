"""Pictures: the same input gives the same bytes, what is drawn are the data, and no date inside."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ecdm.drawing import save
from ecdm.numerics.statistics import Interval
from ecdm.reporting import figures
from ecdm.reporting.figures import COLOURS, PANELS, bars, curves
from ecdm.reporting.histories import Histories, Run, Series, smoothed
from ecdm.reporting.labels import model_title, shown_metrics
from ecdm.reporting.summary import Key

METRICS = shown_metrics(["psnr", "ssim", "l1"])


def histories(start: float) -> Histories:
    steps = np.arange(5, 50, 5)
    runs = {Run(name, seed): Series(steps, start / steps + seed) for name in ("sail", "ours") for seed in (0, 1)}
    grown = {Run("ours", 0): Series(steps, np.linspace(0, 1, len(steps)))}
    return {"loss_simple": runs, "rms_frequency": grown}


def deltas() -> dict[Key, Interval]:
    """Every mean and both ends are numbers of their own."""
    keys = [(v, b, metric.name, True) for v in ("sail", "ours") for b in ("10-20", "wide") for metric in METRICS]
    return {key: Interval(i - 5.5, i - 5.5 - 0.1 * i - 0.1, i - 5.5 + 0.3, 4) for i, key in enumerate(keys)}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures in the order in which they are written."""
    found: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        found.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save", keep)
    return found


def test_the_same_data_give_the_same_files_whatever_the_users_style(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", 30)):
        with matplotlib.rc_context({"font.size": size, "savefig.dpi": 2 * size}):
            curves(histories(2.0), tmp_path / f"curves_{name}.png")
            bars(deltas(), ["10-20", "wide"], METRICS, tmp_path / f"bars_{name}.png")
    for kind in ("curves", "bars"):
        assert (tmp_path / f"{kind}_a.png").read_bytes() == (tmp_path / f"{kind}_b.png").read_bytes()


def test_curves_are_every_seed_faint_and_their_smoothed_mean(tmp_path: Path, drawn: list[Any]) -> None:
    found = histories(2.0)
    curves(found, tmp_path / "a.png")
    panels = {panel.get_title(loc="left"): panel for panel in drawn[0].axes}
    assert list(panels) == [title for _, title, _ in PANELS]
    for name, title, logarithmic in PANELS:
        runs = found.get(name, {})
        lines = {(line.get_color(), line.get_label()): line for line in panels[title].lines if line.get_alpha() is None}
        faint = [line for line in panels[title].lines if line.get_alpha()]
        assert [(line.get_color(), np.asarray(line.get_ydata()).tolist()) for line in faint] == [
            (COLOURS[run.variant], series.values.tolist()) for run, series in runs.items()
        ]
        variants = list(dict.fromkeys(run.variant for run in runs))
        assert list(lines) == [(COLOURS[variant], model_title(variant)) for variant in variants]
        for variant, line in zip(variants, lines.values(), strict=True):
            mean = smoothed([series for run, series in runs.items() if run.variant == variant])
            assert mean is not None
            np.testing.assert_array_equal(line.get_xydata(), np.stack([mean.steps, mean.values], 1))
        assert panels[title].get_yscale() == ("log" if logarithmic else "linear")


def test_bars_are_means_with_both_ends_of_their_intervals(tmp_path: Path, drawn: list[Any]) -> None:
    buckets, found = ["10-20", "wide"], deltas()
    bars(found, buckets, METRICS, tmp_path / "a.png")
    for panel, metric in zip(drawn[0].axes, METRICS, strict=False):
        side = "below" if metric.name == "l1" else "above"
        assert panel.get_title(loc="left") == f"{metric.title}: {side} 0 is better"
        assert [text.get_text() for text in panel.get_xticklabels()] == ["10–20 %", "wide"]
        for i, variant in enumerate(("sail", "ours")):
            expected = [found[variant, bucket, metric.name, True] for bucket in buckets]
            group, whiskers, markers = panel.containers[i], panel.collections[i], panel.lines[i]
            assert group.get_label() == model_title(variant)
            assert [bar.get_height() for bar in group] == [one.mean for one in expected]
            assert all(bar.get_facecolor()[:3] == to_rgb(COLOURS[variant]) for bar in group)
            places = [bar.get_x() + bar.get_width() / 2 for bar in group]
            assert np.round(places).tolist() == [0, 1]
            ends = [[[x, one.low], [x, one.high]] for x, one in zip(places, expected, strict=True)]
            np.testing.assert_allclose(whiskers.get_segments(), ends)
            np.testing.assert_allclose(
                markers.get_xydata(), [[x, v.mean] for x, v in zip(places, expected, strict=True)]
            )


@pytest.mark.parametrize("empty", ["curves", "bars"])
def test_nothing_to_draw_still_makes_a_picture(tmp_path: Path, empty: str) -> None:
    path = tmp_path / "made" / "a.png"
    if empty == "curves":
        curves({}, path)
    else:
        bars({}, ["10-20"], METRICS, path)
    with Image.open(path) as image:
        assert image.size[0] == 1600
        assert "Software" not in image.info
        assert np.asarray(image.convert("L")).min() < 128
