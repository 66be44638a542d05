"""`ecdm inpaint` for one picture and for a manifest, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import branch_case
import numpy as np
import pytest
from PIL import Image

from ecdm.cli import main
from ecdm.models.branch import start_branch

MODEL = "build/train/ours-0"
PAIR = ["images/0.png", "masks/0.png"]


@pytest.fixture
def work(tree: Path, parts: Any) -> Path:
    """A project with a trained run, as the working directory, and pictures of 50x37 px with their masks."""
    branch_case.randomised(start_branch(parts, branch_case.IMAGE, 0)).save(tree / MODEL / "weights")
    return pictures(tree)


def pictures(folder: Path) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (37, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        mask = np.zeros((37, 50), np.uint8)
        mask[5 : 20 + i, 10:30] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    rows = [{"image": f"{i}.png", "mask": f"{i}.png", "prompt": "a cat", "seed": 3 * i} for i in range(2)]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(*arguments: Any) -> int:
    return main(["inpaint", *map(str, arguments), "--model", MODEL, "--steps", "2", "--device", "cpu"])


def read(path: Path) -> Any:
    return np.array(Image.open(path))


def test_one_picture(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, seed in (("a/b/one.png", 0), ("two.png", 0), ("three.png", 1)):
        assert run(*PAIR, "--prompt", "a cat", "--out", out, "--seed", seed) == 0
    assert capsys.readouterr().out.startswith("wrote a/b/one.png\n")
    one, two, three = (read(work / name) for name in ("a/b/one.png", "two.png", "three.png"))
    before, known = read(work / PAIR[0]), read(work / PAIR[1]) < 128
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)
    assert np.array_equal(one[known], before[known])
    assert not np.array_equal(one[~known], before[~known])


def test_a_manifest(work: Path) -> None:
    assert run("images", "masks", "--manifest", "list.jsonl", "--out", "out") == 0
    assert sorted(path.name for path in (work / "out").iterdir()) == ["0.png", "1.png"]
    for i in range(2):
        run(f"images/{i}.png", f"masks/{i}.png", "--prompt", "a cat", "--out", "alone.png", "--seed", 3 * i)
        assert np.array_equal(read(work / "alone.png"), read(work / "out" / f"{i}.png"))


def test_an_empty_mask_gives_the_picture_and_says_so(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (50, 37), 127).save(work / "none.png")
    assert run("images/0.png", "none.png", "--prompt", "a", "--out", "out.png") == 0
    assert np.array_equal(read(work / "out.png"), read(work / "images" / "0.png"))
    assert "the mask is empty" in capsys.readouterr().out


def test_the_real_command(work: Path) -> None:
    command = [sys.executable, "-m", "ecdm.cli", "inpaint", *PAIR, "--prompt", "a cat", "--model", MODEL]
    good, bad = ([*command, "--out", out] for out in ("filled.png", "filled.jpg"))
    done = subprocess.run(good, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "wrote filled.png\n"), done.stderr
    assert read(work / "filled.png").shape == (37, 50, 3)
    done = subprocess.run(bad, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --out: found filled.jpg, expected the name of a PNG file, such as filled.png\n"


def test_a_registered_model_is_taken_from_the_projects_mlflow(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    arguments = ["inpaint", *PAIR, "--prompt", "a cat", "--steps", "2", "--device", "cpu", "--out", "filled.png"]
    assert main([*arguments, "--model", "models:/fills@champion"]) == 2
    assert capsys.readouterr().err.startswith("error: MLflow at http://127.0.0.1:9: no answer within")
    assert not (work / "filled.png").exists()
    monkeypatch.setattr(
        "ecdm.serving.download.download", lambda uri, root: root / MODEL if "@champion" in uri else None
    )
    assert main([*arguments, "--model", "models:/fills@champion"]) == 0
    run(*PAIR, "--prompt", "a cat", "--out", "other.png")
    assert np.array_equal(read(work / "filled.png"), read(work / "other.png"))


ONE, ALL = [*PAIR, "--prompt", "a"], ["images", "masks", "--manifest", "list.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PAIR, "--out", "x.png"], "--prompt: missing"),
        ([*ONE, "--out", "x.jpg"], "--out: found x.jpg"),
        ([*ONE, "--out", "x.png", "--seed", "-1"], "--seed: found -1"),
        ([*ALL, "--prompt", "a", "--out", "x"], "--prompt: found together"),
        ([*ALL, "--out", "images/0.png"], "--out: images/0.png: found a file"),
        ([*ALL, "--out", "list.jsonl/x"], "--out: list.jsonl: found a file"),
        ([*ONE, "--out", "list.jsonl/x.png"], "--out: list.jsonl: found a file"),
        ([*ONE, "--out", "taken/0.png"], "--out: taken/0.png: found a folder"),
        ([*ALL, "--out", "taken"], "--out: taken/0.png: found a folder"),
        ([*ALL, "--out", "images"], "--out: images/0.png: found a picture or mask to read"),
        ([*ALL, "--out", "taken/../masks"], "--out: taken/../masks/0.png: found a picture or mask to read"),
        ([*ONE, "--out", "masks/0.png"], "--out: masks/0.png: found a picture or mask to read"),
        (["images", "masks", "--manifest", "images", "--out", "x"], "images: found a folder"),
        (["images", "masks", "--manifest", "none.jsonl", "--out", "x"], "none.jsonl: no such file"),
        ([*PAIR, "--manifest", "list.jsonl", "--out", "x"], "list.jsonl, line 1: image: images/0.png/0.png: no such"),
        (["images", PAIR[1], "--prompt", "a", "--out", "x.png"], "images: found a folder"),
        (["images/none.png", PAIR[1], "--prompt", "a", "--out", "x.png"], "images/none.png: no such file"),
        ([*ONE, "--out", "x.png"], "nowhere: no such folder"),
    ],
)
def test_faults_are_found_before_the_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Any, message: str
) -> None:
    pictures(tmp_path)
    (tmp_path / "taken" / "0.png").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["inpaint", *arguments, "--model", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images/1.png", b"no picture", "expected an image"),
        ("masks/1.png", None, "found a mask of 9x9 px, expected 50x37 px"),
    ],
)
def test_a_bad_last_pair_is_found_before_the_model_is_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    if content:
        (tmp_path / name).write_bytes(content)
    else:
        Image.new("L", (9, 9)).save(tmp_path / name)
    assert main(["inpaint", *ALL, "--model", "nowhere", "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {name}: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "num_inference_steps: found 0"),
        (["--guidance", "nan"], "guidance_scale: found nan"),
        (["--device", "abacus"], "--device: found 'abacus'"),
        (["--device", "meta"], "--device: found 'meta'"),
    ],
)
def test_what_the_model_cannot_do_is_told_before_anything_is_written(
    work: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    # A picture without a hole would be written without asking the model.
    Image.new("L", (50, 37)).save(work / "masks" / "0.png")
    assert main(["inpaint", *ALL, "--model", MODEL, "--out", "out", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not (work / "out").exists()
