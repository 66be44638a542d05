"""File names that come from elsewhere: whether they stay in the folder they are meant for."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath


def climbs_out(name: str) -> bool:
    """Whether a file name, read as POSIX's or Windows', is absolute or has a part `..`."""
    places = (PurePosixPath(name), PureWindowsPath(name))
    return any(place.is_absolute() or place.drive or ".." in place.parts for place in places)


def stays_inside(root: Path, name: str) -> bool:
    """Whether `root / name`, links followed, lies below `root`."""
    return not climbs_out(name) and (root / name).resolve().is_relative_to(root.resolve())
