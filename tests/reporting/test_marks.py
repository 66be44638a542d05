"""Numbers as text, verdicts and their counts."""

import pytest

from ecdm.numerics.statistics import Interval
from ecdm.reporting.labels import shown_metrics
from ecdm.reporting.marks import Count, bounds, number, signed, verdict, verdict_counts
from ecdm.reporting.summary import Key

PSNR, L1 = shown_metrics(["l1", "psnr"])


def test_numbers_have_the_metrics_decimals_and_zero_no_minus() -> None:
    assert (number(0.12345678), number(-0.00001)) == ("0.1235", "0.0000")
    assert [signed(L1, x) for x in (0.1, -0.000006, -0.000004, -0.0)] == [
        "+0.10000",
        "-0.00001",
        "+0.00000",
        "+0.00000",
    ]
    assert bounds(PSNR, Interval(0.0, -0.25, 1.5, 4)) == "[-0.250, +1.500]"
    assert bounds(L1, Interval(0.0, -0.000002, 0.1, 4)) == "[+0.00000, +0.10000]"


def test_an_interval_apart_from_zero_shows_on_which_side_it_lies() -> None:
    assert bounds(L1, Interval(-0.000029, -0.000059, -0.000002, 4)) == "[-0.00006, -0.00000]"
    assert bounds(L1, Interval(0.000029, 0.000002, 0.000059, 4)) == "[+0.00000, +0.00006]"


@pytest.mark.parametrize(
    ("low", "high", "of_psnr", "of_l1"),
    [(0.1, 0.9, "better", "worse"), (-0.9, -0.1, "worse", "better"), (-0.1, 0.1, "open", "open")],
)
def test_a_verdict_needs_an_interval_apart_from_zero(low: float, high: float, of_psnr: str, of_l1: str) -> None:
    found = Interval((low + high) / 2, low, high, 4)
    assert (verdict(PSNR, found), verdict(L1, found)) == (of_psnr, of_l1)


def test_verdicts_are_counted_per_variant_and_bucket() -> None:
    up, down, unsure = Interval(1, 0.5, 1.5, 4), Interval(-1, -1.5, -0.5, 4), Interval(0, -1, 1, 4)
    deltas: dict[Key, Interval] = {
        ("ours", "10-20", "psnr", True): up,
        ("ours", "10-20", "l1", True): up,
        ("ours", "wide", "psnr", True): up,
        ("ours", "wide", "l1", True): down,
        ("sail", "10-20", "psnr", True): down,
        ("sail", "10-20", "l1", True): unsure,
        ("sail", "wide", "psnr", True): unsure,
        ("sail", "wide", "l1", True): unsure,
    }
    assert verdict_counts(deltas, ["10-20", "wide"], ["ours", "sail"], [PSNR, L1]) == [
        ("Ours", [("10–20 %", Count(1, 1, 0)), ("wide strokes", Count(2, 0, 0))]),
        ("w/ SAIL", [("10–20 %", Count(0, 1, 1)), ("wide strokes", Count(0, 0, 2))]),
    ]
