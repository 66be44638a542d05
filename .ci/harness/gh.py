#!/usr/bin/env python3
"""Stands in for GitHub's client `gh`: knows the requests of the workflows' scripts and no other.

$HARNESS_GH names the file that holds its state: heads of pull requests, comments, and pull requests opened.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

AUTHOR = "github-actions[bot]"


def option(arguments: list[str], name: str, default: str = "") -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else default


def api(state: dict[str, Any], method: str, target: str) -> Any:
    """The answer to a request, and its effect on `state`; None for a request that is not known."""
    if method == "GET" and (found := re.fullmatch(r"repos/owner/ecdm/pulls/(\d+)", target)):
        return {"head": {"sha": state["pulls"][found.group(1)]}}
    if method == "GET" and re.fullmatch(r"repos/owner/ecdm/issues/\d+/comments\?per_page=100", target):
        return [state["comments"]]
    if method == "POST" and re.fullmatch(r"repos/owner/ecdm/issues/\d+/comments", target):
        new = {"id": len(state["comments"]) + 1, "user": {"login": AUTHOR}, **json.load(sys.stdin)}
        state["comments"].append(new)
        return new
    if method == "PATCH" and (found := re.fullmatch(r"repos/owner/ecdm/issues/comments/(\d+)", target)):
        state["comments"][int(found.group(1)) - 1] |= json.load(sys.stdin)
        return {}
    return None


def main(arguments: list[str]) -> int:
    path = Path(os.environ["HARNESS_GH"])
    state = json.loads(path.read_text(encoding="utf-8"))
    if not os.environ.get("GH_TOKEN"):
        sys.exit("gh stand-in: found no GH_TOKEN")
    if arguments[:2] == ["pr", "create"]:
        opened = {name: option(arguments, name) for name in ("--base", "--head", "--title", "--body-file")}
        state["opened"].append({**opened, "text": Path(opened["--body-file"]).read_text(encoding="utf-8")})
        answer = "https://github.example/owner/ecdm/pull/8"
    elif arguments[:1] == ["api"]:
        answer = api(state, option(arguments, "--method", "GET"), arguments[-1])
    else:
        answer = None
    if answer is None:
        sys.exit(f"gh stand-in: {arguments} is not known")
    path.write_text(json.dumps(state), encoding="utf-8")
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
