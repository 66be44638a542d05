"""`ecdm app` before its page opens: which models it offers and what it refuses."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import free_port

from ecdm.cli import main
from ecdm.commands import app


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
    a, b, c = (Path(name) for name in ("a/x", "b/x", "b/y"))
    for folder in (a, b, c):
        folder.mkdir(parents=True)
        (folder / "model_index.json").touch()
    assert app._models(["a/x", "b/y"], project) == {"x": a, "y": c}
    assert app._models(["a/x", "b/x", "b/y"], project) == {"a/x": a, "b/x": b, "y": c}
    with pytest.raises(ValueError, match="found one model twice"):
        app._models(["a/x", "b/../a/x"], project)


def test_registered_models_have_their_alias_for_a_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []

    def fetched(uri: str, root: Path) -> Path:
        asked.append((uri, root))
        folder = project / uri.rpartition("@")[2] / "model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_index.json").touch()
        return folder

    monkeypatch.setattr("ecdm.serving.download.download", fetched)
    named = ["models:/fills@champion", "models:/fills@challenger", "../build/train/ours-0"]
    assert list(app._models(named, project)) == ["fills@champion", "fills@challenger", "ours-0"]
    assert asked == [(uri, project) for uri in named[:2]]
    with pytest.raises(ValueError, match="found one model twice"):
        app._models([named[0], named[0]], project)


def fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that the command ends with."""
    assert main(["app", "--port", str(free_port()), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_start_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fault(capsys, "--port", "0") == "error: --port: found 0, expected 1 to 65535"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert fault(capsys, "--port", port).startswith(f"error: --port: found {port} on 127.0.0.1 in use")
    assert fault(capsys, "--model", "nowhere") == "error: nowhere: no such folder, expected a model"
    assert fault(capsys, "--model", ".").startswith("error: .: found neither model_index.json nor branch.json")
    assert fault(capsys, "--device", "abacus").startswith("error: --device: found 'abacus', expected one that works")
    monkeypatch.delitem(sys.modules, "ecdm.serving.app", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert fault(capsys).endswith("-e '.[app]'")
    (project / "params.yaml").unlink()
    assert fault(capsys).startswith("error: params.yaml: found neither in")


def test_a_project_without_runs_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in project.rglob("branch.json"):
        path.unlink()
    assert "found no trained run" in fault(capsys)


def test_the_real_command() -> None:
    command = [sys.executable, "-m", "ecdm.cli", "app", "--port", str(free_port()), "--model", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nowhere: no such folder, expected a model\n"


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
