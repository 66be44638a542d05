"""Components that a training keeps: each in its folder, with the key of all that it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ecdm.models.classifier import AttributeClassifier

KEY = "key.json"


def keep(folder: Path, made_from: Mapping[str, Any], make: Callable[[], Any]) -> None:
    """Make and save a component unless one that was made from the same stands in its folder.

    The key is written last: after a kill there is none, and the component is made again.
    """
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    if key_of(folder) != key:
        save_part(make(), folder)
        (folder / KEY).write_text(json.dumps({"key": key}), encoding="utf-8")


def key_of(folder: Path) -> str:
    """The key of a kept component; empty where none is complete."""
    path = folder / KEY
    return str(json.loads(path.read_text(encoding="utf-8"))["key"]) if path.is_file() else ""


def save_part(part: Any, folder: Path) -> None:
    """Write a component, or several that share a folder, in place of what is there; networks in half precision."""
    shutil.rmtree(folder, ignore_errors=True)
    for one in part if isinstance(part, tuple) else (part,):
        if isinstance(one, nn.Module):
            one.half()
        if isinstance(one, AttributeClassifier):
            one.save(folder)
        else:
            one.save_pretrained(folder)


def folder_digest(folder: Path) -> str:
    """SHA-256 over a component's files with their paths, its key left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != KEY):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
