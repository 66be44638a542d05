"""`ecdm app` before its page opens: which models it offers and what it refuses."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecdm.commands import app


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    app.register(parser.add_subparsers())
    options = parser.parse_args(["app", *arguments])
    return int(options.command(options))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, write_params: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs and the settings, seen from a folder below."""
    for name in app.QUIET:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    write_params(tmp_path)
    for name in ("mine-0", "ours-0", "baseline-1", "baseline-0", "unfinished-0"):
        (tmp_path / "build" / "train" / name / "weights").mkdir(parents=True)
        if name != "unfinished-0":
            (tmp_path / "build" / "train" / name / "weights" / "branch.json").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_all_runs_are_offered_in_the_ablations_order(project: Path) -> None:
    found = app._models([], project)
    assert list(found) == ["baseline-0", "baseline-1", "ours-0", "mine-0"]
    assert found["ours-0"] == project / "build" / "train" / "ours-0"


def test_named_models_are_offered_instead(project: Path) -> None:
    assert app._models(["a/x", "b/y/"], project) == {"x": Path("a/x"), "y": Path("b/y")}
    with pytest.raises(ValueError, match="two models of one name"):
        app._models(["a/x", "b/x"], project)


def test_what_cannot_start_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--port: found 0"):
        run("--port", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(ValueError, match=f"--port: found {port} on 127.0.0.1 in use"):
            run("--port", port)
    monkeypatch.delitem(sys.modules, "ecdm.serving.app")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"\.\[app\]"):
        run()
    (project / "params.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"params\.yaml"):
        run()


def test_a_project_without_runs_is_told(project: Path) -> None:
    for path in project.rglob("branch.json"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="found no trained run"):
        run()


def test_what_is_painted_is_the_hole() -> None:
    from gradio import Error

    from ecdm.serving.app import painted

    background = np.full((4, 5, 4), 255, np.uint8)
    layers = [np.zeros((4, 5, 4), np.uint8) for _ in range(2)]
    layers[0][0, 0, 3], layers[0][1, 1, 3], layers[1][2, 2, 3] = 127, 128, 255
    picture, hole = painted({"background": background, "layers": layers})
    assert np.argwhere(hole).tolist() == [[1, 1], [2, 2]]
    assert picture.alpha is None
    background[0, 0, 3] = 254
    assert painted({"background": background, "layers": layers})[0].alpha is not None
    for drawing in (None, {"background": None, "layers": layers}, {"background": background, "layers": []}):
        with pytest.raises(Error):
            painted(drawing)
