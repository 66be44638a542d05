"""What every stage shares: a record of its run, and errors as one line with exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ecdm.runs import stage_run


def run(name: str, main: Callable[[], None]) -> None:
    """Run `main` as the stage `name`.

    A ValueError or OSError, which bad input gives, becomes one line on standard error and exit code 1; any
    other exception is a fault of the program and keeps its traceback.
    """
    try:
        with stage_run(name):
            main()
    except (ValueError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from error
