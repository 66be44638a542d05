"""A foundation of random weights, smaller than the embedded one, and a small project tree around it."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

# The libraries behind it take seconds to import, and most test files need none of them.
if TYPE_CHECKING:
    from ecdm.models.foundation import Components

# MLflow reads it when it is first imported, which test does that depends on their order.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

ROOT = Path(__file__).parents[1]
SPLITS = {"train": 6, "validation": 3, "test": 3}
BUCKETS = ["10-20", "50-60"]
# All that a result here hangs on, so that another profile in the project's params.yaml changes no test.
SMALL: dict[str, Any] = {
    "seed": 0,
    "seeds": [0],
    "variants": ["baseline", "sail", "acda", "ours"],
    "deterministic": True,
    "tf32": False,
    "data": {
        "source": "scenes",
        "path": None,
        "smallest": 16,
        "shards": False,
        "size": 32,
        "workers": 1,
        "second": {"source": "shifted", "path": None, "download": False, "test": 3},
        **SPLITS,
    },
    "prepare": {"engine": "local"},
    "masks": {"buckets": BUCKETS},
    "canny": {"low": 100, "high": 200},
    "foundation": {"source": "bundled", "path": "assets/foundation"},
    "sail": {"lambda": 0.1, "features": "decoder"},
    "acda": {"radius": 4, "window": "circle", "domain": "image", "amplitude": "log", "lr": 0.005},
    "pretrain": {
        "seed": 0,
        "scenes": 6,
        "width": 1,
        "precision": "no",
        "vae": {"steps": 2, "batch": 2, "crop": 16},
        "unet": {"steps": 2, "batch": 2},
        "teacher": {"steps": 2, "batch": 2},
        "inpaint": {"steps": 2, "batch": 2},
        "classifier": {"steps": 2, "batch": 2},
    },
    "train": {
        "steps": 5,
        "batch": 2,
        "micro_batch": 16,
        "lr": 1e-3,
        "warmup": 1,
        "schedule": "cosine",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "ema_decay": 0.98,
        "text_dropout": 0.1,
        "precision": "no",
        "optimiser": "adamw",
        "gradient_checkpointing": False,
        "channels_last": False,
        "compile": False,
        "checkpoint_every": 2,
        "log_every": 2,
        "validate_every": 3,
        "validation_images": 2,
        "preview_steps": 2,
        "preview_guidance": 3.0,
    },
    "generate": {"sampler": "dpmsolver++", "steps": 3, "guidance": 3.0, "eta": 0.0, "precision": "no", "batch": 4},
    "evaluate": {"batch": 4, "perceptual": "lpips_random", "resamples": 50, "level": 0.95},
    "networks": {"names": ["sd_inpaint", "glide", "pixel", "clip"], "source": "bundled"},
    "compare": {
        "methods": ["glide", "blended", "sd_inpaint", "controlnet_inpaint", "unipaint", "copaint"],
        "objects": 4,
        "strokes": 2,
        "custom": str(ROOT / "assets" / "custom"),
        "variant": {"name": "ours", "images": 3, "batch": 2},
        "glide": {"images": 2, "batch": 2, "steps": 3, "upsampler_steps": 2, "upsampler_skipped": 1},
        "blended": {"images": 2, "batch": 2, "steps": 4, "skipped": 1, "views": 2, "candidates": 1},
        "sd_inpaint": {"images": 2, "batch": 2, "steps": 3},
        "controlnet_inpaint": {"images": 2, "batch": 2, "steps": 3},
        "unipaint": {"images": 2, "batch": 2, "iterations": 2, "steps": 3},
        "copaint": {"images": 2, "batch": 2, "steps": 3, "jump": 2, "passes": 2},
    },
    "gates": {"enforce": True, "held_out": 100, "images": 4, "batch": 3},
}
LONGEST = (
    "test_reproduction.py",
    "test_workers.py",
    "test_trial.py",
    "test_search_pipeline.py",
    "test_server.py",
    "test_registry.py",
    "test_search_guide.py",
    "test_sync.py",
    "test_notebooks.py",
    "test_mirror_failures.py",
    "test_remotes.py",
    "test_generate.py",
    "test_cluster.py",
    "test_layout.py",
    "test_processes.py",
    "test_full_size.py",
)
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


def _merge(into: Any, changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _write_params(folder: Path, changes: dict[str, Any]) -> None:
    yaml = YAML()
    content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    _merge(content, SMALL)
    _merge(content, changes)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def _networks() -> dict[str, Any]:
    """Networks of Stable Diffusion's structure, a few thousand weights each; a hint and a latent are 1/8."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    shared: dict[str, Any] = {
        "in_channels": 4,
        "down_block_types": (CROSS, CROSS, PLAIN),
        "block_out_channels": (16, 24, 32),
        "layers_per_block": 1,
        "cross_attention_dim": 96,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    up = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
    hint = {"conditioning_embedding_out_channels": (8, 8, 16, 16)}
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=1.5,
    )
    return {
        "vae": vae,
        "unet": UNet2DConditionModel(sample_size=4, out_channels=4, up_block_types=up, **shared),
        "controlnet_canny": ControlNetModel(**hint, **shared),
        "controlnet_inpaint": ControlNetModel(**hint, **shared),
    }


