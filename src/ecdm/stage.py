"""What every stage shares: a record of its run, torch's threads, and errors as one line with exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ecdm.config import load_params
from ecdm.runs import stage_run


def run(name: str, main: Callable[[], None]) -> None:
    """Run `main` as the stage `name`, on as many of torch's threads as params.yaml says.

    A ValueError or OSError, which bad input gives, becomes one line on standard error and exit code 1; any
    other exception is a fault of the program and keeps its traceback.
    """
    try:
        with stage_run(name), _threads():
            main()
    except (ValueError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from error


@contextmanager
def _threads() -> Iterator[None]:
    """Torch's threads as in params.yaml, where the stage has imported torch: sums are split by their number."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    params, before = load_params(), torch.get_num_threads()
    torch.set_num_threads(params.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
