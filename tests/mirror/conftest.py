"""A small project that DVC really reproduced, and looks into its MLflow store."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_project import make_project

from ecdm.mirror.sync import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduced project, with MLflow's tables but no run; two training stages wrote down their own keys."""
    root = tmp_path_factory.mktemp("made") / "project"
    make_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        client_of(root).search_experiments(max_results=1)
    return root


@pytest.fixture(scope="session")
def synced(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after one sync, to look at alone: tests must leave it as it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        root = Path(shutil.copytree(made, tmp_path_factory.mktemp("synced") / "project", symlinks=True))
        assert sync(root).skipped == []
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def client_of(root: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


@pytest.fixture
def client() -> Callable[[Path], MlflowClient]:
    return client_of


@pytest.fixture
def all_runs() -> Callable[[Path], list[Run]]:
    def read(root: Path) -> list[Run]:
        client = client_of(root)
        experiment = client.get_experiment_by_name("ecdm")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))

    return read


@pytest.fixture
def runs(all_runs: Callable[[Path], list[Run]]) -> Callable[[Path], dict[str, Run]]:
    """Runs by name, each name once."""

    def read(root: Path) -> dict[str, Run]:
        found = {run.info.run_name: run for run in all_runs(root)}
        assert len(found) == len(all_runs(root))
        return found

    return read


@pytest.fixture
def stored() -> Callable[[Path], dict[str, Any]]:
    """Everything that a store holds: the rows of every table, and the files with the time of their last change."""

    def read(root: Path) -> dict[str, Any]:
        with sqlite3.connect(root / "mlflow.db") as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"'))) for name in names}
        files = [path for path in (root / "mlartifacts").rglob("*") if path.is_file()]
        return rows | {"files": {str(path): path.stat().st_mtime_ns for path in files}}

    return read
