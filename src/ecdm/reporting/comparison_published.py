"""The paper's own Table 1 as a table: numbers and marks as printed, with what is doubtful in it."""

from __future__ import annotations

from ecdm.reporting.cited import Cited
from ecdm.reporting.comparison_tables import Block, Entry, Group, GroupedTable, Row, column
from ecdm.reporting.labels import data_heading, model_title
from ecdm.reporting.published import (
    TABLE_1,
    TABLE_1_DATASETS,
    TABLE_1_DOUBTS,
    TABLE_1_METRICS,
    TABLE_1_NOTES,
    TABLE_1_STARRED,
)

PRINTED = {"b": "best", "u": "second", "i": "third"}


def published_table_1() -> GroupedTable:
    """The paper's own Table 1, numbers and marks as printed there, with what is doubtful in it."""
    groups = tuple(Group(data_heading(d), tuple(map(column, TABLE_1_METRICS))) for d in TABLE_1_DATASETS)
    places = [(dataset, metric) for dataset in TABLE_1_DATASETS for metric in TABLE_1_METRICS]
    blocks = []
    for bucket, lines in TABLE_1.items():
        rows = []
        for method, line in lines.items():
            star = " ∗" if method == TABLE_1_STARRED else ""
            pairs = zip(line.split(), places, strict=True)
            rows.append(Row(f"{model_title(method)}{star}", tuple(_printed(t, method, bucket, *p) for t, p in pairs)))
        blocks.append(Block(bucket, tuple(rows)))
    notes = [*(f"{doubt.sign} {doubt.reason}" for doubt in TABLE_1_DOUBTS),
             *(f"{sign} {text}".strip() for sign, text in TABLE_1_NOTES.items())]  # fmt: skip
    return GroupedTable("comparison-published", "The paper's Table 1", groups, tuple(blocks), tuple(notes))


def _printed(text: str, method: str, bucket: str, dataset: str, metric: str) -> Entry:
    rank = PRINTED.get(text[0], "")
    signs = [
        doubt.sign
        for doubt in TABLE_1_DOUBTS
        if (doubt.method, doubt.bucket, doubt.dataset) == (method, bucket, dataset) and metric in doubt.metrics
    ]
    return Entry(Cited(text[1:] if rank else text), rank, sign="".join(signs))
