"""Write what a dispatched workflow was asked for into params.yaml: a profile, variants, seeds and `-S` overrides.

Each of them goes through the overlay that `ecdm profile` uses, so that the comments of the file stay.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from pathlib import Path

from ecdm.profiles import find_profile, overlay
from ecdm.search.settings import load_tune

PARAMS, PROFILES = Path("params.yaml"), Path("profiles")
OVERRIDE = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)=(.+)")


def overrides(variants: str, seeds: str, extra: str) -> list[str]:
    """Overrides as `key=value`; an empty text gives none. Raises ValueError for what is none.

    `variants`, `seeds`: words between spaces. `extra`: `key=value` between spaces, quoted as in a shell, with or
    without a `-S` before each.
    """
    found = []
    for name, text, word in (("variants", variants, r"[a-z]+"), ("seeds", seeds, r"\d{1,9}")):
        words = text.split()
        for one in words:
            if not re.fullmatch(word, one, re.ASCII):
                raise ValueError(f"{name}: found {one!r}, expected {'numbers' if name == 'seeds' else 'names'}")
        found += [f"{name}=[{','.join(words)}]"] if words else []
    try:
        words = shlex.split(extra)
    except ValueError as error:
        raise ValueError(f"overrides: found {extra!r}, expected closed quotes") from error
    for one in words:
        if one != "-S" and not OVERRIDE.fullmatch(one):
            raise ValueError(f"overrides: found {one!r}, expected key=value")
    return found + [one for one in words if one != "-S"]


def _as_profile(override: str) -> str:
    """`a.b=value` as the YAML of a profile that sets this alone."""
    found = OVERRIDE.fullmatch(override)
    assert found is not None, "overrides() lets no other through"
    keys = found.group(1).split(".")
    return "\n".join(f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)) + f" {found.group(2)}\n"


def changed(profile: str, changes: list[str], path: Path, folder: Path) -> str:
    """The text of `path` after all changes, made in `folder`; raises ValueError where one is refused."""
    draft, one = folder / path.name, folder / "overrides"
    draft.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    if profile:
        draft.write_text(overlay(draft, find_profile(profile, PROFILES)), encoding="utf-8")
    for change in changes:
        one.write_text(_as_profile(change), encoding="utf-8")
        draft.write_text(overlay(draft, one), encoding="utf-8")
    load_tune(draft)
    return draft.read_text(encoding="utf-8")


def write(profile: str, changes: list[str], path: Path = PARAMS) -> None:
    """Change `path`, which stays as it was where a ValueError is raised."""
    with tempfile.TemporaryDirectory() as name:
        try:
            text = changed(profile, changes, path, Path(name))
        except ValueError as error:
            # The user knows params.yaml and the overrides, not the folder of the draft.
            raise ValueError(str(error).replace(f"{name}/", "")) from error
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """0, or 2 where an input is refused; params.yaml then is as before."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("profile", "variants", "seeds", "overrides"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args()
    try:
        write(options.profile, overrides(options.variants, options.seeds, options.overrides))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
