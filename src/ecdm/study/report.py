"""What a study found: tables, Figure 7, and the same in the tracker."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ecdm.data.coco import load_image
from ecdm.data.files import fresh_folder
from ecdm.drawing import DPI, WIDTH, drawing, save
from ecdm.numerics.statistics import Interval
from ecdm.reporting.figures import COLOURS, MARKERS, OTHER
from ecdm.reporting.labels import bucket_title, model_title
from ecdm.reporting.tables import Table
from ecdm.study.plan import KINDS, PLAN, Plan
from ecdm.study.shares import Shares, count_shares
from ecdm.study.votes import VOTES, Votes
from ecdm.tracker import Tracker

FIGURE, TABLES, SHARES, PAIRS = "figure7.png", "study.md", "shares.csv", "pairs.csv"
TITLES = {"text": "Text alignment", "realism": "Image realism"}
ENDS = ("share", "low", "high")
LEVEL = 0.95


@dataclass(frozen=True)
class Report:
    """A written report: its plan, what was counted, the folder, and the revision of the votes that it counts."""

    plan: Plan
    found: Shares
    folder: Path
    revision: int


def report_study(folder: Path, out: Path) -> Report:
    """Count the votes in the study `folder` and write study.md, shares.csv, pairs.csv (pairwise) and figure7.png.

    Equal votes give equal files. Raises: as `Plan.read` and `Votes`; FileNotFoundError before the first
    `ecdm study serve`; ValueError without votes and for an `out` that holds something else. An error leaves `out`
    as it was.
    """
    plan = Plan.read(folder / PLAN)
    if not (folder / VOTES).is_file():
        raise FileNotFoundError(f"{folder / VOTES}: no such file; `ecdm study serve` collects votes")
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {FIGURE, TABLES, SHARES, PAIRS}):
        raise ValueError(f"{out}: found other files, expected a new folder or an earlier report")
    votes = Votes(folder / VOTES, plan)
    # Read before the votes: one that comes in between is then counted under a revision that is reported again.
    revision = votes.revision()
    found = count_shares(plan, votes.all(), LEVEL)
    with fresh_folder(out) as beside:
        figure_7(plan, found, beside / FIGURE)
        (beside / TABLES).write_text(markdown(plan, found), encoding="utf-8")
        rows = ((kind, method, *_numbers(interval)) for (kind, method), interval in found.shares.items())
        _write_csv(beside / SHARES, ("question", "method", "answers", *ENDS), rows)
        if found.pairs:
            duels = ((*key, *_numbers(interval)) for key, interval in found.pairs.items())
            _write_csv(beside / PAIRS, ("question", "method", "against", "answers", *ENDS), duels)
    return Report(plan, found, out, revision)


def track(tracker: Tracker, report: Report) -> None:
    """Log settings, shares with their intervals and the report's files; the step is the revision of the votes."""
    found, step = report.found, report.revision
    tracker.params({"study": report.plan.settings.model_dump(mode="json", exclude={"seed"})})
    values = {"participants": float(found.participants), "votes": float(found.votes)}
    for (kind, method), interval in found.shares.items():
        values |= {f"{kind}/{method}/{end}": x for end, x in zip(ENDS, _numbers(interval)[1:], strict=True)}
    for (kind, method, other), interval in found.pairs.items():
        name = f"{kind}/{method}_over_{other}"
        values |= {f"{name}/{end}": x for end, x in zip(ENDS, _numbers(interval)[1:], strict=True)}
    tracker.metrics({name: value for name, value in values.items() if not isnan(value)}, step)
    tracker.image("figure_7", load_image(report.folder / FIGURE), step)
    for path in sorted(report.folder.iterdir()):
        # A folder per revision: a tracker may take a file of the same name and length for the one it has.
        tracker.artifact(path, f"study/revision-{step}")


