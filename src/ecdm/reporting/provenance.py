"""What the page rests on: hashes of its inputs as DVC computes them, versions of libraries, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Distributions whose code shapes a result.
LIBRARIES = (
    *("torch", "torchvision", "diffusers", "transformers", "accelerate", "tokenizers", "safetensors"),
    *("torchmetrics", "lpips", "numpy", "opencv-python-headless", "scikit-image", "pillow", "matplotlib", "dvc"),
)


@dataclass(frozen=True)
class Input:
    """A file or folder that the page was made from: its MD5 as in dvc.lock, its files and bytes."""

    path: str
    md5: str
    files: int
    size: int


def read_inputs(paths: Iterable[Path]) -> list[Input]:
    """Hash files and folders; FileNotFoundError naming one that is missing."""
    return [_input(path) for path in paths]


def versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Installed versions by distribution, the build's own suffix such as `+cpu` left out; absent ones are too."""
    found = {}
    for name in names:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def settings(sections: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings under dotted keys, as text; None, a part that is switched off, as `off`."""
    flat: dict[str, str] = {}
    for key, value in sections.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": text for inner, text in settings(value).items()}
        elif isinstance(value, list | tuple):
            flat[key] = ", ".join(str(item) for item in value)
        else:
            flat[key] = "off" if value is None else str(value)
    return flat


def _input(path: Path) -> Input:
    if path.is_file():
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
            return Input(path.as_posix(), md5, 1, file.tell())
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder")
    files = [_input(file) for file in sorted(path.rglob("*")) if file.is_file()]
    # A folder's hash in DVC is that of the list of its files, in order of their names.
    listed = [{"md5": file.md5, "relpath": Path(file.path).relative_to(path).as_posix()} for file in files]
    text = json.dumps(sorted(listed, key=lambda entry: entry["relpath"]), sort_keys=True)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return Input(path.as_posix(), f"{digest}.dir", len(files), sum(file.size for file in files))
