"""Pictures: the same input gives the same bytes, another input another picture, and no date inside."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from ecdm.numerics.statistics import Interval
from ecdm.reporting.figures import bars, curves
from ecdm.reporting.histories import Histories, Run, Series
from ecdm.reporting.labels import shown_metrics
from ecdm.reporting.summary import Key

METRICS = shown_metrics(["psnr", "ssim", "l1"])


def histories(start: float) -> Histories:
    steps = np.arange(5, 50, 5)
    runs = {Run(name, seed): Series(steps, start / steps + seed) for name in ("sail", "ours") for seed in (0, 1)}
    grown = {Run("ours", 0): Series(steps, np.linspace(0, 1, len(steps)))}
    return {"loss_simple": runs, "rms_frequency": grown}


def deltas(value: float) -> dict[Key, Interval]:
    return {
        (variant, bucket, metric.name, True): Interval(value, value - 1, value + 1, 4)
        for variant in ("sail", "ours")
        for bucket in ("10-20", "wide")
        for metric in METRICS
    }


def test_curves_repeat_and_follow_the_data(tmp_path: Path) -> None:
    curves(histories(2.0), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 20}):
        curves(histories(2.0), tmp_path / "b.png")
    curves(histories(3.0), tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_bars_repeat_and_follow_the_data(tmp_path: Path) -> None:
    for name, value in (("a", 0.5), ("b", 0.5), ("c", -0.5)):
        bars(deltas(value), ["10-20", "wide"], METRICS, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


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
