"""A small project tree as the stages of the comparison leave it, with known scores, and the stage on it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from ecdm.reporting.comparison import Facts, Scope
from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.scores import Cell
from ecdm.reporting.summary import Bootstrap

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("glide", "blended", "sd_inpaint", "controlnet_inpaint", "unipaint", "copaint")
FILES = ("comparison.csv", "comparison_differences.csv", "comparison.json", "comparison.md", "comparison.tex")
HEADER = ("dataset", "variant", "seed", "image_id", "bucket", "metric", "pasted", "value")
METRICS = ("psnr", "ssim", "l1", "lpips_random", "psnr_hole", "l1_hole", "clip_score")
ATTRIBUTES = ("shape", "colour", "texture")
Place = tuple[str, str]


class ComparisonProject:
    """Writes made-up inputs of the stage below `root`."""

    BUCKETS = ("10-20", "30-40", "50-60")
    STROKES = ("wide", "narrow")
    IMAGES = (1, 2, 3, 4, 5, 6)
    # Costly methods did the first images only.
    FEWER: Mapping[str, int] = {"blended": 4, "unipaint": 3}
    # By how much values lie above those of ours, on average and more from one image to the next.
    SHIFT: Mapping[str, float] = {
        **{"glide": -2, "blended": -1, "sd_inpaint": -0.5, "controlnet_inpaint": 0.1, "unipaint": -4, "copaint": 1},
        "ours": 0,
    }
    SPREAD: Mapping[str, float] = {"controlnet_inpaint": 1.0}

    def __init__(self, root: Path, methods: Sequence[str] = METHODS) -> None:
        self.root, self.methods = root, tuple(methods)

    @property
    def runs(self) -> tuple[str, ...]:
        """All methods, and ours."""
        return (*self.methods, "ours")

    @property
    def scope(self) -> Scope:
        """What the stage reads of params.yaml."""
        return Scope.of(self.methods, "ours", ("scenes", "shifted"), self.BUCKETS, self.STROKES, "lpips_random")

    def images(self, run: str) -> tuple[int, ...]:
        """Images that a run was scored on."""
        return self.IMAGES[: self.FEWER.get(run, len(self.IMAGES))]

    def value(self, run: str, place: Place, image: int, metric: str, pasted: int) -> float:
        """A score; another one for every run, image, metric and bucket."""
        if metric in ATTRIBUTES:
            return float((image + len(run) + len(metric)) % 3 > 0)
        own = self.SHIFT[run] + self.SPREAD.get(run, 0.05) * (image - 3.5)
        base = 2.0 * pasted + 3 * len(place[1]) + len(place[0]) / 4 + METRICS.index(metric) + image
        return base + own * (-1 if metric.startswith(("l1", "lpips")) else 1)

    def places(self, dataset: str) -> list[Place]:
        """Sets and buckets with scores."""
        own = [(dataset, bucket) for bucket in self.BUCKETS]
        return [*own, ("objects", "object")] if dataset == "scenes" else own

    def rows(self, run: str, dataset: str) -> list[list[Any]]:
        """Rows of a score file."""
        return [
            [place[0], run, 0, image, place[1], metric, pasted, self.value(run, place, image, metric, pasted)]
            for place in self.places(dataset)
            for metric in (*METRICS, *(ATTRIBUTES if place[0] == "objects" else ()))
            for pasted in (0, 1)
            for image in self.images(run)
        ]

    def comparison(self) -> Comparison:
        """What the stage makes of these scores; only GLIDE's own images are smaller."""
        values: dict[Cell, dict[int, float]] = {}
        for run in self.runs:
            for dataset in ("scenes", "shifted"):
                for row in self.rows(run, dataset):
                    cell = Cell(row[0], run, row[4], row[5], bool(row[6]))
                    values.setdefault(cell, {})[row[3]] = row[7]
        facts = {run: Facts(64 if run == "glide" else None, 128, {"unet": 40}, 10**9) for run in self.runs}
        return Comparison.of(self.scope, facts, values, Bootstrap(200, 0.95, 0))

    def write_scores(self, run: str, dataset: str, rows: Sequence[Sequence[Any]] | None = None) -> Path:
        """One score file; returns its path."""
        path = self.root / "build" / "compared" / f"{run}-{dataset}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *(self.rows(run, dataset) if rows is None else rows)])
        return path

    def write_facts(self, run: str, dataset: str = "scenes", **changes: Any) -> Path:
        """Counted facts of a run; returns their path."""
        native = {"glide": 64, "blended": 128}.get(run)
        counts = {"unet": 40, "text_encoder": 2} if run != "copaint" else {"unet": 60}
        facts = {"method": run, "native_size": native, "image_size": 128, "evaluations": counts}
        facts |= {"flops": 1_234_567_890_123 // (1 + len(run)), **changes}
        path = self.root / "build" / "compare" / f"{run}-{dataset}" / "facts.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts), encoding="utf-8")
        return path

    def write_pictures(self, place: Place, count: int, size: int = 16) -> None:
        """Images, captions and masks of a set, and what every run made of them with its manifest."""
        dataset, bucket = place
        numbers = range(1, count + 1)
        names = {i: f"{i:012d}.png" for i in numbers}
        images = [{"id": i, "file_name": name, "width": size, "height": size} for i, name in names.items()]
        notes = [{"id": i, "image_id": i, "caption": f"caption {i} of {dataset} & more"} for i in numbers]
        path = self.root / "data" / dataset / "annotations" / "captions_test.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": notes}), encoding="utf-8")
        hole = np.zeros((size, size), np.uint8)
        hole[: size // 2] = 255
        for i, name in names.items():
            truth = np.full((size, size, 3), 10 * i, np.uint8)
            self.save(self.root / "data" / dataset / "test" / name, truth)
            masks = f"data/{dataset}/masks" if dataset == "custom" else f"build/masks/{dataset}"
            self.save(self.root / masks / bucket / name, hole)
            for rank, run in enumerate(self.runs):
                self.save(self.output(run, place, i), np.where(hole[..., None] > 0, np.uint8(60 + 20 * rank), truth))
        for run in self.runs:
            manifest = {"method": run, "dataset": dataset, "bucket": bucket, "images": [{"id": i} for i in numbers]}
            self.manifest(run, place).write_text(json.dumps(manifest), encoding="utf-8")

    def manifest(self, run: str, place: Place) -> Path:
        """A run's list of its pictures."""
        return self.output(run, place, 1).parents[1] / "manifest.json"

    def output(self, run: str, place: Place, image: int) -> Path:
        """A run's pasted picture."""
        return self.root / "build/compare" / f"{run}-scenes" / place[0] / place[1] / "pasted" / f"{image:012d}.png"

    @staticmethod
    def save(path: Path, pixels: np.ndarray) -> None:
        """A PNG file, its folder made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def write_params(self) -> None:
        """params.yaml, with these masks and methods, named in another order than the paper's."""
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["masks"].update({"buckets": list(self.BUCKETS), "sets": list(self.STROKES)})
        params["compare"]["methods"] = list(self.methods[::-1])
        params["evaluate"]["resamples"] = 200
        yaml.dump(params, self.root / "params.yaml")

    def write_tree(self) -> Path:
        """Everything that the stage reads; returns the root."""
        for run in self.runs:
            for dataset in ("scenes", "shifted"):
                self.write_scores(run, dataset)
            self.write_facts(run)
        self.write_pictures(("custom", "custom"), 7)
        for name in self.STROKES:
            self.write_pictures(("scenes", name), 4)
        self.write_params()
        return self.root


def run_comparison(root: Path) -> subprocess.CompletedProcess[str]:
    """The stage in `root`."""
    command = [sys.executable, str(ROOT / "stages" / "comparison.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)
