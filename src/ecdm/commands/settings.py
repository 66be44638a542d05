"""`ecdm profile` and `ecdm check`: the settings in params.yaml."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ecdm import runs
from ecdm.root import PARAMS, PROFILES, find_root


def register(commands: Any) -> None:
    """Add `profile` and `check` to the parsers of `commands`."""
    profile = commands.add_parser("profile", help="write a profile's settings into params.yaml")
    profile.add_argument("name", help="a file of profiles/, without .yaml")
    profile.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it would change")
    profile.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    profile.set_defaults(command=_profile)

    check = commands.add_parser("check", help="check the settings in params.yaml")
    check.set_defaults(command=_check)


def _profile(options: argparse.Namespace) -> int:
    from ecdm.profiles import difference, find_profile, overlay

    root = find_root()
    path, profile = root / PARAMS, find_profile(options.name, root / PROFILES)
    old, new = path.read_text(encoding="utf-8"), overlay(path, profile)
    changes = difference(old, new, PARAMS)
    if not changes:
        print(f"{PARAMS} has the settings of profile {options.name} already")
        return 0
    validate(new, profile)
    print(changes, end="")
    if options.check:
        return 1
    if not options.dry_run:
        runs.write_text(path, new)
    return 0


def validate(text: str, profile: Path) -> None:
    """Raise ValueError where params.yaml with this text, which `profile` led to, would not be valid."""
    from ecdm.search.settings import load_tune

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            load_tune(path)
        except ValueError as error:
            raise ValueError(f"{profile}: {str(error).removeprefix(f'{path}: ')}") from error


def _check(options: argparse.Namespace) -> int:
    from ecdm.search.settings import load_tune

    load_tune(find_root() / PARAMS)
    print(f"{PARAMS} is valid")
    return 0
