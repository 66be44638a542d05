"""Versions of a registered model: the names of their tags, how they are found, and their files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ecdm.tracker import reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

NAME, CHAMPION, CHALLENGER = "ecdm-inpainting", "champion", "challenger"
# Tags: what it was exported from, its exported files, its score file, the pictures that they are scores of.
SOURCE, CONTENT, SCORED, TESTED = "ecdm.source", "ecdm.content", "ecdm.scores", "ecdm.test_data"
SCORES = "scores.csv"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def find_version(client: MlflowClient, name: str, alias: str | None = None, number: str = "") -> ModelVersion:
    """The version with an alias or a number; ValueError where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{number}"
        known = reason(error).rstrip(".")
        raise ValueError(f"{uri}: {known}; `ecdm register` puts trained models there") from error


def tag(version: ModelVersion, name: str) -> str:
    """A tag that `ecdm register` writes; ValueError where the version has none."""
    if name not in version.tags:
        where = f"version {version.version} of {version.name}"
        raise ValueError(f"{where}: found no tag {name}, expected a version that `ecdm register` made")
    return str(version.tags[name])


def label(version: ModelVersion) -> str:
    """Number and run, such as `version 4 (ours-0)`; raises as `tag`."""
    return f"version {version.version} ({tag(version, 'variant')}-{tag(version, 'seed')})"


def fetch(client: MlflowClient, version: ModelVersion, path: str, folder: Path) -> Path:
    """Download a file or folder of a version into `folder`."""
    from mlflow.artifacts import download_artifacts

    place = str(client.get_model_version_download_uri(version.name, str(version.version))).rstrip("/")
    found = download_artifacts(f"{place}/{path}", dst_path=str(folder), tracking_uri=client.tracking_uri)
    return Path(found)


def content_key(export: Path) -> str:
    """SHA-256, in hex, of the names and contents of a folder's files."""
    paths = sorted(path for path in export.rglob("*") if path.is_file())
    parts = {path.relative_to(export).as_posix(): _hash(path, "sha256") for path in paths}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_md5(path: Path) -> str:
    """MD5, in hex, as dvc.lock has it."""
    return _hash(path, "md5")


def _hash(path: Path, how: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, how).hexdigest()