def _make_foundation(folder: Path) -> None:
    """Random weights everywhere, zero convolutions included, so that no part is without effect."""
    import torch

    from ecdm.data.scenes import draw_scene
    from ecdm.models.classifier import AttributeClassifier
    from ecdm.models.tiny import tiny_scheduler, tiny_text_encoder, train_tokenizer

    tokenizer = train_tokenizer([c for i in range(8) for c in draw_scene(0, "train", i, 32).captions])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        networks = {**_networks(), "text_encoder": tiny_text_encoder(tokenizer)}
        classifier = AttributeClassifier(8)
        for network in networks.values():
            for parameter in network.parameters():
                parameter.data += 0.05 * torch.randn(parameter.shape)
    for name, part in {**networks, "tokenizer": tokenizer, "scheduler": tiny_scheduler()}.items():
        part.save_pretrained(folder / name)
    classifier.save(folder / "classifier")


def _digests(folder: Path) -> dict[str, str]:
    """Path below the folder → SHA-256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _load_stage(name: str) -> ModuleType:
    """A stage's script as a module of its own, to be called or altered."""
    spec = importlib.util.spec_from_file_location(f"stage_{name}", ROOT / "stages" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def foundation_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foundation folder, not to be written to."""
    folder = tmp_path_factory.mktemp("foundation")
    _make_foundation(folder)
    return folder


@pytest.fixture(scope="session")
def parts(foundation_folder: Path) -> Components:
    """The same, loaded and frozen; shared, so not to be changed."""
    from ecdm.models.foundation import load_foundation

    return load_foundation(foundation_folder)


@pytest.fixture(scope="session")
def made_tree(tmp_path_factory: pytest.TempPathFactory, foundation_folder: Path, parts: Components) -> Path:
    """params.yaml, data and build as the stages before training leave them; not to be written to."""
    from ecdm.data.edges import write_edges
    from ecdm.data.engine import Engine
    from ecdm.data.masks import write_masks
    from ecdm.data.photos import write_photos
    from ecdm.data.scene_folder import write_scenes
    from ecdm.training.latents import write_moments

    root = tmp_path_factory.mktemp("tree")
    _write_params(root, {})
    data, build, engine = root / "data", root / "build", Engine("local", 1)
    write_scenes(data / "scenes", 0, 32, SPLITS, engine)
    write_photos(data / "photos", 32)
    for name in ("scenes", "photos"):
        write_masks(data / name, "test", name, [*BUCKETS, "wide", "narrow"], build / "masks" / name, 0, engine)
    write_masks(data / "scenes", "validation", "validation", BUCKETS, build / "masks" / "validation", 0, engine)
    for split in SPLITS:
        write_edges(data / "scenes", split, build / "edges" / "scenes", 100, 200, engine)
    shutil.copytree(foundation_folder, build / "foundation")
    (build / "latents").mkdir()
    for split in ("train", "validation"):
        latents = build / "latents" / f"{split}.safetensors"
        write_moments(data / "scenes", split, foundation_folder, latents, 4, engine)
    return root


@pytest.fixture
def tree(made_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one test, as the working directory."""
    root = tmp_path / "tree"
    shutil.copytree(made_tree, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def write_params() -> Callable[..., None]:
    """Write the small params.yaml into a folder, with nested changes."""
    return lambda folder, **changes: _write_params(folder, changes)


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """Path below a folder → SHA-256 of every file."""
    return _digests


@pytest.fixture(scope="session")
def load_stage() -> Callable[[str], ModuleType]:
    """A stage's script as a module of its own, to be called or altered."""
    return _load_stage


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def library_messages() -> Iterator[Callable[[], list[str]]]:
    """What diffusers and transformers warned about so far; their loggers do not pass it to pytest's."""
    handler = _Messages()
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [*handler.texts, *(str(one.message) for one in caught)]
    for logger in loggers:
        logger.removeHandler(handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest, so that two processes end at the same time."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
