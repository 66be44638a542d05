"""Run the stages at full size on random weights: Stable Diffusion 1.5 and ControlNet v1.1 at 512², on any CPU.

It writes networks of exactly that configuration and a small COCO folder, takes the profile `coco-sd15` with nothing
changed but counts and places, and runs the stages as processes in a copy of the working tree. What it shows is that
everything loads, fits and runs, how long each stage takes and how much memory; pictures of random weights show nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import PNDMScheduler
from PIL import Image
from ruamel.yaml import YAML
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer
from working_copy import ROOT, copy_tree, run

from ecdm.data.scenes import draw_scene
from ecdm.models import sd15, tiny
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
Maker = Callable[[], Any]


@dataclass(frozen=True)
class Scale:
    """What the networks are and how large the images; `text` makes a text encoder for a tokenizer."""

    size: int
    entries: int
    length: int
    vae: Maker
    unet: Maker
    controlnet: Maker
    text: Callable[[CLIPTokenizer], Any]


SCALES = {
    "full": Scale(
        size=512,
        entries=sd15.VOCABULARY,
        length=sd15.TEXT_LENGTH,
        vae=sd15.sd15_vae,
        unet=sd15.sd15_unet,
        controlnet=sd15.sd15_controlnet,
        text=lambda tokenizer: sd15.sd15_text_encoder(),
    ),
    "tiny": Scale(
        size=128,
        entries=tiny.VOCABULARY,
        length=tiny.TEXT_LENGTH,
        vae=tiny.tiny_vae,
        unet=tiny.tiny_unet,
        controlnet=lambda: tiny.tiny_controlnet(tiny.tiny_unet()),
        text=tiny.tiny_text_encoder,
    ),
}


def write_weights(folder: Path, scale: Scale) -> None:
    """Write `base`, `canny` and `inpaint` in the layout they are published in, one network at a time in memory."""
    base = folder / "base"
    write_tokenizer(base / "tokenizer", scale.entries, scale.length)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    _save(lambda: scale.text(tokenizer), base / "text_encoder", 1)
    _save(scale.vae, base / "vae", 2)
    _save(scale.unet, base / "unet", 3)
    _save(lambda: _stirred(scale.controlnet()), folder / "canny", 4)
    _save(lambda: _stirred(scale.controlnet()), folder / "inpaint", 5)
    betas: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    PNDMScheduler(skip_prk_steps=True, steps_offset=1, **betas).save_pretrained(base / "scheduler")


def _save(make: Maker, folder: Path, seed: int) -> None:
    torch.manual_seed(seed)  # new modules draw their weights from the global generator
    make().save_pretrained(folder)


def _stirred(controlnet: Any) -> Any:
    """Zero convolutions with weights: a trained ControlNet's are not zero."""
    for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.02)
    return controlnet


def write_tokenizer(folder: Path, entries: int, length: int) -> None:
    """Write a byte-pair tokenizer in CLIP's published files: every byte and merges of pairs, `entries` in all.

    Its merges are of no language, but any text can be encoded.
    """
    letters = sorted(ByteLevel.alphabet())
    count = entries - 2 * len(letters) - 2
    merges = [(first, second) for first in letters for second in letters][:count]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(first + second for first, second in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": tokens[-2], "eos_token": tokens[-1], "unk_token": tokens[-1], "pad_token": tokens[-1]}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special}
    folder.mkdir(parents=True)
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbered = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbered, ensure_ascii=False), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_coco(folder: Path, size: int) -> None:
    """Write a COCO 2017 folder of ten images to train on and three to test, each larger than `size`."""
    (folder / "annotations").mkdir(parents=True)
    for name, count, first in (("train2017", 10, 1), ("val2017", 3, 101)):
        (folder / name).mkdir()
        images, annotations = [], []
        for number in range(first, first + count):
            scene, file = draw_scene(0, "train", number, size * 5 // 4), f"{number:012d}.jpg"
            Image.fromarray(scene.image[: size * 9 // 8]).save(folder / name / file, quality=95)
            images.append({"id": number, "file_name": file})
            annotations.append({"id": number, "image_id": number, "caption": scene.captions[0]})
        content = json.dumps({"images": images, "annotations": annotations})
        (folder / "annotations" / f"captions_{name}.json").write_text(content, encoding="utf-8")


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
        "data": {"path": str(work / "coco"), "size": size, "validation": 2, "test": 2, "workers": 2},
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


def main() -> int:
    """Exit code of the first command that fails, else 1 where a stage takes more than 24 GiB, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="?", type=Path, default=ROOT / "build" / "full-size", help="emptied first")
    parser.add_argument("--scale", choices=SCALES, default="full", help="tiny: the same with small networks")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    arguments = parser.parse_args()
    work, scale = arguments.work.resolve(), SCALES[arguments.scale]
    for name in ("tree", "weights", "coco"):
        shutil.rmtree(work / name, ignore_errors=True)
    write_weights(work / "weights", scale)
    write_coco(work / "coco", scale.size)
    tree, records = copy_tree(work / "tree"), []
    with (tree / "profiles" / f"{OVERRIDES}.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(overrides(work, scale.size), file)
    commands = [("ecdm", "profile", name) for name in (PROFILE, OVERRIDES)]
    commands += [("python", f"stages/{name}.py", *rest) for name, *rest in STAGES]
    for command in commands:
        print(" ".join(command), flush=True)
        code = run(tree, *command).returncode
        if code:
            return code
    for name, *rest in STAGES:
        record = "@".join([name, "-".join(rest)]) if rest else name
        records.append(json.loads((tree / "runs" / f"{record}.json").read_text(encoding="utf-8")))
    text = table(records, arguments.scale)
    print(text)
    if arguments.out:
        write_text(arguments.out, text)
    return int(max(one["peak_memory_mb"] for one in records) > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
