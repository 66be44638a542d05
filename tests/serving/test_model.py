"""A registered model: fetched by its alias, loaded by MLflow where nothing of the project is installed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from registry_project import entries, make_registry_project

from ecdm.serving.download import download, model_folder
from ecdm.serving.export import open_model
from ecdm.serving.model import REQUIRED, InpaintModel, example
from ecdm.serving.picture import Picture, png
from ecdm.serving.registry import register
from ecdm.serving.versions import CHAMPION, CONTENT, NAME
from ecdm.tracking import Store

# Runs as if the package were not installed: neither on the path nor found by an editable install's finder.
ELSEWHERE = """\
import importlib.util, json, sys
sys.path[:] = [path for path in sys.path if path != sys.argv[1]]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
assert importlib.util.find_spec("ecdm") is None
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[2])
(filled,) = model.predict(pandas.read_pickle("row"), params={"seed": 3})
open("filled.png", "wb").write(filled)
ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ecdm"}
values = [value for module in ours.values() for value in vars(module).values()]
homes = [str(getattr(value, "__module__", None) or getattr(value, "__name__", "")) for value in values]
used = {home.partition(".")[0] for home in homes} - sys.stdlib_module_names
print(json.dumps({"used": sorted(used), "file": ours["ecdm"].__file__}))
"""


@pytest.fixture(scope="module")
def root(parts: Any, foundation_folder: Path, tmp_path_factory: pytest.TempPathFactory, write_params: Any) -> Any:
    """A project whose run `ours-0` is registered and champion."""
    root = tmp_path_factory.mktemp("registered") / "project"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("DVC_SITE_CACHE_DIR", str(root.parent / "site"))
        make_registry_project(root, foundation_folder, parts, write_params)
        register(root, entries(root), ["ours"])
        yield root


def location(root: Path) -> Path:
    place = Store.connect(root).client.get_model_version_download_uri(NAME, "1")
    return Path(str(place).removeprefix("file://"))


def case() -> tuple[Any, Any, pd.DataFrame]:
    """Pixels and hole of the model's size, and the same as a row."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[4:20, 8:30] = True
    mask = png(Picture(np.repeat(hole[..., None], 3, axis=2) * np.uint8(255)))
    return pixels, hole, pd.DataFrame([{"image": png(Picture(pixels)), "mask": mask, "prompt": "a circle"}])


def test_it_loads_where_nothing_is_installed_and_fills_as_its_run_does(root: Path, tmp_path: Path) -> None:
    pixels, hole, row = case()
    row.to_pickle(tmp_path / "row")
    source = str(Path(__file__).parents[2] / "src")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHONPATH"))}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", ELSEWHERE, source, f"models:/{NAME}@{CHAMPION}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["file"].startswith(source)
    sources, required = packages_distributions(), {*REQUIRED, "pydantic_core", "ecdm"}  # the latter comes with pydantic
    assert "diffusers" in told["used"]
    assert [
        name for name in told["used"] if name in sources and not required & set(map(str.lower, sources[name]))
    ] == []
    filled = np.asarray(Image.open(tmp_path / "filled.png"))
    generator = torch.Generator().manual_seed(3)
    run = open_model(root / "build" / "train" / "ours-0")
    np.testing.assert_array_equal(filled, np.asarray(run("a circle", pixels, hole, generator=generator).images[0]))


def test_it_holds_safetensors_and_no_pickle(root: Path) -> None:
    suffixes = {path.suffix for path in location(root).rglob("*") if path.is_file()}
    assert {".safetensors", ".py"} <= suffixes
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".pyc"}
    content = (location(root) / "MLmodel").read_text()
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in content
    assert "python_model:" not in content
    assert "import set_model" in (location(root) / "model_code.py").read_text()


def test_rows_at_fault_are_named(root: Path) -> None:
    model = InpaintModel()
    model.pipeline = open_model(root / "build" / "train" / "ours-0")
    good = example()
    assert len(model.predict(None, good)) == 1
    small = png(Picture(np.zeros((9, 9, 3), np.uint8)))
    for column, content, message in (
        ("image", b"text", "row 2: image: expected an image, found bytes that cannot be read as one$"),
        ("mask", small, "row 2: mask: found a mask of 9x9 px, expected 64x64 px"),
    ):
        bad = pd.concat([good, good.assign(**{column: [content]})])
        with pytest.raises(ValueError, match=message):
            model.predict(None, bad)
    with pytest.raises(ValueError, match="seed: found -1"):
        model.predict(None, good, {"seed": -1})


def test_every_row_is_filled_as_if_alone_with_the_given_settings(root: Path) -> None:
    model = InpaintModel()
    model.pipeline = open_model(root / "build" / "train" / "ours-0")
    _, _, row = case()
    both = model.predict(None, pd.concat([example(), row]), {"seed": 5, "steps": 1, "guidance": 2.0})
    assert both[1:] == model.predict(None, row, {"seed": 5, "steps": 1, "guidance": 2.0})
    others: list[dict[str, Any]] = [
        {"seed": 6, "steps": 1, "guidance": 2.0},
        {"seed": 5},
        {"seed": 5, "steps": 1, "guidance": 7.0},
    ]
    for other in others:
        assert model.predict(None, row, other) != both[1:]
    assert Image.open(io.BytesIO(both[0])).size == (64, 64)


def test_an_alias_is_fetched_once_and_a_path_stays_a_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "data")
    folder = model_folder(f"models:/{NAME}@{CHAMPION}")
    assert open_model(folder).size == 32
    before = (folder / "model_index.json").stat().st_mtime_ns
    assert model_folder(f"models:/{NAME}/1") == folder
    assert (folder / "model_index.json").stat().st_mtime_ns == before
    assert model_folder("models") == Path("models")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/ecdm-inpainting", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/ecdm-inpainting/7", r"models:/ecdm-inpainting/7: .*`ecdm register` puts"),
        ("models:/ecdm-inpainting@nobody", r"models:/ecdm-inpainting@nobody: .*nobody not found.*`ecdm register` puts"),
        ("models:/other@champion", r"models:/other@champion: .*other not found.*`ecdm register` puts"),
    ],
)
def test_what_is_not_there_is_told(root: Path, uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        download(uri, root)


def test_files_other_than_those_registered_are_refused(root: Path) -> None:
    shutil.rmtree(root / "build" / "models", ignore_errors=True)
    index = location(root) / "artifacts" / "model" / "model_index.json"
    text, client = index.read_text(), Store.connect(root).client
    key = client.get_model_version(NAME, "1").tags[CONTENT]
    try:
        index.write_text("{}")
        with pytest.raises(ValueError, match="found other files in MLflow than those that were registered"):
            download(f"models:/{NAME}/1", root)
        client.set_model_version_tag(NAME, "1", CONTENT, "../../elsewhere")
        with pytest.raises(ValueError, match=r"tag ecdm\.content: found \.\./\.\./elsewhere, expected a SHA-256"):
            download(f"models:/{NAME}/1", root)
    finally:
        index.write_text(text)
        client.set_model_version_tag(NAME, "1", CONTENT, key)
    assert {path.suffix for path in (root / "build" / "models").iterdir()} == {".lock"}
