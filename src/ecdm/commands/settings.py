"""`ecdm profile` and `ecdm check`: the settings in params.yaml."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ecdm import runs
from ecdm.commands.parsers import add_command
from ecdm.root import PARAMS, PROFILES, find_root


def register(commands: Any) -> None:
    """Add `profile` and `check` to the parsers of `commands`."""
    profile = add_command(commands, "profile", "write a profile's settings into params.yaml")
    profile.add_argument("name", help=f"a file of profiles/, without .yaml: {_names()}")
    profile.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it would change")
    profile.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    profile.set_defaults(command=_profile)

    check = add_command(commands, "check", "check the settings in params.yaml")
    check.set_defaults(command=_check)


def _names() -> str:
    """The profiles of the project, as a list within a sentence."""
    try:
        found = sorted(path.stem for path in (find_root() / PROFILES).glob("*.yaml"))
    except FileNotFoundError:
        found = []
    return ", ".join(found).replace("%", "%%") or "none here"


def _profile(options: argparse.Namespace) -> int:
    from ecdm.profiles import find_profile

    root = find_root()
    profile = find_profile(options.name, root / PROFILES)
    known = f"{PARAMS} has the settings of profile {options.name} already"
    changed = write_values(root / PARAMS, profile, known, options.check or options.dry_run)
    return int(changed and options.check)


def write_values(params: Path, values: Path, known: str, dry: bool) -> bool:
    """Print what the overlay `values` changes in params.yaml, or `known` where that is nothing; write it if not `dry`.

    Returns whether there is a change. Raises: ValueError naming `values` for such that do not go into params.yaml.
    """
    from ecdm.profiles import difference, overlay

    old, new = params.read_text(encoding="utf-8"), overlay(params, values)
    changes = difference(old, new, PARAMS)
    if not changes:
        print(known)
        return False
    validate(new, values)
    print(changes, end="")
    if not dry:
        runs.write_text(params, new)
    return True


def validate(text: str, values: Path) -> None:
    """Raise ValueError where params.yaml with this text, which `values` led to, would not be valid."""
    from ecdm.search.settings import load_tune

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            load_tune(path)
        except ValueError as error:
            raise ValueError(f"{values}: {str(error).removeprefix(f'{path}: ')}") from error


def _check(options: argparse.Namespace) -> int:
    from ecdm.search.settings import load_tune

    params, _ = load_tune(find_root() / PARAMS)
    if params.evaluate.perceptual != "lpips_random":
        # Brings torch, for which the check of the default need not wait.
        from ecdm.models.perceptual import check_perceptual

        check_perceptual(params.evaluate.perceptual)
    print(f"{PARAMS} is valid")
    return 0
