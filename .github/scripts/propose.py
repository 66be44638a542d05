"""Open a pull request with files and folders that another job made; only the standard library, git and gh."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

BOT = ("-c", "user.name=github-actions[bot]", "-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com")
# The token stays in gh's environment: neither .git/config nor an argument holds it.
LOGIN = ("-c", "credential.helper=!gh auth git-credential")


def git(*arguments: str) -> None:
    subprocess.run(["git", *BOT, *LOGIN, *arguments], check=True)


def take(source: Path, names: list[str]) -> None:
    """Replace each file or folder by the one below `source`, so that what is gone there goes here too.

    Raises ValueError where one is missing; all is then as it was.
    """
    for name in names:
        if not (source / name).exists():
            raise ValueError(f"{source / name}: found nothing, expected what the pull request is to bring")
    for name in names:
        made, here = source / name, Path(name)
        if here.is_dir():
            shutil.rmtree(here)
        here.parent.mkdir(parents=True, exist_ok=True)
        if made.is_dir():
            shutil.copytree(made, here)
        else:
            shutil.copy2(made, here)


def propose(options: argparse.Namespace) -> None:
    """Commit on a new branch, push, and open the pull request; nothing of it where nothing changed."""
    take(options.source, options.names)
    git("switch", "--quiet", "--create", options.branch)
    git("add", "--all", "--", *options.names)
    if subprocess.run(["git", "diff", "--cached", "--quiet"]).returncode == 0:
        print("nothing changed: no pull request")
        return
    git("commit", "--quiet", "--message", options.title)
    git("push", "--quiet", "origin", options.branch)
    where = ("--base", options.base, "--head", options.branch)
    text = ("--title", options.title, "--body-file", str(options.source / options.body))
    subprocess.run(["gh", "pr", "create", *where, *text], check=True)


def main() -> int:
    """0, or 2 where something is missing; a failing git or gh raises."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--branch", "--base", "--title"):
        parser.add_argument(name, required=True)
    parser.add_argument("--source", type=Path, required=True, help="the folder with what was made")
    parser.add_argument("--body", required=True, help="below it, the text of the pull request")
    parser.add_argument("names", nargs="+", metavar="NAME", help="below it and here, a file or folder")
    try:
        propose(parser.parse_args())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
