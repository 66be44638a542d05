"""Cited numbers: ranks, verdicts, dashes, and the place each number names."""

from __future__ import annotations

from ecdm.numerics.statistics import Interval
from ecdm.reporting.cited import Cell, Cited, Source, gate_lines, result_table
from ecdm.reporting.gates import Gate, Gates
from ecdm.reporting.labels import shown_metrics
from ecdm.reporting.summary import Key, Row

METRICS = ("psnr", "l1")
PSNR, L1 = shown_metrics(METRICS)
# psnr and l1 of every model; None where it was not scored.
MEANS = {"baseline": (20.0, 0.2), "sail": (21.0, 0.1), "acda": (19.0, 0.2), "ours": (18.0, 0.4), "vae": (40.0, None)}
CHANGES = {"sail": ((1.0, 0.5, 1.5), (-0.1, -0.2, -0.05)), "acda": ((-1.0, -2.0, 0.5), (0.1, 0.05, 0.2))}


def rows(interval: dict[tuple[str, str], Interval], seed: str) -> dict[Key, Row]:
    return {(v, "wide", m, False): Row(v, seed, "wide", m, False, found, True) for (v, m), found in interval.items()}


def table() -> dict[str, tuple[Cell, ...]]:
    """Cells by the title of their row."""
    means = {
        (name, metric): Interval(value, 0, 50, 4)
        for name, values in MEANS.items()
        for metric, value in zip(METRICS, values, strict=True)
        if value is not None
    }
    changes = {
        (name, metric): Interval(*ends, 4)
        for name, both in CHANGES.items()
        for metric, ends in zip(METRICS, both, strict=True)
    }
    source = Source(rows(means, "all"), rows(changes, "0"), "some.csv", False, [*MEANS][:4], ["vae", "telea"])
    found = result_table(source, "wide", 4, [PSNR, L1])
    assert (found.heading, found.n, found.metrics) == ("Wide strokes", 4, [PSNR, L1])
    assert [line.variant for line in found.lines] == [True] * 4 + [False]
    return {line.title: line.cells for line in found.lines}


def test_ranks_go_by_the_better_side_and_end_at_the_third() -> None:
    ranks = {title: [cell.rank for cell in cells] for title, cells in table().items()}
    assert ranks == {
        "Baseline": ["second", "second"],
        "w/ SAIL": ["best", "best"],
        "w/ ACDA": ["third", "second"],
        "Ours": ["", "third"],
        "VAE ceiling": ["", ""],
    }


def test_a_difference_has_its_interval_its_verdict_and_its_row() -> None:
    cells = table()
    assert [cell.verdict for title in ("w/ SAIL", "w/ ACDA") for cell in cells[title]] == [
        *("better", "better"),
        *("open", "worse"),
    ]
    psnr, l1 = cells["w/ ACDA"]
    assert psnr.change == Cited("-1.000", "differences.csv", "acda,0,wide,psnr,0")
    assert (psnr.interval, l1.interval) == ("[-2.000, +0.500]", "[+0.05000, +0.20000]")
    assert all(cell.change is None and cell.verdict == "" for cell in cells["Baseline"])


def test_a_mean_names_its_row_and_a_missing_one_is_a_dash() -> None:
    psnr, l1 = table()["VAE ceiling"]
    assert psnr.mean.href == "some.csv#vae,all,wide,psnr,0"
    assert psnr.mean.source == "some.csv: vae,all,wide,psnr,0"
    assert l1 == Cell(Cited("–"))
    assert (l1.mean.href, l1.mean.source) == ("", "")


def test_a_gate_cites_the_numbers_that_it_has() -> None:
    (line,) = gate_lines(Gates(True, (Gate("a.b", "1", "> 0", "", True, ""),)), "gates.json")
    assert line.value == Cited("1", "gates.json", "/gates/a.b/value")
    assert line.bound.key == "/gates/a.b/bound"
    assert line.interval == Cited("")
