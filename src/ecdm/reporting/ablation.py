"""The page of the ablation: what was measured, how, and what it may be compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ecdm.numerics.buckets import largest_bucket
from ecdm.reporting.cited import CHANGES, MEANS, PHOTO_MEANS, ResultTable, Source, result_table
from ecdm.reporting.gates import Gates
from ecdm.reporting.labels import Metric, bucket_title, data_title, is_share, shown_metrics, whole
from ecdm.reporting.marks import SIGNS, Count, verdict_counts
from ecdm.reporting.provenance import Input
from ecdm.reporting.published import TABLE_2_BUCKET
from ecdm.reporting.scores import PHOTOS, Scores
from ecdm.reporting.summary import Bootstrap, Row, differences, metrics_json, pooled, shown, summarise, to_csv
from ecdm.reporting.tables import Table, difference_table, gate_table, published_table, red, results, verdicts

MARKED = "**Marks:** <b>best</b>, <u>second</u>, <i>third</i> among variants; references are not ranked."
NOT_COMPARABLE = (
    "**Published on MS-COCO, with other weights, other data and true LPIPS. Not comparable with the numbers above**; "
    "at most the order of the variants is."
)
NOT_COUNTED = "without hole columns, which repeat PSNR and ℓ1 where known pixels are exact"
SAMPLERS = {"ddim": "DDIM", "dpmsolver++": "the multistep solver DPM-Solver++"}
PRECISIONS = {
    "no": "in float32",
    "bf16": "networks in bfloat16",
    "auto": "networks in bfloat16 where the hardware multiplies it, else in float32",
}


@dataclass(frozen=True)
class Setup:
    """How the outputs were made and judged: sampling, training length, intervals."""

    sampler: str
    steps: int
    guidance: float
    precision: str
    train_steps: int
    resamples: int
    level: float


@dataclass(frozen=True)
class Findings:
    """Scores and what follows from them: means, differences to baseline, means on photographs, gates."""

    scores: Scores
    rows: Sequence[Row]
    changes: Sequence[Row]
    photos: Sequence[Row]
    gates: Gates

    @classmethod
    def of(cls, scores: Scores, gates: Gates, draws: Bootstrap) -> Findings:
        """Compute everything from the scores."""
        rows, changes = summarise(scores, scores.dataset, draws), differences(scores, scores.dataset, draws)
        return cls(scores, rows, changes, summarise(scores, PHOTOS, draws), gates)

    @property
    def buckets(self) -> tuple[str, ...]:
        """Buckets of the data set, in order."""
        return self.scores.buckets_of(self.scores.dataset)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that tables and figures show."""
        return shown_metrics(self.scores.metrics)

    def tables(self, pasted: bool) -> list[ResultTable]:
        """Means of the data set with differences, per bucket; raw ones lack the hole columns, which are the same."""
        scores, means = self.scores, shown(self.rows)
        source = Source(means, shown(self.changes), MEANS, pasted, scores.variants, scores.references)
        metrics = self.metrics if pasted else whole(self.metrics)
        return [
            result_table(source, bucket, len(scores.images[scores.dataset, bucket]), metrics)
            for bucket in self.buckets
            if (scores.variants[0], bucket, metrics[0].name, pasted) in means
        ]

    def photographs(self) -> list[ResultTable]:
        """Means of the photographs' pasted outputs, per bucket."""
        scores = self.scores
        source = Source(shown(self.photos), {}, PHOTO_MEANS, True, scores.variants, scores.references)
        buckets = scores.buckets_of(PHOTOS)
        return [result_table(source, b, len(scores.images[PHOTOS, b]), self.metrics) for b in buckets]

    def verdicts(self, pasted: bool = True) -> list[tuple[str, list[tuple[str, Count]]]]:
        """Counts of better, worse and open per variant and bucket, hole columns aside; empty without differences."""
        others = [name for name in self.scores.variants if name != "baseline"] if self.changes else []
        scored = {row.bucket for row in self.changes if row.pasted == pasted}
        buckets = [bucket for bucket in self.buckets if bucket in scored]
        return verdict_counts(pooled(self.changes), buckets, others if buckets else [], whole(self.metrics), pasted)


def files(findings: Findings, setup: Setup, inputs: Sequence[Input]) -> dict[str, str]:
    """All texts of the report by file name: tables, page and DVC's metrics."""
    bucket = largest_bucket([name for name in findings.buckets if is_share(name)])
    metrics = metrics_json(findings.rows, findings.scores.variants, bucket, findings.gates)
    return {
        "ablation.csv": to_csv(findings.rows),
        "differences.csv": to_csv(findings.changes),
        "photos.csv": to_csv(findings.photos),
        "metrics.json": json.dumps(metrics, indent=2) + "\n",
        "ablation.md": ablation_page(findings, setup, inputs),
    }


