"""Cached moments: the autoencoder's, in the order of the ids, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ecdm.data.engine import Engine
from ecdm.training.latents import write_moments

ALONE = Engine("local", 1)


def test_moments_are_the_autoencoders(made_tree: Path, parts: Any, foundation_folder: Path, tmp_path: Path) -> None:
    paths = sorted((made_tree / "data/scenes/train").glob("*.png"))
    images = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in paths])
    with torch.no_grad():
        posterior = parts.vae.encode(images.float() / 127.5 - 1).latent_dist
    expected = torch.cat([posterior.mean, posterior.logvar], dim=1)
    for batch in (1, 4, 6):
        write_moments(made_tree / "data/scenes", "train", foundation_folder, tmp_path / "a.safetensors", batch, ALONE)
        found = load_file(tmp_path / "a.safetensors")["moments"]
        assert found.shape == (6, 8, 4, 4)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_stage_writes_both_splits(
    tree: Path, load_stage: Callable[[str], ModuleType], digests: Callable[[Path], dict[str, str]]
) -> None:
    load_stage("latents").main()
    first = digests(tree / "build/latents")
    assert set(first) == {"train.safetensors", "validation.safetensors"}
    load_stage("latents").main()
    assert digests(tree / "build/latents") == first


def test_an_unreadable_image_is_named_and_leaves_the_old_latents(
    tree: Path, load_stage: Callable[[str], ModuleType], digests: Callable[[Path], dict[str, str]]
) -> None:
    before = digests(tree / "build/latents")
    path = sorted((tree / "data/scenes/validation").glob("*.png"))[1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=path.name):
        load_stage("latents").main()
    assert digests(tree / "build/latents") == before
    assert {entry.name for entry in (tree / "build").iterdir()} == {"edges", "foundation", "latents", "masks"}
