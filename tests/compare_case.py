"""Networks of random weights for the published methods, and the project tree that the comparison's stages need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HOLES = ("wide", "narrow")


def write_networks(folder: Path, foundation: Path) -> None:
    """Folders sd_inpaint, glide, pixel and clip that fit a small foundation of 96 text features, all weights random."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    from ecdm.models.foundation import load_foundation

    parts = load_foundation(foundation)
    tokenizer: Any = CLIPTokenizer.from_pretrained(foundation / "tokenizer")
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    small: dict[str, Any] = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    text: dict[str, Any] = {"cross_attention_dim": 96, "attention_head_dim": 2}
    text |= {"down_block_types": down, "up_block_types": up, "out_channels": 3}
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    words |= {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    seen = tower | {"image_size": 32, "patch_size": 8}
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        networks = {
            "sd_inpaint/unet": UNet2DConditionModel.from_config(dict(parts.unet.config) | {"in_channels": 9}),
            "glide/unet": UNet2DConditionModel(sample_size=8, in_channels=7, **small, **text),
            "glide/upsampler": UNet2DConditionModel(sample_size=16, in_channels=10, **small, **text),
            "pixel/unet": UNet2DModel(sample_size=16, **plain, **small),
            "clip": CLIPModel(CLIPConfig(text_config=words | tower, vision_config=seen, projection_dim=8)),
        }
        for network in networks.values():
            for parameter in network.parameters():
                parameter.data += 0.05 * torch.randn(parameter.shape)
    side = {"height": 32, "width": 32}
    further = {
        "glide/scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "glide/upsampler_scheduler": DDPMScheduler(beta_schedule="linear"),
        "glide/text_encoder": parts.text_encoder,
        "glide/tokenizer": tokenizer,
        "pixel/scheduler": DDPMScheduler(beta_schedule="linear"),
    }
    for name, part in {**networks, **further}.items():
        part.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / "clip")
    means = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    CLIPImageProcessor(size=side, crop_size=side, **means).save_pretrained(folder / "clip")


def compared_tree(tree: Path, networks: Path) -> None:
    """Add networks, single items, the images made by hand and the second data set to a project tree."""
    shutil.copytree(networks, tree / "build" / "networks")
    _copy_set(tree, "objects", "object", 3)
    _copy_set(tree, "custom", "custom", 2)
    _copy_set(tree, "shifted", None, 3)


def masks_of(tree: Path, name: str) -> Path:
    """Where the masks of a data set lie; those made by hand come with their images."""
    return tree / "data" / name / "masks" if name == "custom" else tree / "build" / "masks" / name


def _copy_set(tree: Path, name: str, bucket: str | None, count: int) -> None:
    """The first scenes of the tree under another name, with their masks or, in one bucket, squares."""
    from ecdm.data.coco import read_split, write_split

    source, target = tree / "data" / "scenes", tree / "data" / name
    images = read_split(source, "test")[:count]
    (target / "test").mkdir(parents=True)
    (target / "annotations").mkdir()
    for image in images:
        shutil.copy(source / "test" / image.file_name, target / "test" / image.file_name)
    write_split(target, "test", images)
    text = (source / "annotations" / "scenes_test.json").read_text(encoding="utf-8")
    shown = {key: value for key, value in json.loads(text).items() if int(key) in {image.id for image in images}}
    (target / "annotations" / "scenes_test.json").write_text(json.dumps(shown), encoding="utf-8")
    masks = masks_of(tree, name)
    if bucket is None:
        shutil.copytree(masks.with_name("scenes"), masks)
        return
    hole = np.zeros((32, 32), np.uint8)
    hole[8:24, 8:24] = 255
    (masks / bucket).mkdir(parents=True)
    for image in images:
        Image.fromarray(hole).save(masks / bucket / image.file_name)
