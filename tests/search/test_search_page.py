"""The page of a search and what a tracking server gets: complete, alone, without what workers wrote of themselves."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, browser_page
from matplotlib.colors import to_hex
from optuna.trial import TrialState, create_trial
from PIL import Image
from plotly.offline import get_plotlyjs
from search_case import FAIL, NAME, PAPER, START, WIDE, add, large, make_study, small

from ecdm.drawing import drawing
from ecdm.search.findings import Findings, Studies
from ecdm.search.page import PAGE, mirror_files
from ecdm.search.plots import Plot, plots
from ecdm.search.timeline import STATES, timeline
from ecdm.search.verdict import verdict

SECRET = "postgresql://anna:her-secret@db.example/studies"


def search_page(studies: Studies) -> str:
    return mirror_files(studies)[PAGE].decode()


def named(studies: Studies) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots(Findings(studies))}


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_quiet_alone_and_never_sideways(tmp_path: Path, size: tuple[int, int], several: bool) -> None:
    studies = large(paper=WIDE, several=several)
    (tmp_path / "search.html").write_text(search_page(studies), encoding="utf-8")
    address = (tmp_path / "search.html").as_uri()
    with browser_page(size) as (page, seen):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_function("document.querySelectorAll('.main-svg .xtick').length > 10")
        assert page.locator(".js-plotly-plot").count() == len(named(studies))
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [address]
        assert seen.errors == []
        verdict_box, first = page.locator(".verdict").bounding_box(), page.locator("section").first.bounding_box()
        assert verdict_box is not None
        assert first is not None
        assert verdict_box["y"] < first["y"]
        assert page.locator(".verdict").inner_text() == verdict(studies).sentence


def test_plotly_is_inlined_once_and_figures_stand_in_order() -> None:
    text = search_page(large())
    assert text.count(get_plotlyjs()) == 1
    assert "<script src" not in text
    names = ["landscape", "history", "slices", "importances", "parallel", "intermediate", "timeline"]
    places = [text.index(f'<div id="{name}"') for name in names]
    assert places == sorted(places)


def test_figures_show_the_applied_values_of_results_alone() -> None:
    found = named(small())
    across = found["landscape"].figure.data[1]
    assert list(across.x) == [0.1, 1.235, 0.3457]
    assert list(across.y) == [4.0, 8.0, 6.0]
    contour = found["landscape"].figure.data[0]
    assert np.asarray(contour.z)[list(contour.y).index(8.0), list(contour.x).index(1.235)] == 23.5
    assert found["landscape"].figure.layout.xaxis.title.text == "λ"
    assert found["landscape"].figure.layout.xaxis.type == "log"
    marks = {trace.name: (trace.x[0], trace.y[0]) for trace in found["landscape"].figure.data[-2:]}
    assert marks == {"best trial": (0.3457, 6.0), "paper's values": (0.1, 4.0)}
    values = found["history"].figure.data[0]
    assert dict(zip(values.x, values.y, strict=True)) == {0: 24.0, 1: 23.5, 3: 24.25}
    curves = {trace.name: trace for trace in found["intermediate"].figure.data}
    assert list(curves["Trial1"].y) == [22.0]
    assert curves["Trial2"].line.dash == "dash"
    assert curves["Trial0"].line.dash is None


def test_the_band_of_noise_is_in_history_and_slices() -> None:
    spread = float(np.std([23.9, 24.1], ddof=1))
    found = named(small())
    for name, bands in (("history", 1), ("slices", 2)):
        boxes = [shape for shape in found[name].figure.layout.shapes if shape.type == "rect"]
        assert len(boxes) == bands
        assert [(box.y0, box.y1) for box in boxes] == [(pytest.approx(24 - spread), pytest.approx(24 + spread))] * bands


def test_failed_attempts_are_in_the_timeline_alone() -> None:
    found = named(small())
    names = {trace.name: list(trace.y) for trace in found["timeline"].figure.data}
    assert names == {"COMPLETE": [0, 3, 4], "FAIL": [1], "PRUNED": [2]}


def test_what_a_worker_wrote_neither_breaks_the_page_nor_gives_a_password_away() -> None:
    study = make_study(slots=3)
    add(study, 0, PAPER, [24.0], worker="</script><script>alert(1)</script>")
    add(study, 1, {**PAPER, "acda.radius": 5.0}, [24.5], state=FAIL, reason=f"{SECRET} went away")
    add(study, 2, {**PAPER, "acda.radius": 6.0}, [24.5])
    text = search_page(Studies(study, None, None))
    assert "<script>alert" not in text
    assert "her-secret" not in text


def test_a_search_that_has_not_begun_has_a_page() -> None:
    studies = Studies(make_study(slots=3), None, None)
    files = mirror_files(studies)
    assert list(files) == ["search.html"]
    assert "0 of 3 trials are done" in files["search.html"].decode()


def test_a_tracking_server_gets_the_page_first_and_every_picture() -> None:
    files = mirror_files(large(several=True))
    names = ["landscape", "pareto", "slices", "importances", "parallel", "timeline"]
    assert list(files) == ["search.html", *(f"{name}.png" for name in names)]
    for name in names:
        with Image.open(io.BytesIO(files[f"{name}.png"])) as image:
            assert image.width == 1600


def test_the_timeline_has_a_bar_per_attempt_in_the_row_of_its_worker() -> None:
    studies = small()
    going = create_trial(state=TrialState.RUNNING, user_attrs={"slot": 4, "worker": "late"})
    going.datetime_start = START + timedelta(minutes=10)
    studies.search.add_trial(going)
    with drawing():
        panel = timeline(Findings(studies)).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["host-0", "host-1", "host-2", "late"]
    bars = []
    for group in panel.collections:
        (path,) = group.get_paths()
        box = path.get_extents()
        red, green, blue, _ = map(float, np.asarray(group.get_facecolor())[0])
        bars.append((round((box.y0 + box.y1) / 2), round(box.x0), round(box.x1), to_hex((red, green, blue))))
    colours = {label: to_hex(colour) for label, colour in STATES.values()}
    # Noise and confirmation run in slots 0 and 1 as well, at the same times.
    done, lost, pruned, running = (colours[name] for name in ("complete", "lost or failed", "pruned", "running"))
    expected = {
        (0, 0, 8, done),
        (1, 1, 9, lost),
        (1, 1, 9, done),
        (2, 2, 5, pruned),
        (0, 9, 17, done),
        (3, 10, 17, running),
    }
    assert set(bars) == expected
    assert len(bars) == 10
    assert panel.get_xlabel() == "Minutes since the first trial"


def test_names_of_objectives_stand_on_the_axes() -> None:
    found = named(large())
    for name in ("history", "slices", "intermediate"):
        assert found[name].figure.layout.yaxis.title.text == NAME
