"""Models named by their place in MLflow's registry, as folders on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from filelock import FileLock

from ecdm.address import project_of
from ecdm.data.files import fresh_folder
from ecdm.root import find_root
from ecdm.tracking import Store, failures

SCHEME = "models:"
HASH = re.compile(r"[0-9a-f]{64}")
URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")


def model_folder(given: str) -> Path:
    """The folder of a model: its path, or `models:/NAME@ALIAS`, `models:/NAME/VERSION` in the project's MLflow.

    Raises: as `download`; FileNotFoundError for the latter outside of a project.
    """
    return download(given, find_root()) if given.startswith(SCHEME) else Path(given)


def download(uri: str, root: Path) -> Path:
    """The exported folder of a registered model in the store of the project at `root`, fetched at its first use.

    Raises: ValueError for an address of another form, for what is not there, for a store that fails, and where the
    files are not those registered.
    """
    match = URI.fullmatch(uri)
    if not match:
        raise ValueError(f"{uri}: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    client = Store.connect(root).client
    from ecdm.serving.model import ARTIFACT
    from ecdm.serving.versions import CONTENT, content_key, fetch, find_version, tag

    with failures(client.tracking_uri):
        version = find_version(client, match["name"], match["alias"], match["number"] or "")
        key = tag(version, CONTENT)
        if not HASH.fullmatch(key):
            raise ValueError(f"{uri}: tag {CONTENT}: found {key}, expected a SHA-256 in hex")
        target = project_of(root) / "build" / "models" / key[:32]
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=600):
            if not target.is_dir():
                with fresh_folder(target) as folder:
                    if content_key(fetch(client, version, f"artifacts/{ARTIFACT}", folder)) != key:
                        raise ValueError(f"{uri}: found other files in MLflow than those that were registered")
    return target / ARTIFACT
