"""SVG charts: places follow the values, and titles are escaped."""

import re
from typing import Any

import numpy as np
import pytest

from ecdm.numerics.statistics import Interval
from ecdm.reporting.charts import Axis, curve_chart, difference_chart
from ecdm.reporting.histories import Run, Series
from ecdm.reporting.labels import shown_metrics

(PSNR,) = shown_metrics(["psnr"])


def line(svg: str, look: str) -> Any:
    (found,) = re.findall(rf'<polyline class="{look}" points="([^"]*)"', svg)
    return np.array([[float(v) for v in point.split(",")] for point in found.split()])


def test_axis_maps_values_and_finds_round_ticks() -> None:
    linear, log = Axis(0, 10, 100, 200), Axis(0.01, 100, 0, 40, logarithmic=True)
    assert [linear.place(v) for v in (0, 2.5, 10)] == [100, 125, 200]
    assert log.place(1) == pytest.approx(20)
    assert linear.ticks(5) == [0, 2, 4, 6, 8, 10]
    assert {1, 10} & set(log.ticks(6))


def test_a_curve_goes_through_its_values() -> None:
    steps = np.array([1, 2, 4, 5])
    svg = curve_chart({Run("ours", 0): Series(steps, np.array([1.0, 3.0, 2.0, 1.0]))}, "L", False)
    points = line(svg, "raw v-ours")
    assert len(points) == 4
    assert np.allclose(np.diff(points[:, 0]) / np.diff(points[:, 0])[0], np.diff(steps), atol=0.02)
    # Up is less in SVG.
    assert points[1, 1] < points[2, 1] < points[0, 1]
    assert points[0, 1] == points[3, 1]


def test_values_at_or_below_zero_have_no_place_on_a_logarithmic_axis() -> None:
    runs = {Run("acda", 0): Series(np.array([1, 2, 3]), np.array([0.0, 0.1, 1.0]))}
    assert len(line(curve_chart(runs, "RMS", True), "raw v-acda")) == 2
    zeros = {Run("acda", 0): Series(np.array([1, 2]), np.zeros(2))}
    assert len(line(curve_chart(zeros, "RMS", True), "raw v-acda")) == 2


def test_differences_stand_on_their_side_of_zero() -> None:
    deltas = {
        ("ours", "10-20", "psnr", True): Interval(1.0, 0.5, 1.5, 4),
        ("sail", "10-20", "psnr", True): Interval(-1.0, -1.5, -0.5, 4),
    }
    svg = difference_chart(deltas, ["10-20"], PSNR, 'a "label" <b>')
    zero = float(re.findall(r'class="zero" d="M([\d.]+)', svg)[0])
    whiskers = [tuple(map(float, pair)) for pair in re.findall(r'class="whisker" d="M([\d.]+) [\d.]+H([\d.]+)', svg)]
    assert whiskers[0][0] > zero > whiskers[1][1]
    assert "Ours, 10–20 %: +1.000 [+0.500, +1.500]" in svg
    assert 'aria-label="a &#34;label&#34; &lt;b&gt;"' in svg
