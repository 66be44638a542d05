"""Run the stages at full size on random weights: Stable Diffusion 1.5 and ControlNet v1.1 at 512², on any CPU.

It writes networks of exactly that configuration and a small COCO folder, takes the profile `coco-sd15` with other
counts, places and precision, and runs the stages as processes in a copy of the working tree. What it shows is that
everything loads, fits and runs, how long each stage takes and how much memory; pictures of random weights show nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from working_copy import ROOT, copy_tree, run

from ecdm.runs import describe, write_text

PROFILE, OVERRIDES = "coco-sd15", "full-size"
LIMIT_MB = 24 * 1024
STAGES = (
    ("prepare",),
    ("masks",),
    ("canny",),
    ("foundation",),
    ("latents",),
    ("variants",),
    ("train", "ours", "0"),
    ("generate", "ours", "0"),
    ("evaluate", "ours", "0"),
)
# Side of the images, pixels.
SIZES = {"full": 512, "tiny": 128}


def overrides(work: Path, size: int) -> dict[str, Any]:
    """What differs from the profile: places, counts, and numbers that CPUs compute in."""
    weights = {
        "base": {"from": str(work / "weights" / "base"), "revision": None},
        "controlnet_canny": {"from": str(work / "weights" / "canny"), "revision": None},
        "controlnet_inpaint": {"from": str(work / "weights" / "inpaint"), "revision": None},
    }
    return {
        "threads": 2,
        "variants": ["ours"],
        "data": {
            "path": str(work / "coco"),
            "size": size,
            "validation": 2,
            "test": 2,
            "workers": 2,
            "second": {"source": "shifted", "path": None, "test": 2},  # the comparison is no part of it
        },
        "compare": {"objects": 2},
        "masks": {"buckets": ["50-60"]},
        "foundation": {"pretrained": weights},
        "train": {
            "steps": 2,
            "batch": 1,
            "micro_batch": 1,
            "warmup": 1,
            "precision": "no",
            "gradient_checkpointing": True,
            "ema_decay": 0.0,
            "checkpoint_every": 2,
            "log_every": 1,
            "validate_every": 2,
            "validation_images": 1,
            "preview_steps": 1,
        },
        "generate": {"steps": 2, "precision": "no", "batch": 1},
        "evaluate": {"batch": 1, "perceptual": "lpips_random", "resamples": 10},
        "tune": {"images": 2, "short": {"images": 2}},  # no more than there are for validation
    }


def table(records: Sequence[dict[str, Any]], scale: str) -> str:
    """Time and peak memory of each stage as Markdown."""
    head = f"Scale `{scale}`, profile `{PROFILE}`, on {describe(records[-1]['hardware'])}.\n"
    lines = ["| stage | seconds | peak memory, MiB |", "|---|---:|---:|"]
    lines += [f"| {one['stage']} | {one['seconds']:.0f} | {one['peak_memory_mb']:,} |" for one in records]
    return "\n".join([head, *lines]) + "\n"


def measure(work: Path, scale: str, python: Path | None = None) -> list[dict[str, Any]]:
    """What the stages record of themselves, run below `work`, whose former content goes; `python` as in `run`.

    Raises: CalledProcessError for the first command that fails.
    """
    for name in ("tree", "weights", "coco"):
        shutil.rmtree(work / name, ignore_errors=True)
    tree, records = copy_tree(work / "tree"), []
    with (tree / "profiles" / f"{OVERRIDES}.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(overrides(work, SIZES[scale]), file)
    # In a process of its own: a child's peak memory starts at its parent's.
    commands: list[tuple[str, ...]] = [("python", "bench/full_size_inputs.py", str(work), "--scale", scale)]
    commands += [("ecdm", "profile", name) for name in (PROFILE, OVERRIDES)]
    commands += [("python", f"stages/{name}.py", *rest) for name, *rest in STAGES]
    for command in commands:
        print(" ".join(command), flush=True)
        run(tree, *command, python=python).check_returncode()
    for name, *rest in STAGES:
        record = "@".join([name, "-".join(rest)]) if rest else name
        records.append(json.loads((tree / "runs" / f"{record}.json").read_text(encoding="utf-8")))
    return records


def main() -> int:
    """Exit code of the first command that fails, else 1 where a stage takes more than 24 GiB, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="?", type=Path, default=ROOT / "build" / "full-size", help="emptied first")
    parser.add_argument("--scale", choices=SIZES, default="full", help="tiny: the same with small networks")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    arguments = parser.parse_args()
    try:
        records = measure(arguments.work.resolve(), arguments.scale)
    except subprocess.CalledProcessError as error:  # it has said itself what is wrong
        return error.returncode
    text = table(records, arguments.scale)
    print(text)
    if arguments.out:
        write_text(arguments.out, text)
    return int(max(one["peak_memory_mb"] for one in records) > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
