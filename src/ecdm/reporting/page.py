"""reports/report.html: the whole ablation on one page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence

from ecdm.reporting.ablation import NOT_COMPARABLE, NOT_COUNTED, Findings, Setup, method_notes, warning
from ecdm.reporting.charts import curve_chart, difference_chart, line_sample, marker_sample
from ecdm.reporting.cited import CHANGES, Cited, gate_lines
from ecdm.reporting.cost import FIELDS, Cost, count_text
from ecdm.reporting.figures import PANELS
from ecdm.reporting.histories import Histories
from ecdm.reporting.labels import METRICS, Metric, bucket_title, model_title, whole
from ecdm.reporting.material import Material
from ecdm.reporting.published import TABLE_2, TABLE_2_BUCKET, TABLE_2_METRICS
from ecdm.reporting.render import render
from ecdm.reporting.summary import pooled

# Largest page, bytes.
LIMIT = 6_000_000
SECTIONS = {
    "results": "Results",
    "intervals": "Differences to baseline",
    "pictures": "Pictures",
    "training": "Training",
    "comparison": "Comparison of methods",
    "search": "Search",
    "cost": "Counted cost",
    "gates": "Quality gates",
    "published": "Published values",
    "provenance": "Provenance",
}


def report_page(findings: Findings, setup: Setup, material: Material) -> str:
    """The page as HTML; ValueError when it would be larger than `LIMIT` bytes."""
    text = render(
        "report.html",
        sections=_sections(findings, material),
        warned=warning(findings.gates),
        enforced=findings.gates.enforced,
        gates=gate_lines(findings.gates, "gates.json"),
        notes=method_notes(findings, setup),
        not_counted=NOT_COUNTED,
        level=f"{100 * setup.level:g} %",
        **_results(findings),
        curves=_curves(material.histories),
        costs=_costs(material.costs),
        cost_titles=list(FIELDS),
        published=_published(),
        material=material,
        variants=[(model_title(name), line_sample(name)) for name in findings.scores.variants],
    )
    size = len(text.encode())
    if size > LIMIT:
        raise ValueError(f"report.html: found {size} bytes, expected at most {LIMIT}")
    return text


def _sections(findings: Findings, material: Material) -> dict[str, str]:
    """Anchors and titles of the sections that have something to show."""
    absent = {
        "intervals": not findings.changes,
        "pictures": not material.galleries,
        "training": not material.histories,
        "search": material.search is None,
        "comparison": material.comparison is None,
        "gates": not findings.gates.gates,
    }
    return {anchor: title for anchor, title in SECTIONS.items() if not absent.get(anchor)}


def _results(findings: Findings) -> dict[str, object]:
    """Tables of means with differences, counts of verdicts and the figure of intervals."""
    deltas = pooled(findings.changes)
    return {
        "pasted": findings.tables(True),
        "raw": findings.tables(False),
        "photographs": findings.photographs(),
        "verdicts": findings.verdicts(),
        "charts": [
            (metric, difference_chart(deltas, findings.buckets, metric, _alt(metric)))
            for metric in (whole(findings.metrics) if deltas else ())
        ],
        "compared": [
            (model_title(name), marker_sample(name)) for name in findings.scores.variants if name != "baseline"
        ],
        "changes_file": CHANGES,
    }


def _alt(metric: Metric) -> str:
    side = "right" if metric.higher else "left"
    return f"{metric.title}: variant minus baseline with interval, per bucket; better lies to the {side} of zero"


def _curves(histories: Histories) -> list[tuple[str, str, object]]:
    """Title, file and chart of every recorded series that the figure shows."""
    return [
        (title, f"curves/{name}.csv", curve_chart(histories[name], f"{name} over the training steps", logarithmic))
        for name, title, logarithmic in PANELS
        if name in histories
    ]


def _costs(costs: Sequence[Cost]) -> list[tuple[str, list[Cited]]]:
    table = []
    for cost in costs:
        counts = {title: f"{section}/{key}" for title, (section, key) in FIELDS.items()}
        path = f"../{cost.path.as_posix()}"
        cells = [Cited(count_text(title, cost.counts[key]), path, f"/{key}") for title, key in counts.items()]
        table.append((model_title(cost.variant), cells))
    return table


def _published() -> dict[str, object]:
    titles = {metric.name: metric for metric in METRICS}
    return {
        "heading": f"The paper's Table 2, {bucket_title(TABLE_2_BUCKET)} holes",
        "note": NOT_COMPARABLE,
        "metrics": [titles[name] for name in TABLE_2_METRICS],
        "rows": [(model_title(name), texts) for name, texts in TABLE_2.items()],
    }
