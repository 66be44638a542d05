"""Write what the full-size run reads: networks of random weights as they are published, and a small COCO folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import PNDMScheduler
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from ecdm.data.scenes import draw_scene
from ecdm.models import sd15, tiny

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
    betas = {name: value for name, value in sd15.NOISE.items() if name.startswith("beta")}
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


def main() -> None:
    """The folders `weights` and `coco` below the folder named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", choices=SCALES, required=True)
    arguments = parser.parse_args()
    scale = SCALES[arguments.scale]
    write_weights(arguments.folder / "weights", scale)
    write_coco(arguments.folder / "coco", scale.size)


if __name__ == "__main__":
    main()