def ablation_page(findings: Findings, setup: Setup, inputs: Sequence[Input]) -> str:
    """The page as Markdown; `inputs` are the files and folders that it rests on."""
    listed = tuple((f"`{one.path}`", f"`{one.md5}`", str(one.files), str(one.size)) for one in inputs)
    warned = warning(findings.gates)
    parts = [
        "# Ablation",
        *([f"> [!CAUTION]\n> {red(warned)}"] if warned else []),
        "\n".join(f"- {note}" for note in [*method_notes(findings, setup), MARKED]),
        *_results("## Results, pasted", findings.tables(True)),
        *_results("## Results, raw outputs", findings.tables(False)),
        *_differences(findings, setup.level),
        *_figures(findings),
        *_published(),
        "## Gates",
        "Bounds for data, foundation and variants, on held-out images. A gain or rise (bound 0) holds "
        "when its whole interval lies above 0.",
        gate_table(findings.gates.gates).markdown() if findings.gates.gates else "None recorded.",
        "## Inputs",
        "MD5 as DVC computes it, to be compared with `dvc.lock`.",
        Table(("File or folder", "MD5", "Files", "Bytes"), listed).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def warning(gates: Gates) -> str:
    """One sentence about the gates that do not hold; empty where all do."""
    if not gates.failed:
        return ""
    told = "" if gates.enforced else " and were not enforced (gates.enforce: false)"
    return f"These quality gates do not hold{told}: {', '.join(gates.failed)}. Do not quote the numbers below."


def method_notes(findings: Findings, setup: Setup) -> list[str]:
    """How the numbers were made, one line of Markdown each."""
    scores = findings.scores
    seeds = scores.seeds[scores.variants[0]]
    counts = {len(scores.images[scores.dataset, bucket]) for bucket in findings.buckets}
    images = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    listed = ", ".join(str(seed) for seed in seeds)
    trained = f"seed {listed}" if len(seeds) == 1 else f"seeds {listed}, means over them"
    drawn = "images" if len(seeds) == 1 else "images and seeds"
    notes = [
        f"**Data:** held-out {data_title(scores.dataset)}, n = {images} images per mask set; "
        "same images, masks, captions and noise for every variant.",
        f"**Training:** {setup.train_steps} steps from the same start, {trained}.",
        f"**Sampling:** {SAMPLERS.get(setup.sampler, setup.sampler)}, {setup.steps} steps, guidance "
        f"{setup.guidance:g}, {PRECISIONS[setup.precision]}, one output per image. It starts from the noised latents "
        "of the masked image, whose hole has the mean colour of the known pixels; no pixel of the hole is read.",
        "**Blending:** a latent cell of which only a part is hidden counts as hole at noise level σ_t when more than "
        "σ_t / 2 of its pixels are hidden; at the end every cell that touches the hole is the network's own. The paper "
        "leaves the latent mask open.",
        "**Values:** means of per-image values of 8-bit outputs in [0, 1]. *Pasted*: known pixels put "
        "back; *raw*: as decoded. *Hole* columns look at the hole's pixels alone, which are the same in both.",
        f"**Intervals:** {100 * setup.level:g} %, bootstrap over {drawn}, {setup.resamples} resamples.",
        f"**Perceptual distance:** {perceptual_note(findings.metrics)}",
    ]
    if len(seeds) == 1:
        notes.append(
            "**One seed:** intervals say how much the choice of test images matters, "
            "not how much another training run would differ."
        )
    return notes


def perceptual_note(metrics: Sequence[Metric]) -> str:
    """What the perceptual distance among the metrics is, in Markdown."""
    names = {metric.name for metric in metrics}
    if "lpips_random" in names:
        return (
            "`lpips_random`, a random AlexNet trunk of fixed seed under the linear heads of LPIPS. "
            "**It is not LPIPS** and compares with no LPIPS value, here or elsewhere."
        )
    return "LPIPS with the pretrained AlexNet." if "lpips" in names else "none."


def _results(title: str, tables: Sequence[ResultTable]) -> list[str]:
    parts = [title]
    for table in tables:
        parts += [f"### {table.heading} (n = {table.n})", results(table).markdown()]
    return parts


def _differences(findings: Findings, level: float) -> list[str]:
    title, counts = "## Differences to baseline", findings.verdicts()
    if not counts:
        return [title, "None: they need the baseline and another variant."]
    better, worse = SIGNS.values()
    text = (
        f"Variant minus baseline, pasted, paired by image, with {100 * level:g} % intervals. Bold with {better} "
        f"(better) or {worse} (worse) where the interval excludes 0; every sign as it came. The comparisons "
        f"are not corrected for their number: some marks are to be expected by chance. First the count of "
        f"metrics better, worse and open, {NOT_COUNTED}, then every value."
    )
    parts = [title, text, verdicts(counts).markdown()]
    if raw := findings.verdicts(False):
        parts += [
            f"The same count of raw outputs, whose values stand in [{CHANGES}]({CHANGES}):",
            verdicts(raw).markdown(),
        ]
    for table in findings.tables(True):
        parts += [f"### {table.heading}, differences", difference_table(table).markdown()]
    return [*parts, "![Differences to baseline with intervals](differences.png)"]


def _figures(findings: Findings) -> list[str]:
    parts = ["## Pictures", "The first test images in order of their number, not chosen by how they look."]
    for bucket in findings.buckets:
        parts.append(f"![Variants side by side, {bucket_title(bucket)}](grids/ablation_{bucket}.png)")
    if findings.photos:
        text = "Photographs, on which nothing was trained; scores in [photos.csv](photos.csv)."
        parts += [text, "![Variants side by side, photographs](grids/photos.png)"]
    return [*parts, "## Training", "![Training curves](curves.png)"]


def _published() -> list[str]:
    return [
        "## Published values",
        f"The paper's Table 2 ({bucket_title(TABLE_2_BUCKET)} holes). {NOT_COMPARABLE}",
        published_table().markdown(),
    ]
