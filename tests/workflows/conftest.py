"""The workflows' scripts and the harness, which lie outside the package."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """A script of .github/scripts as a module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / ".github" / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def command(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a script's main with arguments: exit code, and what it printed to both streams."""

    def call(name: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        code = script(name).main()
        return code, "".join(capsys.readouterr())

    return call


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of .ci/harness."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    return lambda name: importlib.import_module(f"harness.{name}")


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """GitHub as the harness's `gh` shows it: returns its state, changed by what is given."""
    path, binaries = tmp_path / "gh.json", tmp_path / "bin"
    binaries.mkdir()
    shutil.copy2(ROOT / ".ci" / "harness" / "gh.py", binaries / "gh")
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    monkeypatch.setenv("HARNESS_GH", str(path))
    monkeypatch.setenv("GH_TOKEN", "token")
    path.write_text(json.dumps({"pulls": {}, "comments": [], "opened": []}), encoding="utf-8")

    def state(**changes: Any) -> dict[str, Any]:
        now: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps(now), encoding="utf-8")
        return now

    return state
