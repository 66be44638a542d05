"""What the runs of a reproduction hold, read from its files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecdm.config import read_yaml
from ecdm.lineage import Entry, flatten
from ecdm.profiles import overlay
from ecdm.reporting.grids import Folders, masked_input, read_samples
from ecdm.reporting.histories import read_history
from ecdm.reporting.measured import Record, read_records
from ecdm.reporting.records import read_rows
from ecdm.reporting.scores import PHOTOS, score_rows
from ecdm.reporting.summary import ALL_SEEDS, HEADER
from ecdm.runs import RUNS, git

Pixels = NDArray[np.uint8]
# Metric → value; a mean stands as `psnr/10-20`, its interval beside it as `…_ci_low`, `…_ci_high`.
Means = Mapping[str, float]

REPORTS, BUILD, DATA = "reports", "build", "data"
CI_LOW, CI_HIGH = "_ci_low", "_ci_high"
# Before the names of paired differences to the baseline.
VS_BASELINE = "vs_baseline/"
# Pictures of a grid: always the first test images by number, so that the grids of all runs show the same ones.
SHOWN = 4


def metrics_by_step(path: Path) -> dict[int, dict[str, float]]:
    """A history.csv as metrics by step, steps ascending; raises like `read_history`."""
    steps: dict[int, dict[str, float]] = {}
    for name, points in read_history(path).items():
        for step, value in points.items():
            steps.setdefault(step, {})[name] = value
    return dict(sorted(steps.items()))


def mean_by_step(histories: Sequence[Mapping[int, Mapping[str, float]]]) -> dict[int, dict[str, float]]:
    """The mean over runs of every metric and step that all of them have."""
    steps: dict[int, dict[str, float]] = {}
    for step in histories[0] if histories else ():
        names = [name for name in histories[0][step] if all(name in h.get(step, {}) for h in histories)]
        steps[step] = {name: float(np.mean([h[step][name] for h in histories])) for name in names}
    return steps


def read_scores(path: Path, prefix: str = "") -> dict[tuple[str, str], dict[str, float]]:
    """Pasted means of a CSV under `reporting.summary.HEADER` by (variant, seed), names `<prefix>psnr/10-20`.

    Raises: FileNotFoundError without the file; ValueError naming file and line for content of another form.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for place, row in read_rows(path, HEADER):
        if row["pasted"] == "1":
            values = mean_of(place, row, f"{prefix}{row['metric']}/{row['bucket']}")
            found.setdefault((row["variant"], row["seed"]), {}).update(values)
    return found


def mean_of(place: str, row: Mapping[str, str], name: str) -> dict[str, float]:
    """The mean of a row with its interval under `name`; ValueError naming `place` and column for what is no number."""
    found = {}
    for end, column in (("", "mean"), (CI_LOW, "ci_low"), (CI_HIGH, "ci_high")):
        try:
            found[f"{name}{end}"] = float(row[column])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: expected a number in {column}: {error}") from error
    return found


def pooled(scores: Mapping[tuple[str, str], Means]) -> dict[str, Means]:
    """The means over all seeds, or of the only one, by variant."""
    return {variant: values for (variant, seed), values in scores.items() if seed == ALL_SEEDS} or {
        variant: values for (variant, _), values in scores.items()
    }


def score_table(paths: Sequence[Path]) -> bytes:
    """Per-image scores as a table of the UI: a row per seed, dataset, bucket, image and output, a column per metric.

    Raises: as `score_rows`.
    """
    rows: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for path in paths:
        for _, (cell, seed, image, value) in score_rows(path):
            key = (str(seed), cell.dataset, cell.bucket, str(image), "pasted" if cell.pasted else "raw")
            rows[key][cell.metric] = value
    metrics = list(dict.fromkeys(name for values in rows.values() for name in values))
    data = [[*key, *(values.get(name) for name in metrics)] for key, values in sorted(rows.items())]
    columns = ["seed", "dataset", "bucket", "image_id", "output", *metrics]
    return json.dumps({"columns": columns, "data": data}).encode()


def previews(folder: Path) -> dict[int, Path]:
    """The validation pictures of a training run by step."""
    return {int(path.stem): path for path in sorted((folder / "samples").glob("*.png"))}


def grid_folders(root: Path, variant: str, seed: int) -> dict[str, Folders]:
    """Where the files of each grid lie, by its name `test/<data set>/<bucket>`."""
    found = {}
    outputs = (root / BUILD / "generate" / f"{variant}-{seed}").glob("*/*/manifest.json")
    # The data that the variants were trained on come first, pictures of another kind after them.
    for dataset, bucket in sorted((path.parts[-3:-1] for path in outputs), key=lambda part: (part[0] == PHOTOS, part)):
        folders = Folders.of(root / DATA, root / BUILD, dataset, bucket, [variant], seed)
        found[f"test/{dataset}/{bucket}"] = folders
    return found


def inpainted_grid(folders: Folders) -> Pixels:
    """Three rows, a column per sample: masked input, output pasted, truth; smaller pictures stand on white.

    A run that made fewer than `SHOWN` has the first of them. Raises: as `read_samples`.
    """
    columns = []
    (made,) = (len(list(outputs.glob("*.png"))) for outputs in folders.outputs.values())
    for sample in read_samples(folders, min(SHOWN, max(made, 1))):
        (output,) = sample.outputs.values()
        columns.append((masked_input(sample.truth, sample.hole), output, sample.truth))
    height = max(column[2].shape[0] for column in columns)
    width = max(column[2].shape[1] for column in columns)
    grid = np.full((3 * height, len(columns) * width, 3), 255, dtype=np.uint8)
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            h, w = picture.shape[:2]
            grid[y * height : y * height + h, x * width : x * width + w] = picture
    return grid


def report_files(root: Path, entry: Entry) -> dict[str, bytes]:
    """The files below reports/ that a stage wrote, according to dvc.lock, by path from the project."""
    found: dict[str, bytes] = {}
    for out in entry.get("outs", []):
        path = root / out["path"]
        if path.relative_to(root).parts[0] == REPORTS:
            inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            found |= {p.relative_to(root).as_posix(): p.read_bytes() for p in inner}
    return found


def completed_records(root: Path) -> dict[str, Record]:
    """The last run on this machine of every stage, by name, where it ended well; raises ValueError."""
    try:
        return {record.stage: record for record in read_records(root / RUNS) if record.completed}
    except FileNotFoundError:
        return {}


def dataset_name(entries: Mapping[str, Entry]) -> str | None:
    """The parameter data.source of the stage that uses it."""
    for entry in entries.values():
        for values in entry.get("params", {}).values():
            if isinstance(values.get("data"), Mapping) and "source" in values["data"]:
                return str(values["data"]["source"])
    return None


def profile_name(root: Path) -> str:
    """The profile whose values params.yaml has, the most detailed of several.

    Else `committed` where params.yaml is as in the commit, `custom` where it was edited.
    """
    params = root / "params.yaml"
    text, matching = params.read_text(encoding="utf-8"), []
    for path in sorted((root / "profiles").glob("*.yaml")):
        try:
            if overlay(params, path) == text:
                matching.append((len(flatten(read_yaml(path))), path.stem))
        except ValueError:
            continue  # made for other settings than these
    if matching:
        return max(matching)[1]
    return "committed" if git(root, "status", "--porcelain", "--", "params.yaml") == "" else "custom"
