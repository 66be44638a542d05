"""What the runs of the comparison's stages hold: means, per-image scores, pictures, counted and measured cost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ecdm.lineage import Entry, entry_params
from ecdm.mirror.contents import BUILD, DATA, REPORTS, inpainted_grid, mean_of, score_table
from ecdm.mlflow_run import MLflowTracker
from ecdm.reporting.comparison_results import HEADER, MEANS
from ecdm.reporting.grids import Folders
from ecdm.reporting.measured import Record
from ecdm.reporting.records import read_rows

COMMAND = re.compile(r"stages/(?P<stage>compare|compare_scores)\.py (?P<run>\S+) (?P<dataset>\S+)$")
OWN = re.compile(r"stages/compare_own\.py (?P<dataset>\S+)$")
TABLE = "scores.json"


@dataclass(frozen=True)
class Compared:
    """A stage of the comparison: `compare`, which inpaints, or `compare_scores`, of one method and data set."""

    stage: str
    run: str
    dataset: str

    @property
    def folder(self) -> Path:
        """Where the outputs lie, from the project."""
        return Path(BUILD, "compare", f"{self.run}-{self.dataset}")


def compared(entry: Entry) -> Compared | None:
    """What a stage of the comparison is for, by its command; None for every other stage."""
    command = str(entry["cmd"])
    if match := COMMAND.search(command):
        return Compared(match["stage"], match["run"], match["dataset"])
    if match := OWN.search(command):
        variant: Any = entry_params(entry)["compare.variant"]
        return Compared("compare", str(variant["name"]), match["dataset"])
    return None


def fill_compared(tracker: MLflowTracker, cell: Compared, root: Path, record: Record | None) -> None:
    """Write what the files say of such a stage; raises as the readers of these files."""
    tracker.tags({"method": cell.run, "compared_dataset": cell.dataset})
    if cell.stage == "compare_scores":
        tracker.summary(compared_means(root, cell))
        table = score_table([root / BUILD / "compared" / f"{cell.run}-{cell.dataset}.csv"])
        tracker.files({TABLE: table}, [TABLE])
        return
    for key, folders in compared_grids(root, cell).items():
        tracker.image(key, partial(inpainted_grid, folders), 0)
    tracker.summary(counted(root / cell.folder / "facts.json"))
    if record:
        images = len(list((root / cell.folder).glob("*/*/pasted/*.png")))
        measured = {"seconds": record.seconds, "seconds_per_image": record.seconds / images}
        tracker.summary({**measured, "peak_memory_mb": record.memory})


def compared_means(root: Path, cell: Compared) -> dict[str, float]:
    """Pasted means with intervals of reports/comparison.csv, names `psnr/10-20`; of single items `colour/object`.

    Raises: ValueError naming file and line for what is no number.
    """
    found: dict[str, float] = {}
    path = root / REPORTS / MEANS
    sets = (cell.dataset, "objects") if (root / cell.folder / "objects").is_dir() else (cell.dataset,)
    for place, row in read_rows(path, HEADER) if path.is_file() else ():
        if row["method"] == cell.run and row["dataset"] in sets and row["pasted"] == "1":
            found |= mean_of(place, row, f"{row['metric']}/{row['bucket']}")
    return found


def compared_grids(root: Path, cell: Compared) -> dict[str, Folders]:
    """Where the files of each grid lie, by its name `test/<set>/<bucket>`."""
    found = {}
    for path in sorted((root / cell.folder).glob("*/*/manifest.json")):
        name, bucket = path.parts[-3:-1]
        outputs = {cell.run: path.parent / "pasted"}
        found[f"test/{name}/{bucket}"] = Folders.tested(root / DATA, root / BUILD, name, bucket, outputs)
    return found


def counted(path: Path) -> dict[str, float]:
    """Evaluations per network and operations of one image, from a facts.json; none where that is missing."""
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found = {f"evaluations/{name}": float(count) for name, count in facts["evaluations"].items()}
    return {**found, "flops": float(facts["flops"])}
