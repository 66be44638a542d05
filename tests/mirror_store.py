"""An MLflow store to mirror a search into, as a plugin of the tests that need one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ecdm.tracking import Store


@pytest.fixture(scope="session")
def mirror_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no experiment of ours: making the tables takes seconds."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
        Store.connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def mirror_root(mirror_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    shutil.copy(mirror_tables, tmp_path / "mlflow.db")
    return tmp_path
