"""Images of a split as loose files or as tar shards, written and read by name.

<split>/<name>                  loose: one file per image
<split>-<part, six digits>.tar  sharded: WebDataset shards of about a thousand images, members named as the files

Shards are written by `webdataset`'s writer, and read by its reader where whole shards are passed through. Training
asks for images by name instead: which image stands where in its endless order hangs on the seed alone, so that a run
resumes at any step and gives the same result on any number of processes. A stream that shuffles in a buffer and deals
whole shards to processes, as the library has them, gives neither, and its indexed reader is no longer part of it.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PER_SHARD = 1000
SHARD = re.compile(r"-(\d{6,})\.tar")


@dataclass(frozen=True)
class Member:
    """Where the file of an image stands: the number of its shard, and the bytes from `offset` on."""

    part: int
    offset: int
    size: int


class SplitFiles:
    """The image files of one split by name: those of its shards if there are any, else loose ones.

    Shards are looked through when first asked about, header by header.
    Raises: ValueError where both shards and a folder of loose files stand, and, when asked, naming a shard that
    cannot be read or a name that is there twice.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.root = folder / split
        found = {SHARD.fullmatch(path.name.removeprefix(split)): path for path in folder.glob(f"{split}-*.tar")}
        self.shards = {int(match[1]): found[match] for match in found if match}
        if self.shards and self.root.is_dir():
            raise ValueError(f"{self.root}: found loose files beside {self.root}-*.tar, expected one of the two")

    @property
    def sharded(self) -> bool:
        """Whether they stand in shards."""
        return bool(self.shards)

    @cached_property
    def members(self) -> dict[str, Member]:
        """Where each file stands in the shards, by name."""
        found: dict[str, Member] = {}
        for part, path in sorted(self.shards.items()):
            for name, member in _members(path, part):
                if name in found:
                    raise ValueError(f"{path}: {name}: found again, expected once in the shards of {self.root}")
                found[name] = member
        return found

    def __contains__(self, name: str) -> bool:
        return name in self.members if self.sharded else (self.root / name).is_file()

    def locate(self, name: str) -> tuple[Path, bytes | None]:
        """The path of a loose file and None, or a file's place and bytes out of its shard.

        Raises: ValueError naming a file that no shard has; FileNotFoundError for a shard that has gone.
        """
        if not self.sharded:
            return self.root / name, None
        member = self.members.get(name)
        if member is None:
            raise ValueError(f"{self.root}-*.tar: {name}: found in no shard, expected in one")
        path = self.shards[member.part]
        with path.open("rb") as file:
            file.seek(member.offset)
            return path / name, file.read(member.size)


def _members(path: Path, part: int) -> Iterator[tuple[str, Member]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isreg():
                    yield info.name, Member(part, info.offset_data, info.size)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: expected a tar file, found one that cannot be read: {error}") from error


def shard_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of one shard in their order, as name and bytes, in one pass.

    Raises: FileNotFoundError without it; ValueError naming a shard that cannot be read.
    """
    # Imported here alone: it brings torch, for which loose files need not wait.
    from webdataset import WebDataset

    try:
        # Absolute, as a colon in a relative path would be taken for a kind of address.
        url = [str(path.absolute())]
        for sample in WebDataset(url, shardshuffle=False, nodesplitter=None, workersplitter=None, seed=0):
            for suffix in sorted(key for key in sample if not key.startswith("__")):
                yield f"{sample['__key__']}.{suffix}", sample[suffix]
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: expected a tar file, found one that cannot be read: {error}") from error


@contextmanager
def image_sink(folder: Path, split: str, part: int, shards: bool) -> Iterator[Callable[[str, bytes], None]]:
    """Give `add(name, data)`, which stores the file of one image of a split under its name, `<digits>.png`.

    Loose files come to stand one by one; the shard of a part appears whole when the block ends well, and not at all
    when it fails. Equal images added in the same order give equal bytes.
    """
    if shards:
        with _shard(shard_path(folder, split, part)) as add:
            yield add
        return
    root = folder / split
    root.mkdir(parents=True, exist_ok=True)

    def store(name: str, data: bytes) -> None:
        (root / name).write_bytes(data)

    yield store


def shard_path(folder: Path, split: str, part: int) -> Path:
    """Where the shard of a part stands."""
    return folder / f"{split}-{part:06d}.tar"


@contextmanager
def _shard(path: Path) -> Iterator[Callable[[str, bytes], None]]:
    from webdataset import TarWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file, TarWriter(file, user="", group="", mtime=0, encoder=False) as writer:
            yield lambda name, data: _add(writer, name, data)
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _add(writer: Any, name: str, data: bytes) -> None:
    key, _, suffix = name.partition(".")
    writer.write({"__key__": key, suffix: data})
