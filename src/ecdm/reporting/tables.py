"""Tables of the summary in the paper's Table 2 layout, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecdm.numerics.statistics import Interval
from ecdm.reporting.gates import Gate
from ecdm.reporting.labels import METRICS, Metric, bucket_title, model_title
from ecdm.reporting.published import TABLE_2, TABLE_2_METRICS
from ecdm.reporting.summary import Key

DECIMALS = 4
MARKS = ("<b>{}</b>", "<u>{}</u>", "<i>{}</i>")
BETTER, WORSE = "▲", "▼"


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


def ranks(values: Sequence[float], higher: bool) -> list[int]:
    """0 for the best, 1 for the second and so on; equal as printed, equal in rank; -1 where all are equal."""
    printed = [float(number(value)) for value in values]
    order = sorted(set(printed), reverse=higher)
    return [order.index(value) if len(order) > 1 else -1 for value in printed]


def ranked(values: Sequence[float], higher: bool) -> list[str]:
    """Numbers as text, best bold, second underlined, third italic."""
    marks = dict(enumerate(MARKS))
    places = zip(values, ranks(values, higher), strict=True)
    return [marks.get(rank, "{}").format(number(value)) for value, rank in places]


def results(
    means: Mapping[Key, Interval],
    bucket: str,
    variants: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[Metric],
    pasted: bool,
) -> Table:
    """Means of one bucket: variants ranked among themselves, references below them unranked.

    A reference without these values is left out, a single missing value is a dash.
    """
    columns = [
        ranked([means[name, bucket, metric.name, pasted].mean for name in variants], metric.higher)
        for metric in metrics
    ]
    rows = [(model_title(name), *cells) for name, *cells in zip(variants, *columns, strict=True)]
    for name in references:
        found = [means.get((name, bucket, metric.name, pasted)) for metric in metrics]
        if any(found):
            cells = [number(interval.mean) if interval else "–" for interval in found]
            rows.append((f"{model_title(name)} (reference)", *cells))
    return Table(("Model", *(metric.heading for metric in metrics)), tuple(rows))


def difference_table(
    deltas: Mapping[Key, Interval], bucket: str, variants: Sequence[str], metrics: Sequence[Metric]
) -> Table:
    """Pasted differences to baseline with intervals; ▲ or ▼ where the interval excludes 0."""
    rows = []
    for name in variants:
        found = [deltas[name, bucket, metric.name, True] for metric in metrics]
        pairs = zip(metrics, found, strict=True)
        rows.append((model_title(name), *(_difference(metric, interval) for metric, interval in pairs)))
    return Table(("Model", *(metric.heading for metric in metrics)), tuple(rows))


def verdicts(
    deltas: Mapping[Key, Interval],
    buckets: Sequence[str],
    variants: Sequence[str],
    metrics: Sequence[Metric],
) -> Table:
    """How many metrics each variant wins, loses and leaves open against baseline, per bucket."""
    rows = []
    for name in variants:
        cells = []
        for bucket in buckets:
            signs = [verdict(metric, deltas[name, bucket, metric.name, True]) for metric in metrics]
            counts = (signs.count(BETTER), signs.count(WORSE), signs.count(""))
            cells.append(f"{counts[0]} {BETTER} · {counts[1]} {WORSE} · {counts[2]} open")
        rows.append((model_title(name), *cells))
    return Table(("Model", *(bucket_title(bucket) for bucket in buckets)), tuple(rows))


def verdict(metric: Metric, difference: Interval) -> str:
    """▲ when the interval lies on the better side of 0, ▼ on the worse side, nothing when it holds 0."""
    if not difference.excludes_zero:
        return ""
    return BETTER if (difference.low > 0) == metric.higher else WORSE


def published_table() -> Table:
    """The paper's own Table 2, numbers and bold as printed there."""
    metrics = {metric.name: metric for metric in METRICS}
    header = ("Model", *(metrics[name].heading for name in TABLE_2_METRICS))
    rows = [
        (model_title(name), *(MARKS[0].format(text) if name == "ours" else text for text in texts))
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


def _difference(metric: Metric, interval: Interval) -> str:
    mark = verdict(metric, interval)
    mean, low, high = (signed(metric, x) for x in (interval.mean, interval.low, interval.high))
    return f"{f'<b>{mean}</b> {mark}' if mark else mean}\n[{low}, {high}]"


def number(value: float) -> str:
    """A mean as tables print it."""
    return f"{value:.{DECIMALS}f}"


def signed(metric: Metric, value: float) -> str:
    """A difference of a metric as tables print it."""
    return f"{value:+.{metric.decimals}f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
