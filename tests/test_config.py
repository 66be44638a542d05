"""params.yaml: the file as it stands is valid, and every mistake is one error that names its key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from ecdm.config import load_params, load_variant, variant_settings
from ecdm.models.variants import VARIANTS
from ecdm.sections.base import VariantName

ROOT = Path(__file__).parents[1]
Content = dict[str, Any]
MISSING = object()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes the project's params.yaml with other values, by dotted key."""

    def write(changes: dict[str, Any]) -> Path:
        yaml = YAML(typ="safe")
        content: Content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        for key, value in changes.items():
            *sections, last = key.split(".")
            place = content
            for section in sections:
                place = place[section]
            if value is MISSING:
                del place[last]
            else:
                place[last] = value
        path = tmp_path / "params.yaml"
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)
        return path

    return write


def test_the_projects_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.variants == ["baseline", "sail", "acda", "ours"]
    assert params.masks.buckets == ["10-20", "30-40", "50-60"]
    assert (params.sail.lam, params.acda.radius, params.foundation.source) == (0.1, 4.0, "bundled")


def test_params_are_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        params.sail.lam = 0.5


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "lr: 0.0005 " in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("lr: 0.0005", "lr: 5e-4"), encoding="utf-8")
    assert load_params(path) == load_params(ROOT / "params.yaml")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"sail.lambda": -0.1}, "sail.lambda: found -0.1, expected greater than or equal to 0"),
    ({"sail.lambda": float("nan")}, "sail.lambda: found nan, expected a finite number"),
    ({"sail.lambda": float("inf")}, "sail.lambda: found inf, expected a finite number"),
    ({"sail.lambda": True}, "sail.lambda: found True, expected a valid number"),
    ({"sail.lambda": "0.1"}, "sail.lambda: found '0.1', expected a valid number"),
    ({"sail.lambda": None}, "sail.lambda: found None, expected a valid number"),
    ({"sail.lambda": MISSING}, "sail.lambda: missing key"),
    ({"sail.lambda": MISSING, "sail.lam": 0.1}, "sail.lam: unknown key; missing: sail.lambda"),
    ({"sail.features": "encoder"}, "sail.features: found 'encoder', expected 'decoder' or 'residuals'"),
    ({"sail": MISSING}, "sail: missing key"),
    ({"extra": 1}, "extra: unknown key"),
    ({"data.path": "raw"}, "data: found path 'raw' with source scenes, which are drawn, expected null"),
    ({"data.train": None}, "data: found train null with source scenes, expected how many are drawn"),
    ({"data.download": True}, "data: found download true with source scenes, which is nowhere to be fetched from"),
    ({"data.source": "imagenet"}, "data.source: found 'imagenet', expected 'scenes', 'coco', 'openimages' or 'folder'"),
    ({"data.source": "coco"}, "data: found path None with source coco, expected the folder of its files"),
    ({"data.source": "folder", "data.path": " "}, "data: found path ' ' with source folder, expected the folder"),
    *(
        (
            {"data.source": "coco", "data.path": path},
            f"data: found path {path!r}, expected a folder apart from data/coco",
        )
        for path in ("data/coco", "data/coco/raw", "data", "./data/../data/coco", str(Path.cwd() / "data" / "coco"))
    ),
    ({"prepare.engine": "spark"}, "prepare.engine: found 'spark', expected 'local' or 'ray'"),
    ({"train.optimiser": "sgd"}, "train.optimiser: found 'sgd', expected 'adamw' or 'adamw_8bit'"),
    ({"train.micro_batch": 0}, "train.micro_batch: found 0, expected greater than or equal to 1"),
    ({"data.sizes": 64}, "data.sizes: unknown key"),
    ({"data.size": MISSING, "data.sise": 64}, "data.sise: unknown key; missing: data.size"),
    ({"data.size": 100}, "data.size: found 100, expected a multiple of 32"),
    ({"data.size": 0}, "data.size: found 0, expected greater than or equal to 32"),
    ({"data.size": 128.0}, "data.size: found 128.0, expected a valid integer"),
    ({"data.size": True}, "data.size: found True, expected a valid integer"),
    ({"data.test": 1}, "data.test: found 1, expected greater than or equal to 2"),
    ({"data.validation": 1}, "data.validation: found 1, expected greater than or equal to 2"),
    ({"data.train": 0}, "data.train: found 0, expected greater than or equal to 1"),
    ({"data.workers": 0}, "data.workers: found 0, expected greater than or equal to 1"),
    ({"data.source": "imagenet"}, "data.source: found 'imagenet', expected 'scenes'"),
    ({"variants": []}, "variants: found an empty list, expected at least one entry"),
    ({"variants": ["ours", "ours"]}, "variants: found ['ours', 'ours'], expected no entry twice"),
    (
        {"variants": ["ours", "mine"]},
        "variants.1: found 'mine', expected 'baseline', 'sail', 'acda' or 'ours'",
    ),
    ({"variants": "ours"}, "variants: found 'ours', expected a valid list"),
    ({"seeds": []}, "seeds: found an empty list, expected at least one entry"),
    ({"seeds": [1, 1]}, "seeds: found [1, 1], expected no entry twice"),
    ({"seeds": [-1]}, "seeds.0: found -1, expected greater than or equal to 0"),
    ({"seed": -1}, "seed: found -1, expected greater than or equal to 0"),
    ({"masks.buckets": []}, "masks.buckets: expected at least one bucket such as 10-20"),
    ({"masks.buckets": ["20-10"]}, "masks.buckets: found '20-10', expected LOW-HIGH in percent"),
    ({"masks.buckets": ["20-20"]}, "masks.buckets: found '20-20', expected LOW-HIGH in percent"),
    ({"masks.buckets": ["90-101"]}, "masks.buckets: found '90-101', expected LOW-HIGH in percent"),
    ({"masks.buckets": ["010-20"]}, "masks.buckets: found '010-20', expected LOW-HIGH in percent"),
    ({"masks.buckets": ["10-20 "]}, "masks.buckets: found '10-20 ', expected LOW-HIGH in percent"),
    ({"masks.buckets": ["../x"]}, "masks.buckets: found '../x', expected LOW-HIGH in percent"),
    (
        {"masks.buckets": ["10-20", "10-20"]},
        "masks.buckets: found ['10-20', '10-20'], expected no entry twice",
    ),
    ({"masks.buckets": [1020]}, "masks.buckets.0: found 1020, expected a valid string"),
    ({"masks.sets": ["wide", "wide"]}, "masks.sets: found ['wide', 'wide'], expected no entry twice"),
    ({"masks.sets": ["broad"]}, "masks.sets.0: found 'broad', expected 'wide' or 'narrow'"),
    ({"canny.low": 300}, "canny.high: found 200, expected above canny.low (300)"),
    ({"canny.low": 200}, "canny.high: found 200, expected above canny.low (200)"),
    ({"canny.low": -1}, "canny.low: found -1, expected greater than or equal to 0"),
    ({"acda.radius": -1}, "acda.radius: found -1, expected greater than or equal to 0"),
    ({"acda.radius": 64}, "acda.radius: found 64.0, expected below 64, the last frequency of 128 samples"),
    (
        {"acda.radius": 8, "acda.domain": "latent"},
        "acda.radius: found 8.0, expected below 8, the last frequency",
    ),
    ({"acda.lr": 0}, "acda.lr: found 0, expected greater than 0"),
    ({"acda.window": "hann"}, "acda.window: found 'hann', expected 'circle' or 'square'"),
    (
        {"foundation.source": "hub"},
        "foundation.source: found 'hub', expected 'bundled', 'train', 'folder' or 'pretrained'",
    ),
    (
        {"foundation.source": "pretrained"},
        "foundation: pretrained.base.from: found None, expected an id, a folder or a file",
    ),
    (
        {"foundation.pretrained.base.revision": "main"},
        "foundation.pretrained.base.revision: found 'main', expected ",
    ),
    ({"foundation.path": ""}, "foundation.path: found '', expected a folder"),
    ({"foundation.path": " "}, "foundation.path: found ' ', expected a folder"),
    (
        {"foundation.path": "weights"},
        "foundation: found path 'weights' with source bundled, expected assets/foundation",
    ),
    ({"foundation.path": None}, "foundation.path: found None, expected a valid string"),
    (
        {"foundation.source": "train", "pretrain.vae.crop": 256},
        "pretrain.vae.crop: found 256, expected at most",
    ),
    ({"pretrain.vae.crop": 20}, "pretrain.vae.crop: found 20, expected a multiple of 8"),
    ({"pretrain.seed": -1}, "pretrain.seed: found -1, expected greater than or equal to 0"),
    ({"pretrain.unet.steps": 0}, "pretrain.unet.steps: found 0, expected greater than or equal to 1"),
    ({"train.ema_decay": 1.0}, "train.ema_decay: found 1.0, expected less than 1"),
    ({"train.text_dropout": 1.5}, "train.text_dropout: found 1.5, expected less than or equal to 1"),
    ({"train.preview_steps": 1001}, "train.preview_steps: found 1001, expected less than or equal to 1000"),
    ({"train.precision": False}, "train.precision: found False, expected 'no', 'bf16' or 'auto'"),
    ({"generate.sampler": "euler"}, "generate.sampler: found 'euler', expected 'ddim' or 'dpmsolver++'"),
    ({"generate.steps": 1001}, "generate.steps: found 1001, expected less than or equal to 1000"),
    ({"generate.steps": 0}, "generate.steps: found 0, expected greater than or equal to 1"),
    ({"generate.eta": 0.5}, "generate.eta: found 0.5, expected 0 (generate.sampler: dpmsolver++)"),
    ({"evaluate.level": 1.0}, "evaluate.level: found 1.0, expected less than 1"),
    (
        {"evaluate.perceptual": "alex"},
        "evaluate.perceptual: found 'alex', expected 'lpips' or 'lpips_random'",
    ),
    (
        {"compare.methods": ["lama"]},
        "compare.methods.0: found 'lama', expected 'glide', 'blended', 'sd_inpaint', 'controlnet_inpaint', 'unipaint' "
        "or 'copaint'",
    ),
    ({"compare.methods": ["glide", "glide"]}, "compare.methods: found ['glide', 'glide'], expected no entry twice"),
    (
        {"networks.names": ["sd_inpaint", "glide", "clip"]},
        "networks.names: found ['sd_inpaint', 'glide', 'clip'], expected pixel among them, "
        "which method blended needs (compare.methods)",
    ),
    (
        {"networks.names": ["pixel"]},
        "networks: names: found ['pixel'], expected clip among them, for the CLIP score",
    ),
    (
        {"networks.source": "pretrained"},
        "networks: pretrained.sd_inpaint.from: found None, expected an id, a folder or a file",
    ),
    (
        {"variants": ["baseline"]},
        "compare.variant.name: found ours, expected one of variants, ['baseline']",
    ),
    (
        {"compare.glide.upsampler_skipped": 10},
        "compare.glide: upsampler_skipped: found 10, expected below upsampler_steps, 10",
    ),
    ({"compare.blended.skipped": 16}, "compare.blended: skipped: found 16, expected below steps, 12"),
    ({"compare.copaint.shrink": 1.0}, "compare.copaint.shrink: found 1.0, expected less than 1"),
    ({"compare.unipaint.images": 1}, "compare.unipaint.images: found 1, expected greater than or equal to 2"),
    (
        {"data.second.source": "scenes"},
        "data.second.source: found 'scenes', expected 'shifted', 'coco', 'openimages' or 'folder'",
    ),
    ({"data.second.path": "raw"}, "data.second: found path 'raw' with source shifted, which are drawn, expected null"),
    (
        {"data.source": "coco", "data.path": "a", "data.second.source": "coco", "data.second.path": "b"},
        "data: second.source: found coco, expected another than data.source",
    ),
    ({"gates.images": 1}, "gates.images: found 1, expected greater than or equal to 2"),
    ({"gates.enforce": "yes"}, "gates.enforce: found 'yes', expected a valid boolean"),
    ({"masks": 3}, "masks: found 3, expected a valid dictionary"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_is_one_error_that_names_its_key(
    saved: Callable[[dict[str, Any]], Path], changes: dict[str, Any], message: str
) -> None:
    path = saved(changes)
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: {message}")) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


GOOD: list[dict[str, Any]] = [
    {"sail.lambda": 0},
    {"acda.radius": 63},
    {"acda.radius": 7, "acda.domain": "latent"},
    {"masks.buckets": ["0-1", "99-100"]},
    {"masks.sets": []},
    {"canny.low": 0, "canny.high": 1},
    {"foundation.source": "folder", "foundation.path": "weights/sd15"},
    {"pretrain.vae.crop": 256},
    {"pretrain.seed": 0},
    {"data.train": 1, "data.validation": 2, "data.test": 2, "gates.images": 2},
    {"generate.steps": 1000, "train.preview_steps": 1000},
    {"generate.eta": 1, "generate.sampler": "ddim"},
    {"seeds": [3, 1, 2], "variants": ["ours"]},
    {"data.source": "coco", "data.path": "data/sources/coco", "data.train": None, "data.download": True},
    {"data.source": "folder", "data.path": "../pictures"},
    {"foundation.pretrained.base.from": "owner/name", "foundation.pretrained.base.revision": "0123456789" * 4},
    {"train.ema_decay": 0},
    {"compare.methods": [], "networks.names": ["clip"]},
    {"variants": ["sail"], "compare.variant.name": "sail"},
]


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_values_at_the_bounds_are_accepted(saved: Callable[[dict[str, Any]], Path], changes: dict[str, Any]) -> None:
    found = load_params(saved(changes)).model_dump(by_alias=True)
    for key, value in changes.items():
        place: Any = found
        for part in key.split("."):
            place = place[part]
        assert place == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found NoneType, expected a mapping"),
        ("- 1\n", "found list, expected a mapping"),
        ("seed: 0\nseed: 1\n", "not valid YAML: line 2: found duplicate key"),
        ("seed: [0\n", "not valid YAML: line 2: "),
        ("seed: \x00\n", "not valid YAML: "),
        (b"seed: \xff\n", "not valid YAML: 'utf-8' codec"),
    ],
)
def test_other_text_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: {message}")) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml: no such file"):
        load_params(tmp_path / "absent.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"params\.yaml: no such file"):
        load_params()


def test_the_table_of_variants_is_that_of_the_parameters() -> None:
    assert tuple(VARIANTS) == get_args(VariantName)
    assert {name: (v.name, v.sail, v.acda) for name, v in VARIANTS.items()} == {
        "baseline": ("baseline", False, False),
        "sail": ("sail", True, False),
        "acda": ("acda", False, True),
        "ours": ("ours", True, True),
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_settings_come_back(tmp_path: Path, name: str) -> None:
    params, variant = load_params(ROOT / "params.yaml"), VARIANTS[name]
    path = tmp_path / f"{name}.yaml"
    path.write_text(variant_settings(name, params.sail, params.acda, variant.sail, variant.acda))
    found = load_variant(path)
    assert found.name == name
    assert found.sail == (params.sail if variant.sail else None)
    assert found.acda == (params.acda if variant.acda else None)


def test_bad_variant_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text("name: mine\nsail:\nacda:\n")
    with pytest.raises(ValueError, match=r"ours\.yaml: name: found 'mine'"):
        load_variant(path)
