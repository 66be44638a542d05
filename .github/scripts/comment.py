"""Post or update the one comment of a pull request, from files that the untrusted run of ci left.

Only the standard library and gh. The files are data: a number is read as a number, the text is cut off from what would
call people or fake the mark, and neither reaches a shell.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

MARK = "<!-- ecdm smoke -->"
AUTHOR = "github-actions[bot]"
# GitHub takes 65,536 characters, and some become longer here.
LIMIT = 65_536
ORIGIN = "*Written by the code of this pull request; nobody has checked it.*"


def text_of(path: Path, limit: int) -> str:
    """The text of a regular file of at most `limit` bytes. Raises ValueError for anything else."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path}: found no regular file, expected one")
    if path.stat().st_size > limit:
        raise ValueError(f"{path}: found {path.stat().st_size} bytes, expected at most {limit}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: found bytes that are no text, expected UTF-8") from error


def number_of(path: Path) -> int:
    """The pull request's number. Raises ValueError where the file holds anything else."""
    text = text_of(path, 20).strip()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ValueError(f"{path}: found {text!r}, expected the number of a pull request")
    return int(text)


def body_of(path: Path) -> str:
    """The comment under its mark, with no other mark, no control characters and nobody called by @.

    Raises ValueError where it becomes longer than GitHub takes.
    """
    text = "".join(sign for sign in text_of(path, LIMIT) if sign.isprintable() or sign in "\n\t")
    body = f"{MARK}\n{ORIGIN}\n\n{text.replace('<!--', '&lt;!--').replace('@', '&#64;')}"
    if len(body) > LIMIT:
        raise ValueError(f"{path}: found {len(body)} characters, expected at most {LIMIT}")
    return body


def api(path: str, *options: str, body: str | None = None) -> Any:
    """What GitHub's API answers; `body` is sent through standard input."""
    command = ["gh", "api", *options, *([] if body is None else ["--input", "-"]), path]
    sent = None if body is None else json.dumps({"body": body})
    done = subprocess.run(command, check=True, input=sent, stdout=subprocess.PIPE, text=True, timeout=120)
    return json.loads(done.stdout)


def post(folder: Path, repository: str, head: str) -> str:
    """Post or update the comment; says what was done.

    `head`: the commit that ci ran on, as GitHub itself tells it. A number whose pull request is not at that commit is
    outdated or made up, and gets nothing. Raises ValueError for bad files.
    """
    number, body = number_of(folder / "number"), body_of(folder / "body.md")
    if api(f"repos/{repository}/pulls/{number}")["head"]["sha"] != head:
        return f"pull request {number} is not at {head}: no comment"
    pages = api(f"repos/{repository}/issues/{number}/comments?per_page=100", "--paginate", "--slurp")
    ours = [c["id"] for page in pages for c in page if c["user"]["login"] == AUTHOR and c["body"].startswith(MARK)]
    if ours:
        api(f"repos/{repository}/issues/comments/{int(ours[0])}", "--method", "PATCH", body=body)
        return f"comment of pull request {number} updated"
    api(f"repos/{repository}/issues/{number}/comments", "--method", "POST", body=body)
    return f"comment of pull request {number} posted"


def main() -> int:
    """0 where there was nothing to do or it is done, 2 where the files are refused."""
    folder = Path(sys.argv[1])
    if not folder.is_dir():
        print("ci left no comment")
        return 0
    try:
        print(post(folder, os.environ["REPOSITORY"], os.environ["HEAD_SHA"]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
