"""The comparison as Markdown: how it was made, its tables, figures, and what the paper published."""

from __future__ import annotations

from collections.abc import Sequence

from ecdm.reporting.ablation import perceptual_note
from ecdm.reporting.comparison_figures import FIGURES
from ecdm.reporting.comparison_published import published_table_1
from ecdm.reporting.comparison_results import CHANGES, MEANS, Comparison
from ecdm.reporting.comparison_tables import (
    ATTRIBUTES,
    Column,
    Entry,
    GroupedTable,
    change_table,
    cost_table,
    table_1,
    text_table,
)
from ecdm.reporting.grids import Grid
from ecdm.reporting.labels import data_title, model_title, shown_metrics
from ecdm.reporting.marks import SIGNS
from ecdm.reporting.provenance import Input
from ecdm.reporting.tables import MARKS, Table

RANKED = (
    "**Ranks:** <b>best</b>, <u>second</u>, <i>third</i> in a column under the same masks, by means over own images."
)
NOT_COMPARABLE = (
    "**Published on MS-COCO and Open Images, with other weights and true LPIPS. Not comparable with the numbers "
    "above**; at most the order of the methods is."
)


def own_tables(found: Comparison) -> list[GroupedTable]:
    """The tables of what was measured here, those without rows left out."""
    made = [table_1(found, True), change_table(found), table_1(found, False), text_table(found), cost_table(found)]
    return [table for table in made if any(block.rows for block in table.blocks)]


def comparison_page(found: Comparison, grids: Sequence[Grid], inputs: Sequence[Input]) -> str:
    """The page as Markdown; `inputs` are the files and folders that it rests on."""
    parts = ["# Comparison of methods", "\n".join(f"- {note}" for note in [*notes(found), RANKED])]
    for table in own_tables(found):
        parts += [f"## {table.title}", markdown(table), *table.notes]
    parts += ["## Pictures", *(f"![{grid.heading}]({FIGURES}/{grid.name}.png)" for grid in grids)]
    published = published_table_1()
    parts += ["## Published values", f"{published.title}. {NOT_COMPARABLE}", markdown(published)]
    parts += ["\n".join(f"- {note}" for note in published.notes)]
    listed = tuple((f"`{one.path}`", f"`{one.md5}`", str(one.files), str(one.size)) for one in inputs)
    hashed = Table(("File or folder", "MD5", "Files", "Bytes"), listed).markdown()
    parts += ["## Inputs", "MD5 as DVC computes it, to be compared with `dvc.lock`.", hashed]
    return "\n\n".join(parts) + "\n"


def notes(found: Comparison) -> list[str]:
    """How the numbers were made and what the marks mean, one line of Markdown each."""
    scope, draws, ours = found.scope, found.draws, model_title(found.scope.ours)
    level, better, worse = f"{100 * draws.level:g} %", *SIGNS.values()
    first, second = (data_title(name) for name in scope.datasets)
    lines = [
        f"**Data:** held-out {first}, and {second}, on which nothing was trained. Same images, masks, captions and "
        f"seed for every method, {_outputs(found)}; n is how many of the first images a method was given.",
        f"**{ours}:** the variant `{scope.ours}` of the ablation. What each other method is here, and where it differs "
        "from its publication, stands in its file under `src/ecdm/methods`.",
        "**Values:** means of per-image values of 8-bit outputs in [0, 1] over a method's own n images. *Pasted*: "
        "known pixels put back; *raw*: as the method made them.",
        f"**Marks:** {better} better and {worse} worse than {ours} where the {level} interval of the difference, "
        "paired over the images that both have, excludes 0. The comparisons are not corrected for their number: some "
        "marks are to be expected by chance.",
        f"**Intervals:** {level}, bootstrap over images, {draws.resamples} resamples; all values in `{MEANS}` and "
        f"`{CHANGES}`.",
        f"**Perceptual distance:** {perceptual_note(shown_metrics(scope.metrics))}",
        *_native(found),
        f"**Text:** {_text(found)}",
        f"**Cost:** {_cost(found)}",
    ]
    return lines


def _outputs(found: Comparison) -> str:
    """How many outputs of a method there are to an image."""
    scope = found.scope
    if "blended" not in scope.methods or scope.candidates == 1:
        return "one output per image"
    return (
        f"one output per image, of {model_title('blended')} the best of {scope.candidates} by CLIP, which looks at the "
        "hole alone"
    )


def _text(found: Comparison) -> str:
    """What the columns about the text are."""
    guided = ", which guides Blended Diffusion as well" if "blended" in found.scope.methods else ""
    parts = [
        "the CLIP score is 100 times the cosine between output and caption, at least 0, by the CLIP of "
        f"`build/networks`{guided}."
    ]
    if any(cell.metric in ATTRIBUTES for cell in found.means):
        parts.append(
            "Attributes are the share of outputs in which a classifier of such scenes sees the shape, colour and "
            "texture that the caption names, where the hole hides the whole item."
        )
    return " ".join(parts)


def _cost(found: Comparison) -> str:
    """What the columns of cost count."""
    parts = [
        "counted for one image: evaluations are samples through a network, of which guidance asks two at every step; "
        "operations are those of convolutions, matrix products and attention, a multiplication and an addition as two. "
        "No time and no hardware is in these numbers."
    ]
    if "copaint" in found.scope.methods:
        parts.append("CoPaint's line searches differ from image to image; its counts are those of the first.")
    return " ".join(parts)


def _native(found: Comparison) -> list[str]:
    small = {run: facts for run, facts in found.facts.items() if facts.enlarged}
    if not small:
        return []
    listed = ", ".join(f"{model_title(run)} ({facts.native_size} px a side)" for run, facts in small.items())
    size = next(iter(small.values())).image_size
    return [
        f"**Native size:** what {listed} makes is enlarged to {size} px, then pasted; finer detail is out of its reach."
    ]


def markdown(table: GroupedTable) -> str:
    """A table in pipe syntax: data set and metric in one heading, masks in a column of their own."""
    heads = [f"{group.heading}\n{_heading(column)}" for group in table.groups for column in group.columns]
    rows = []
    for block in table.blocks:
        for place, row in enumerate(block.rows):
            mask = [block.title if place == 0 else ""] if table.masked else []
            rows.append((*mask, row.title, *map(_entry, row.entries)))
    header = (*(["Holes"] if table.masked else []), "Method", *heads)
    return Table(header, tuple(rows), left=(0, 1) if table.masked else (0,)).markdown()


def _heading(column: Column) -> str:
    return column.metric.heading if column.metric else column.title


def _entry(entry: Entry) -> str:
    text = MARKS[entry.rank].format(entry.value.text) + entry.sign
    marked = f"{text} {SIGNS[entry.verdict]}" if entry.verdict in SIGNS else text
    return f"{marked}\n{entry.below.text}" if entry.below else marked
