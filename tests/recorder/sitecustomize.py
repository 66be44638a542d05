"""Loaded by every Python of a recorded reproduction: a stage notes the files that it opens, one list per process.

The folder of the lists is ECDM_OPENED. What libraries open in native code (weights, moments) does not show.
"""

from __future__ import annotations

import os
import sys
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def record(folder: str, command: str) -> None:
    """Write a line `command, r or w, absolute path` for every file that this process opens or renames from now on."""
    target = os.open(os.path.join(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    seen: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, writes = arguments[0], arguments[2] & WRITING
        elif event == "os.rename":
            path, writes = arguments[1], True
        else:
            return
        # Removing a tree opens its folders, under names that say nothing about where they are.
        if isinstance(path, str | bytes | os.PathLike) and not os.path.isdir(path):
            line = f"{command}\t{'w' if writes else 'r'}\t{os.path.abspath(os.fsdecode(path))}\n"
            if line not in seen:
                seen.add(line)
                os.write(target, line.encode())

    sys.addaudithook(hook)


if "ECDM_OPENED" in os.environ:
    if sys.orig_argv[1:2] and sys.orig_argv[1].startswith("stages/"):
        # A stage's worker processes inherit its command.
        os.environ["ECDM_STAGE"] = " ".join(sys.orig_argv[1:])
    if "ECDM_STAGE" in os.environ:
        record(os.environ["ECDM_OPENED"], os.environ["ECDM_STAGE"])
