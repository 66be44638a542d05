"""`ecdm inpaint` for one picture and for a manifest, and what it refuses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import branch_case
import numpy as np
import pytest
from PIL import Image

from ecdm.commands import inpaint
from ecdm.models.branch import start_branch
from ecdm.serving.export import export_model


@pytest.fixture(scope="module")
def model(parts: Any, foundation_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    branch_case.randomised(start_branch(parts, branch_case.IMAGE, 0)).save(root / "weights")
    export_model(foundation_folder, root / "weights", root / "export")
    return root / "export"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with pictures of 50x37 px and their masks."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (37, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        mask = np.zeros((37, 50), np.uint8)
        mask[5 : 20 + i, 10:30] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def run(model: Any, *arguments: Any) -> int:
    parser = argparse.ArgumentParser()
    inpaint.register(parser.add_subparsers())
    options = parser.parse_args(["inpaint", *map(str, arguments), "--model", str(model), "--steps", "2"])
    return int(options.command(options))


def read(path: Path) -> Any:
    return np.array(Image.open(path))


def test_one_picture(model: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = work / "images" / "0.png", work / "masks" / "0.png"
    for out, seed in (("a/b/one.png", 0), ("two.png", 0), ("three.png", 1)):
        assert run(model, *files, "--prompt", "a cat", "--out", work / out, "--seed", seed) == 0
    assert capsys.readouterr().out.startswith(f"wrote {work / 'a/b/one.png'}\n")
    one, two, three = (read(work / name) for name in ("a/b/one.png", "two.png", "three.png"))
    known = read(files[1]) < 128
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert np.array_equal(one[known], read(files[0])[known])
    assert not np.array_equal(one[~known], read(files[0])[~known])


def test_a_manifest(model: Path, work: Path) -> None:
    rows = [{"image": f"{i}.png", "mask": f"{i}.png", "prompt": "a cat", "seed": 3 * i} for i in range(2)]
    (work / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = work / "images", work / "masks"
    assert run(model, *folders, "--manifest", work / "list.jsonl", "--out", work / "out") == 0
    assert sorted(path.name for path in (work / "out").iterdir()) == ["0.png", "1.png"]
    for i in range(2):
        pair = (folder / f"{i}.png" for folder in folders)
        run(model, *pair, "--prompt", "a cat", "--out", work / "alone.png", "--seed", 3 * i)
        assert np.array_equal(read(work / "alone.png"), read(work / "out" / f"{i}.png"))


def test_an_empty_mask_gives_the_picture_and_says_so(
    model: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (50, 37), 127).save(work / "none.png")
    run(model, work / "images" / "0.png", work / "none.png", "--prompt", "a", "--out", work / "out.png")
    assert np.array_equal(read(work / "out.png"), read(work / "images" / "0.png"))
    assert "the mask is empty" in capsys.readouterr().out


def test_a_registered_model_is_looked_up(
    model: Path, work: Path, write_params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def resolve(uri: str, root: Path) -> Path:
        asked.append((uri, root))
        return model

    monkeypatch.setitem(sys.modules, "ecdm.serving.registry", SimpleNamespace(resolve=resolve))
    write_params(work)
    monkeypatch.chdir(work / "images")
    run("models:/ours@champion", "0.png", "../masks/0.png", "--prompt", "a", "--out", "../out.png")
    assert asked == [("models:/ours@champion", work)]
    assert (work / "out.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.png"], "--prompt: missing"),
        (["--out", "x.jpg", "--prompt", "a"], r"--out: found x\.jpg"),
        (["--out", "x.png", "--prompt", "a", "--seed", "-1"], "--seed: found -1"),
        (["--out", "x", "--prompt", "a", "--manifest", "list.jsonl"], "--prompt: found together"),
        (["--out", "images/0.png", "--manifest", "list.jsonl"], "--out: images/0.png: found a file"),
        (["--out", "x.png", "--prompt", "a", "--steps", "0"], "num_inference_steps: found 0"),
        (["--out", "x.png", "--prompt", "a", "--guidance", "nan"], "guidance_scale: found nan"),
    ],
)
def test_bad_options_are_named(
    model: Path, work: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    parser = argparse.ArgumentParser()
    inpaint.register(parser.add_subparsers())
    options = parser.parse_args(["inpaint", "images/0.png", "masks/0.png", "--model", str(model), *arguments])
    with pytest.raises(ValueError, match=message):
        options.command(options)
    assert sorted(work.rglob("*")) == before
