"""Ranks, marks and layout of tables."""

import pytest

from ecdm.numerics.statistics import Interval
from ecdm.reporting.cited import ResultTable, Source, result_table
from ecdm.reporting.gates import Gate
from ecdm.reporting.labels import METRICS, bucket_title, shown_metrics
from ecdm.reporting.marks import Count
from ecdm.reporting.summary import Key, Row
from ecdm.reporting.tables import Table, difference_table, gate_table, published_table, results, verdicts

PSNR, L1 = shown_metrics(["l1", "psnr"])


def mean(value: float) -> Interval:
    return Interval(value, value - 1, value + 1, 4)


def table_of(means: dict[Key, Interval], changes: dict[Key, Interval], references: tuple[str, ...] = ()) -> ResultTable:
    found, deltas = ({key: Row(key[0], "0", *key[1:], value, True) for key, value in one.items()}
                     for one in (means, changes))  # fmt: skip
    variants = [name for name in dict.fromkeys(key[0] for key in means) if name not in references]
    return result_table(Source(found, deltas, "a.csv", True, variants, references), "10-20", 4, [PSNR, L1])


def psnr_means(*values: float) -> dict[Key, Interval]:
    return {(f"v{i}", "10-20", metric, True): mean(v) for i, v in enumerate(values) for metric in ("psnr", "l1")}


def test_first_three_are_marked_in_the_direction_of_the_metric() -> None:
    rows = results(table_of(psnr_means(1.0, 4.0, 2.0, 3.0), {})).rows
    assert [psnr for _, psnr, _ in rows] == ["1.0000", "<b>4.0000</b>", "<i>2.0000</i>", "<u>3.0000</u>"]
    assert rows[0][2] == "<b>1.0000</b>"


def test_what_prints_equal_ranks_equal() -> None:
    rows = results(table_of(psnr_means(0.12341, 0.12339, 0.2), {})).rows
    assert [l1 for *_, l1 in rows] == ["<b>0.1234</b>", "<b>0.1234</b>", "<u>0.2000</u>"]
    assert [psnr for _, psnr, _ in results(table_of(psnr_means(0.5, 0.5), {})).rows] == ["0.5000", "0.5000"]


def test_markdown_escapes_pipes_and_breaks_lines() -> None:
    table = Table(("a", "b"), (("x|y", "1\n2"),))
    assert table.markdown() == "| a | b |\n| :-- | --: |\n| x\\|y | 1<br>2 |"


def test_references_stand_below_and_are_not_ranked() -> None:
    means: dict[Key, Interval] = {
        (name, "10-20", metric, True): mean(value)
        for name, value in (("baseline", 1.0), ("ours", 2.0), ("vae", 9.0))
        for metric in ("psnr", "l1")
    }
    del means["vae", "10-20", "l1", True]
    table = results(table_of(means, {}, ("vae", "telea")))
    assert table.header == ("Model", "PSNR ↑", "Mean ℓ1 ↓")
    assert table.rows == (
        ("Baseline", "<u>1.0000</u>", "<b>1.0000</b>"),
        ("Ours", "<b>2.0000</b>", "<u>2.0000</u>"),
        ("VAE ceiling (reference)", "9.0000", "–"),
    )


@pytest.fixture
def deltas() -> dict[Key, Interval]:
    return {
        ("ours", "10-20", "psnr", True): Interval(0.5, 0.1, 0.9, 4),
        ("ours", "10-20", "l1", True): Interval(0.002, 0.001, 0.003, 4),
        ("sail", "10-20", "psnr", True): Interval(-0.5, -0.9, -0.1, 4),
        ("sail", "10-20", "l1", True): Interval(-0.002, -0.005, 0.001, 4),
    }


def test_differences_are_marked_by_what_is_better(deltas: dict[Key, Interval]) -> None:
    means = {(name, "10-20", m, True): mean(1.0) for name in ("baseline", "ours", "sail") for m in ("psnr", "l1")}
    assert difference_table(table_of(means, deltas)).rows == (
        ("Ours", "<b>+0.500</b> ▲\n[+0.100, +0.900]", "<b>+0.00200</b> ▼\n[+0.00100, +0.00300]"),
        ("w/ SAIL", "<b>-0.500</b> ▼\n[-0.900, -0.100]", "-0.00200\n[-0.00500, +0.00100]"),
    )


def test_verdicts_show_the_counts() -> None:
    counts = [("Ours", [("10–20 %", Count(1, 2, 3)), ("wide strokes", Count(4, 5, 6))])]
    table = verdicts(counts)
    assert table.header == ("Model", "10–20 %", "wide strokes")
    assert table.rows == (("Ours", "1 ▲ · 2 ▼ · 3 open", "4 ▲ · 5 ▼ · 6 open"),)


def test_published_values_are_as_printed() -> None:
    table = published_table()
    assert table.header == ("Model", "PSNR ↑", "SSIM ↑", "Mean ℓ1 ↓", "LPIPS ↓")
    assert table.rows[1] == ("w/ SAIL", "21.7218", "0.7764", "0.0383", "0.1072")
    assert table.rows[3] == ("Ours", "<b>22.0327</b>", "<b>0.7804</b>", "<b>0.0373</b>", "<b>0.1039</b>")


def test_a_failed_gate_is_red() -> None:
    rows = gate_table([Gate("vae.psnr", "26", "≥ 27", "", False, ""), Gate("b", "1", "", "", True, "")]).rows
    assert rows[0][0] == "`vae.psnr`"
    assert "color:#c00000" in rows[0][4]
    assert rows[1][4] == "yes"


def test_random_perceptual_distance_never_bears_the_name_of_the_real_one() -> None:
    titles = {metric.name: metric.heading for metric in METRICS}
    assert titles["lpips_random"] == "`lpips_random` ↓"
    assert titles["lpips"] == "LPIPS ↓"


def test_bucket_titles() -> None:
    assert [bucket_title(name) for name in ("10-20", "wide")] == ["10–20 %", "wide strokes"]
