"""A small project tree as the stages before the report leave it, with known scores, and the report stage on it."""

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

ROOT = Path(__file__).resolve().parents[1]


class Project:
    """Writes made-up inputs of the report below `root`."""

    METRICS = ("psnr", "ssim", "l1", "lpips_random", "psnr_hole", "l1_hole")
    BUCKETS = ("10-20", "50-60", "wide")
    VARIANTS = ("baseline", "sail", "acda", "ours")
    # By how much a model's values lie above the baseline's: on average, and more from one image to the next.
    SHIFT: Mapping[str, float] = {"baseline": 0, "sail": 0.5, "acda": -0.25, "ours": 1, "mean_fill": -3, "vae": 5}
    SPREAD: Mapping[str, float] = {"baseline": 0, "sail": 0.1, "acda": 0.75, "ours": 0.2, "mean_fill": 0.3, "vae": 0.4}
    IMAGES = (3, 1, 2, 4)
    HEADER = ("dataset", "variant", "seed", "image_id", "bucket", "metric", "pasted", "value")

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def scores(self) -> Path:
        """Folder of the score files."""
        return self.root / "build" / "scores"

    def gain(self, variant: str, bucket: str, metric: str) -> float:
        """By how much a model's values lie above the baseline's, over all images: intervals of acda hold 0."""
        return self.SHIFT[variant] * self._scale(bucket, metric)

    def value(self, variant: str, seed: int, image: int, bucket: str, metric: str, pasted: int) -> float:
        """A score, another one for every model, seed, image, bucket and metric; pasted gains 10."""
        place, column = 2 * self.BUCKETS.index(bucket), self.METRICS.index(metric)
        own = (self.SHIFT[variant] + self.SPREAD[variant] * (image - 2.5)) * self._scale(bucket, metric)
        return 10 * pasted + image + place + column + own + 0.125 * seed

    def _scale(self, bucket: str, metric: str) -> float:
        return 1 + self.METRICS.index(metric) / 4 + self.BUCKETS.index(bucket) / 8

    def rows(
        self,
        variant: str,
        seed: int,
        datasets: Sequence[str] = ("scenes", "photos"),
        images: Sequence[int] = IMAGES,
    ) -> list[list[Any]]:
        """Rows of a score file."""
        return [
            [*place, image, bucket, metric, pasted, self.value(variant, seed, image, bucket, metric, pasted)]
            for place in ([dataset, variant, seed] for dataset in datasets)
            for bucket in self.BUCKETS
            for metric in self.METRICS
            for pasted in (1, 0)
            for image in images
        ]

    def write_scores(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """One score file."""
        self.write_csv(self.scores / name, self.HEADER, rows)

    def write_all_scores(self) -> None:
        """Score files of four variants, seeds 0 and 1, and of two references on scenes."""
        for variant in self.VARIANTS:
            for seed in (0, 1):
                self.write_scores(f"{variant}-{seed}.csv", self.rows(variant, seed))
        names = ("mean_fill", "vae")
        self.write_scores("reference.csv", [row for name in names for row in self.rows(name, 0, ("scenes",))])

    def write_dataset(self, dataset: str, ids: Sequence[int], runs: Sequence[str], size: int = 16) -> None:
        """Images, captions, masks (upper half) and outputs of one dataset."""
        images, annotations = [], []
        for number in ids:
            name = f"{number:012d}.png"
            images.append({"id": number, "file_name": name, "width": size, "height": size})
            annotations.append({"id": number, "image_id": number, "caption": f"caption {number}"})
            truth = np.full((size, size, 3), 10 * number, np.uint8)
            hole = np.zeros((size, size), np.uint8)
            hole[: size // 2] = 255
            self.write_image(self.root / "data" / dataset / "test" / name, truth)
            for bucket in self.BUCKETS:
                self.write_image(self.root / "build/masks" / dataset / bucket / name, hole)
                for i, run in enumerate(runs):
                    output = np.where(hole[..., None] > 0, np.uint8(100 + 20 * i), truth)
                    folder = self.root / "build/generate" / run / dataset / bucket / "pasted"
                    self.write_image(folder / name, output)
        content = {"images": images[::-1], "annotations": annotations}
        path = self.root / "data" / dataset / "annotations" / "captions_test.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")

    def write_history(self, path: Path, names: Mapping[str, float], steps: Sequence[int] = (5, 10, 15)) -> None:
        """A history whose series grow by one per step from the given starts."""
        rows = [(step, name, start + i) for i, step in enumerate(steps) for name, start in names.items()]
        self.write_csv(path, ("step", "name", "value"), rows)

    @staticmethod
    def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A CSV file, its folder made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])

    @staticmethod
    def write_image(path: Path, pixels: np.ndarray) -> None:
        """A PNG file, its folder made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def write_cost(self, variant: str, scale: int = 1) -> None:
        """Counted cost of a variant."""
        counts = {
            "weights": {"trained": 1_234_567 * scale, "frozen": 7_000_000},
            "sampling": {"unet_evaluations": 40, "branch_evaluations": 40, "flops": 51_877_380_096 * scale},
            "training": {"flops_per_image": 2_537_947_136 * scale, "flops_per_step": 40_607_154_176 * scale},
        }
        path = self.root / "build" / "cost" / f"{variant}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(counts), encoding="utf-8")

    def write_variant(self, variant: str) -> None:
        """A variant's settings."""
        sail = "{lambda: 0.25, features: decoder}" if variant in ("sail", "ours") else "null"
        acda = (
            "{radius: 4.0, window: circle, domain: image, amplitude: log, lr: 0.005}"
            if variant in ("acda", "ours")
            else "null"
        )
        path = self.root / "build" / "variants" / f"{variant}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"name: {variant}\nsail: {sail}\nacda: {acda}\n", encoding="utf-8")

    def write_tree(self, variants: Sequence[str] = ("baseline", "ours"), holds: bool = True) -> Path:
        """Everything that the stage reads beside the scores, for one seed and two buckets; returns the root."""
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["variants"], params["seeds"] = list(variants), [0]
        params["masks"].update({"buckets": ["50-60", "10-20"]})
        params["compare"]["variant"]["name"] = variants[-1]
        yaml.dump(params, self.root / "params.yaml")
        for dataset in ("scenes", "photos"):
            self.write_dataset(dataset, self.IMAGES, [f"{name}-0" for name in variants])
        for i, variant in enumerate(variants):
            names = {"loss_simple": 1.0} if variant == "baseline" else {"loss_simple": 1.0, "rms_frequency": 0.5}
            self.write_history(self.root / "build" / "train" / f"{variant}-0" / "history.csv", names)
            self.write_cost(variant, i + 1)
            self.write_variant(variant)
        gate = {"value": 28.0, "bound": 27, "interval": [27.5, 28.5], "holds": holds, "note": "dB"}
        (self.root / "reports").mkdir(exist_ok=True)
        content = json.dumps({"enforced": False, "gates": {"vae.psnr": gate}})
        (self.root / "reports" / "gates.json").write_text(content, encoding="utf-8")
        self.write_search()
        return self.root

    def write_search(self) -> None:
        """What a search has found, as its own report leaves it."""
        from search_case import small

        from ecdm.search.figures import write_figures
        from ecdm.search.results import write_results

        studies, folder = small(), self.root / "reports" / "search"
        write_results(studies, folder)
        write_figures(studies, folder)


def run_report(root: Path) -> subprocess.CompletedProcess[str]:
    """The report stage in `root`."""
    command = [sys.executable, str(ROOT / "stages" / "report.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)


def reported_project(root: Path, caption: str) -> Path:
    """All four variants, reported in `root`: a scene has this caption, and a gate fails."""
    project = Project(root)
    project.write_all_scores()
    project.write_tree(project.VARIANTS, holds=False)
    path = root / "data" / "scenes" / "annotations" / "captions_test.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["annotations"][0]["caption"] = caption
    path.write_text(json.dumps(content), encoding="utf-8")
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    return root
