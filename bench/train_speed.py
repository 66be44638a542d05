"""Train `ours` for some steps in the tree that the full-size run left: images per second, memory, losses.

Random weights and a handful of images train as fast as real ones; the losses show that they stay finite.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ecdm.config import load_params, load_variant
from ecdm.pace import Paced
from ecdm.runs import describe, hardware, peak_memory_mb
from ecdm.stage import set_up_torch
from ecdm.tracker import NullTracker
from ecdm.training.experiment import Paths, run_experiment

# The first steps choose algorithms and fill caches.
WARM = 20


class Recorder(NullTracker):
    """Keeps the numbers of every report."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a training step."""
        self.rows.append({"step": step, **values})


def train(steps: int, batch: int, changes: Mapping[str, Any]) -> list[dict[str, float]]:
    """Train in the working directory; what was reported."""
    params, recorder = load_params(), Recorder()
    set_up_torch(params)
    settings = params.train.model_copy(
        update={
            "steps": steps,
            "batch": batch,
            "micro_batch": batch,
            "checkpoint_every": steps,
            "validate_every": steps,
            "log_every": 5,
            **changes,
        }
    )
    folder = Path("build") / "bench"
    paths = replace(
        Paths.of(params.data.source, "ours", 0),
        output=folder / "ours",
        probe=folder / "ours.json",
        checkpoint=folder / "ours.safetensors",
    )
    run_experiment(load_variant(Path("build/variants/ours.yaml")), settings, 0, paths, Paced(recorder, settings))
    return recorder.rows


def main() -> None:
    """Write a table and every fifth step's losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="where the full-size run worked")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=("no", "bf16"), default="bf16")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--out", type=Path, required=True, help="a name, to which .md and .csv are added")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    os.chdir(arguments.work / "tree")
    changes = {"precision": arguments.precision, "gradient_checkpointing": arguments.checkpointing}
    rows = train(arguments.steps, arguments.batch, changes)
    speeds = [row["images_per_second"] for row in rows if row["step"] > WARM and "images_per_second" in row]
    on_gpu = torch.cuda.is_available()
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else peak_memory_mb() / 2**10
    title = f"`ours`, batch {arguments.batch}, {arguments.precision}, {arguments.steps} steps"
    lines = [
        f"{title}, on {describe(hardware())}.\n",
        "| | |",
        "|---|---:|",
        f"| images per second, median after step {WARM} | {f'{median(speeds):.2f}' if speeds else '–'} |",
        f"| peak memory of the {'GPU' if on_gpu else 'process'}, GiB | {memory:.2f} |",
        f"| loss, first and last | {rows[0]['loss']:.4f}, {rows[-1]['loss']:.4f} |",
    ]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("step", "loss", "loss_simple", "loss_soft", "images_per_second"),
                                extrasaction="ignore", lineterminator="\n")  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
    print(out.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