def markdown(plan: Plan, found: Shares) -> str:
    """The report as Markdown."""
    settings, pairwise = plan.settings, plan.settings.mode == "pairwise"
    shown = "two methods at a time" if pairwise else f"all {len(settings.methods)} methods at once"
    lines = [
        "# User study",
        f"{found.participants} participants, {found.complete} of them with all {len(plan.questions)} answers, "
        f"{found.votes} answers in all; {shown}.",
        f"Data set {settings.dataset}, hole {bucket_title(settings.bucket)}, pasted outputs of training seed "
        f"{settings.training_seed}; plan {plan.digest[:12]}.",
        f"![Figure 7]({FIGURE})",
        "## Share of answers that chose the method",
        _share_table(plan, found).markdown(),
    ]
    if pairwise:
        lines += ["## Share of answers that preferred the first method", _pair_table(plan, found).markdown()]
    lines.append(
        f"Intervals: {LEVEL:.0%} Wilson score intervals. Answers of one participant are not independent, so the "
        "number of answers is divided by the design effect between participants. "
        f"By chance alone: {_percent(_chance(plan))}."
    )
    return "\n\n".join(lines) + "\n"


def figure_7(plan: Plan, found: Shares, path: Path) -> None:
    """Draw the share of every method, one panel per question, with intervals and the share by chance alone."""
    methods = plan.settings.methods
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, layout="constrained")
        axes = figure.subplots(1, len(KINDS), sharey=True)
        for panel, kind in zip(axes, KINDS, strict=True):
            _panel(panel, methods, [found.shares[kind, method] for method in methods])
            panel.axhline(_chance(plan), color="#777777", linewidth=1.2, linestyle=(0, (4, 3)), label="By chance")
            panel.set_title(TITLES[kind])
        axes[0].set_ylabel("Share of answers")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes[0].legend(loc="upper left")
        note = f"{found.votes} answers of {found.participants} participants, {LEVEL:.0%} intervals"
        figure.supxlabel(note, fontsize=10, color="#555555")
        save(figure, path)


def _panel(panel: Axes, methods: tuple[str, ...], shares: list[Interval]) -> None:
    for x, (method, interval) in enumerate(zip(methods, shares, strict=True)):
        if isnan(interval.mean):
            panel.text(x, 0.02, "no\nanswers", ha="center", color="#777777")
            continue
        colour = COLOURS.get(method, OTHER)
        panel.bar(x, interval.mean, 0.66, color=colour, alpha=0.55)
        panel.vlines(x, interval.low, interval.high, color="#222222", linewidth=1.3)
        panel.plot(x, interval.mean, MARKERS.get(method, "o"), color=colour, mec="#222222", markersize=5)
        panel.annotate(
            f"{interval.mean:.0%}", (x, interval.high), xytext=(0, 4), textcoords="offset points", ha="center"
        )
    top = max((interval.high for interval in shares if not isnan(interval.high)), default=1.0)
    panel.set_ylim(0, max(panel.get_ylim()[1], 1.15 * top))
    panel.grid(False, axis="x")
    panel.set_xticks(np.arange(len(methods)), [model_title(method) for method in methods])
    panel.tick_params(axis="x", length=0, rotation=30 if len(methods) > 5 else 0)


def _share_table(plan: Plan, found: Shares) -> Table:
    rows = [
        (model_title(method), *(_cell(found.shares[kind, method]) for kind in KINDS))
        for method in plan.settings.methods
    ]
    return Table(("Method", *(TITLES[kind] for kind in KINDS)), tuple(rows))


def _pair_table(plan: Plan, found: Shares) -> Table:
    pairs = dict.fromkeys((first, second) for _, first, second in found.pairs)
    rows = [
        (model_title(first), model_title(second), *(_cell(found.pairs[kind, first, second]) for kind in KINDS))
        for first, second in pairs
    ]
    return Table(("Method", "Against", *(TITLES[kind] for kind in KINDS)), tuple(rows), left=(0, 1))


def _chance(plan: Plan) -> float:
    return 0.5 if plan.settings.mode == "pairwise" else 1 / len(plan.settings.methods)


def _cell(interval: Interval) -> str:
    if isnan(interval.mean):
        return "–"
    return f"{_percent(interval.mean)}\n[{_percent(interval.low)}, {_percent(interval.high)}], n = {interval.n}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _numbers(interval: Interval) -> tuple[int, float, float, float]:
    return interval.n, interval.mean, interval.low, interval.high


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{x:.6f}" if isinstance(x, float) else x for x in row] for row in rows)
    path.write_text(text.getvalue(), encoding="utf-8")
