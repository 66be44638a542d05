"""A Stable Diffusion of tests' size as it is published: as folders, and in the cache of the hub's library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from weights_case import PNDM, REVISION


@pytest.fixture
def given(foundation_folder: Path, tmp_path: Path) -> Path:
    """A folder of three: `base` as Stable Diffusion is published, `canny` and `inpaint` as ControlNets are."""
    folder = tmp_path / "given"
    for name in ("vae", "text_encoder", "tokenizer", "unet"):
        shutil.copytree(foundation_folder / name, folder / "base" / name)
    for name in ("canny", "inpaint"):
        shutil.copytree(foundation_folder / f"controlnet_{name}", folder / name)
    (folder / "base" / "scheduler").mkdir()
    (folder / "base" / "scheduler" / "scheduler_config.json").write_text(json.dumps(PNDM))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's library."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def cached(given: Path, cache: Path) -> Path:
    """The three in the hub's cache as its library keeps them: links to blobs."""
    for name in ("base", "canny", "inpaint"):
        place = cache / f"models--owner--{name}"
        (place / "blobs").mkdir(parents=True)
        for i, path in enumerate(sorted(path for path in (given / name).rglob("*") if path.is_file())):
            link = place / "snapshots" / REVISION / path.relative_to(given / name)
            link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / "blobs" / str(i))
            link.symlink_to(place / "blobs" / str(i))
    return cache
