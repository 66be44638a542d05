"""The comparison of methods as its stages leave it: per-image scores and counted facts, checked for agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecdm.data.coco import read_json
from ecdm.reporting.labels import METHODS
from ecdm.reporting.scores import Cell, cell_title, score_rows

# Sets beside the main data set's own, with the one bucket of masks that each has; the second is shown alone.
OBJECTS, CUSTOM = ("objects", "object"), ("custom", "custom")
FIDELITY = ("psnr", "ssim", "l1")
# Per-image values of one run: cell → image → value.
Values = Mapping[Cell, Mapping[int, float]]


@dataclass(frozen=True)
class Scope:
    """What is compared: methods in the paper's order, the variant that is ours, two data sets, masks, distance.

    `buckets` are those of hole shares, `strokes` the sets of stroke widths. `candidates`: how many Blended Diffusion
    draws for one image, of which CLIP chooses what is shown.
    """

    methods: tuple[str, ...]
    ours: str
    datasets: tuple[str, str]
    buckets: tuple[str, ...]
    strokes: tuple[str, ...]
    perceptual: str
    candidates: int = 1

    @classmethod
    def of(
        cls, methods: Sequence[str], ours: str, datasets: tuple[str, str], buckets: Sequence[str],
        strokes: Sequence[str], perceptual: str, candidates: int = 1,
    ) -> Scope:  # fmt: skip
        """With the methods, named in any order, put into the paper's."""
        ordered = tuple(name for name in METHODS if name in methods)
        return cls(ordered, ours, datasets, tuple(buckets), tuple(strokes), perceptual, candidates)

    @property
    def runs(self) -> tuple[str, ...]:
        """The methods, and ours last."""
        return (*self.methods, self.ours)

    @property
    def main(self) -> str:
        """The data set that ours was trained on."""
        return self.datasets[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of Table 1."""
        return (*FIDELITY, self.perceptual)


@dataclass(frozen=True)
class Facts:
    """What one image takes: evaluations by network, operations; side of a method's own images, None for the input's."""

    native_size: int | None
    image_size: int
    evaluations: Mapping[str, int]
    flops: int

    @property
    def enlarged(self) -> bool:
        """Whether the method's images are smaller than those that are scored."""
        return self.native_size is not None and self.native_size < self.image_size


def read_values(folder: Path, scope: Scope) -> Values:
    """Read `folder`/<run>-<data set>.csv of all runs and data sets.

    Raises: FileNotFoundError without a file; ValueError naming file and cell for a row of another run, set, bucket or
    seed, a value given twice, cells that ours has and a method lacks or the reverse, a bucket or metric of Table 1
    without scores, metrics of one bucket over different images, fewer than two images in common with ours.
    """
    found: dict[Cell, Mapping[int, float]] = {}
    for dataset in scope.datasets:
        own = _read(folder / f"{scope.ours}-{dataset}.csv", scope.ours, places(scope, dataset))
        _complete(folder / f"{scope.ours}-{dataset}.csv", own, scope, dataset)
        found |= own
        for method in scope.methods:
            path = folder / f"{method}-{dataset}.csv"
            values = _read(path, method, places(scope, dataset))
            _alike(path, values, own, scope.ours)
            found |= values
    return found


def read_facts(folder: Path, scope: Scope) -> dict[str, Facts]:
    """Read `folder`/<run>-<main data set>/facts.json of all runs.

    Raises: FileNotFoundError without a file; ValueError naming file and key for another form, facts of another
    method, and images of another size than those of the run before.
    """
    found: dict[str, Facts] = {}
    size: int | None = None
    for run in scope.runs:
        path = folder / f"{run}-{scope.main}" / "facts.json"
        content = read_json(path)
        if not isinstance(content, dict) or content.get("method") != run:
            named = content.get("method") if isinstance(content, dict) else content
            raise ValueError(f"{path}: method: found {named!r}, expected {run!r}")
        found[run] = parsed_facts(path, content)
        size = size or found[run].image_size
        if found[run].image_size != size:
            raise ValueError(f"{path}: image_size: found {found[run].image_size}, expected {size} as of other runs")
    return found


def parsed_facts(path: Path, content: Mapping[str, Any], place: str = "") -> Facts:
    """Facts from an entry of a JSON file; ValueError naming file and key for another form."""
    native, counts = content.get("native_size"), content.get("evaluations")
    checks = {
        "native_size": (native is None or _positive(native), "the side of an image or null"),
        "image_size": (_positive(content.get("image_size")), "the side of an image"),
        "evaluations": (
            isinstance(counts, dict) and all(type(n) is int and n >= 0 for n in counts.values()),
            "a count for every network",
        ),
        "flops": (_positive(content.get("flops")), "a count"),
    }
    for key, (good, expected) in checks.items():
        if not good:
            raise ValueError(f"{path}: {place}{key}: found {content.get(key)!r}, expected {expected}")
    return Facts(native, content["image_size"], dict(content["evaluations"]), content["flops"])


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def places(scope: Scope, dataset: str) -> list[tuple[str, str]]:
    """Sets and buckets whose scores a data set's file may hold, in order."""
    own = [(dataset, bucket) for bucket in scope.buckets]
    if dataset != scope.main:
        return own
    return [*own, OBJECTS]


def _read(path: Path, run: str, allowed: Sequence[tuple[str, str]]) -> dict[Cell, dict[int, float]]:
    found: dict[Cell, dict[int, float]] = {}
    seeds: set[int] = set()
    for place, (cell, seed, image, value) in score_rows(path):
        if cell.variant != run:
            raise ValueError(f"{place}: found a score of {cell.variant}, expected {run} alone")
        if (cell.dataset, cell.bucket) not in allowed:
            listed = ", ".join(f"{name} {bucket}" for name, bucket in allowed)
            raise ValueError(f"{place}: found a score on {cell.dataset} {cell.bucket}, expected one of {listed}")
        seeds.add(seed)
        if len(seeds) > 1:
            raise ValueError(f"{place}: found a second seed, {seed}, expected one")
        values = found.setdefault(cell, {})
        if image in values:
            raise ValueError(f"{place}: a second value for {cell_title(cell)}, image {image}")
        values[image] = value
    _same_images(path, found)
    return found


def _same_images(path: Path, found: Mapping[Cell, Mapping[int, float]]) -> None:
    """All metrics of one bucket must cover the same images, so that one n stands for them."""
    first: dict[tuple[str, str], tuple[Cell, set[int]]] = {}
    for cell, values in found.items():
        other, images = first.setdefault((cell.dataset, cell.bucket), (cell, set(values)))
        odd = sorted(images ^ set(values))
        if odd:
            both = f"{cell_title(other)} and {cell_title(cell)}"
            raise ValueError(f"{path}: {both}: image {odd[0]} is in only one of them, expected the same images")


def _complete(path: Path, own: Mapping[Cell, Any], scope: Scope, dataset: str) -> None:
    for bucket in scope.buckets:
        for metric in scope.metrics:
            for pasted in (True, False):
                cell = Cell(dataset, scope.ours, bucket, metric, pasted)
                if cell not in own:
                    raise ValueError(f"{path}: found no scores for {cell_title(cell)}, expected them")


def _alike(
    path: Path, values: Mapping[Cell, Mapping[int, float]], own: Mapping[Cell, Mapping[int, float]], ours: str
) -> None:
    """A method must have been judged as ours was, on images of which at least two are ours as well."""
    method = {cell._replace(variant=ours): images for cell, images in values.items()}
    odd = sorted(set(method) ^ set(own))
    if odd:
        state, other = ("no scores", "has them") if odd[0] in own else ("scores", "lacks them")
        raise ValueError(
            f"{path}: found {state} for {cell_title(odd[0])}, expected as in those of {ours}, which {other}"
        )
    for cell, images in method.items():
        common = len(images.keys() & own[cell].keys())
        if common < 2:
            raise ValueError(
                f"{path}: {cell_title(cell)}: found {common} images in common with {ours}, expected at least 2"
            )
