"""Tables of the ablation in the paper's Table 2 layout, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecdm.reporting.cited import Cell, ResultTable
from ecdm.reporting.gates import Gate
from ecdm.reporting.labels import METRICS, model_title
from ecdm.reporting.marks import SIGNS, Count
from ecdm.reporting.published import TABLE_2, TABLE_2_METRICS

MARKS = {"best": "<b>{}</b>", "second": "<u>{}</u>", "third": "<i>{}</i>", "": "{}"}


@dataclass(frozen=True)
class Table:
    """Header and rows of finished cells; the columns in `left` are set flush left, the others right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)

    def markdown(self) -> str:
        """The table in pipe syntax; line breaks in cells become `<br>`, pipes are escaped."""
        rule = [":--" if i in self.left else "--:" for i in range(len(self.header))]
        lines = [self.header, tuple(rule), *self.rows]
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def results(found: ResultTable) -> Table:
    """Means of one bucket: best bold, second underlined, third italic, references below the variants."""
    rows = [
        (
            line.title if line.variant else f"{line.title} (reference)",
            *(MARKS[cell.rank].format(cell.mean.text) for cell in line.cells),
        )
        for line in found.lines
    ]
    return Table(_header(found), tuple(rows))


def difference_table(found: ResultTable) -> Table:
    """Differences of one bucket to baseline with intervals; ▲ or ▼ where the interval excludes 0."""
    lines = [line for line in found.lines if line.cells[0].change]
    return Table(_header(found), tuple((line.title, *map(_difference, line.cells)) for line in lines))


def verdicts(counts: Sequence[tuple[str, Sequence[tuple[str, Count]]]]) -> Table:
    """`verdict_counts` as a table."""
    better, worse = SIGNS.values()
    rows = [
        (variant, *(f"{one.better} {better} · {one.worse} {worse} · {one.open} open" for _, one in cells))
        for variant, cells in counts
    ]
    return Table(("Model", *(bucket for bucket, _ in counts[0][1])), tuple(rows))


def published_table() -> Table:
    """The paper's own Table 2, numbers and bold as printed there."""
    metrics = {metric.name: metric for metric in METRICS}
    header = ("Model", *(metrics[name].heading for name in TABLE_2_METRICS))
    rows = [
        (model_title(name), *(MARKS["best" if name == "ours" else ""].format(text) for text in texts))
        for name, texts in TABLE_2.items()
    ]
    return Table(header, tuple(rows))


def gate_table(gates: Sequence[Gate]) -> Table:
    """One row per gate; a gate that does not hold is marked in red."""
    rows = [
        (
            f"`{gate.name}`",
            gate.value,
            gate.bound,
            gate.interval,
            "yes" if gate.holds else red("no"),
            gate.note,
        )
        for gate in gates
    ]
    return Table(("Gate", "Value", "Bound", "Interval", "Holds", "Note"), tuple(rows), left=(0, 4, 5))


def red(text: str) -> str:
    """Bold and red where HTML styles are shown, bold elsewhere."""
    return f'<span style="color:#c00000"><b>{text}</b></span>'


def _header(found: ResultTable) -> tuple[str, ...]:
    return ("Model", *(metric.heading for metric in found.metrics))


def _difference(cell: Cell) -> str:
    mean, sign = cell.change.text if cell.change else "–", SIGNS.get(cell.verdict)
    return f"{f'<b>{mean}</b> {sign}' if sign else mean}\n{cell.interval}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
