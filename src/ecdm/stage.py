"""What every stage shares: a record of its run, torch's settings, and errors as one line with exit code 1."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ecdm.config import Params, load_params
from ecdm.runs import stage_run


def run(name: str, main: Callable[[], None]) -> None:
    """Run `main` as the stage `name`, with torch set up as params.yaml says; of several processes the first records it.

    A ValueError or OSError, which bad input gives, becomes one line on standard error and exit code 1; any
    other exception is a fault of the program and keeps its traceback.
    """
    # Python ends with a search for garbage among all that the libraries have made, about a second's work.
    atexit.register(gc.freeze)
    try:
        with stage_run(name) if first_process() else nullcontext(), _torch_as_set():
            main()
    except (ValueError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from error


@contextmanager
def _torch_as_set() -> Iterator[None]:
    """Torch as params.yaml says, where the stage has imported it."""
    if "torch" not in sys.modules:
        yield
        return
    params, before = load_params(), TorchState.current()
    set_up_torch(params)
    try:
        yield
    finally:
        before.apply()


@dataclass(frozen=True)
class TorchState:
    """What torch's results hang on beside their inputs, to be the same in every process that shares some work.

    Threads, by whose number sums are split, and how exact and repeatable a GPU's results are: under `deterministic` an
    operation that has no repeatable algorithm is an error.
    """

    threads: int
    deterministic: bool
    benchmark: bool
    precision: str
    tf32: bool

    @classmethod
    def current(cls) -> TorchState:
        """As it is set in this process."""
        import torch

        return cls(
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
        )

    def apply(self) -> None:
        """Set this process so."""
        import torch

        torch.set_num_threads(self.threads)
        # Without a workspace of fixed size cuBLAS is not repeatable, and torch refuses it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = self.benchmark
        torch.set_float32_matmul_precision(self.precision)
        torch.backends.cudnn.allow_tf32 = self.tf32


def set_up_torch(params: Params) -> None:
    """Torch in this process as params.yaml says."""
    products = "high" if params.tf32 else "highest"
    TorchState(params.threads, params.deterministic, not params.deterministic, products, params.tf32).apply()


def first_process() -> bool:
    """Whether this process is the only one of its stage, or the first of those that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0
