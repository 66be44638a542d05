"""A foundation copied whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecdm.models.foundation import PARTS
from ecdm.training.bundle import copy_foundation

Digests = Callable[[Path], dict[str, str]]


@pytest.mark.parametrize("existing", [True, False])
def test_copying_is_all_or_nothing(
    foundation_folder: Path, tmp_path: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    target = tmp_path / "build" / "foundation"
    if existing:
        copy_foundation(foundation_folder, target)
    before, copytree = digests(tmp_path), shutil.copytree
    copied: list[str] = []

    def full_disk(source: Path, place: Path, **options: Any) -> Any:
        if len(copied) == 3:
            raise OSError("no space left on device")
        copied.append(source.name)
        return copytree(source, place, **options)

    monkeypatch.setattr(shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="no space left"):
        copy_foundation(foundation_folder, target)
    assert len(copied) == 3
    assert digests(tmp_path) == before
    assert target.exists() is existing


@pytest.mark.parametrize("name", [*PARTS, "classifier"])
def test_a_missing_component_is_named_before_anything_is_copied(
    foundation_folder: Path, tmp_path: Path, name: str
) -> None:
    given = tmp_path / "given"
    shutil.copytree(foundation_folder, given)
    shutil.rmtree(given / name)
    with pytest.raises(FileNotFoundError, match=f"{given / name}: missing component"):
        copy_foundation(given, tmp_path / "new" / "foundation")
    assert not (tmp_path / "new").exists()


def test_an_old_foundation_is_replaced_whole(foundation_folder: Path, tmp_path: Path, digests: Digests) -> None:
    target = tmp_path / "foundation"
    (target / "old").mkdir(parents=True)
    copy_foundation(foundation_folder, target)
    assert digests(target) == digests(foundation_folder)
