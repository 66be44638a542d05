"""Ray Data as an engine's cluster: jobs go out and results come back in order, and nothing is printed by Ray."""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import ray
import ray.data
from ray import cloudpickle

Row = dict[str, Any]

# Read when Ray starts. It would send statistics about its use elsewhere, and warn of every actor that may be restarted.
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process has joined."""

    cpus: int
    gpus: int

    @classmethod
    def joined(cls, workers: int) -> Cluster:
        """The cluster that this process is part of, or that RAY_ADDRESS names, or one of `workers` processes here.

        Raises: ConnectionError naming an address where no cluster answers, or none that takes this process.
        """
        if not ray.is_initialized():
            _join(workers)
        found = ray.cluster_resources()
        return cls(max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0)))

    def map(self, work: Callable[[Any], Any], jobs: Sequence[Any], size: int) -> Iterator[Any]:
        """Results of `work`, by tasks of `size` jobs; a task whose process dies is done again elsewhere."""
        rows = _rows(jobs, size)
        # By Ray's pickler: a function of the script that runs is in no module that other processes could import.
        return _results(rows.map(_attempt, fn_kwargs={"work": cloudpickle.dumps(work), "place": os.getcwd()}))

    def stream(self, make: Callable[[], Callable[[Any], Any]], jobs: Sequence[Any], threads: int) -> Iterator[Any]:
        """Results of what `make` gives, by actors: one per GPU, or on CPUs one for every `threads` of them."""
        size = self.gpus or max(1, self.cpus // threads)
        actors = ray.data.ActorPoolStrategy(size=min(size, max(1, len(jobs))))
        asked: Row = {"num_gpus": 1} if self.gpus else {"num_cpus": 1}
        told = {"make": cloudpickle.dumps(make), "place": os.getcwd()}
        return _results(_rows(jobs, 1).map(Actor, fn_constructor_kwargs=told, compute=actors, **asked))


class Actor:
    """A process of its own for work that takes long to set up, which is done at the first job."""

    def __init__(self, make: bytes, place: str) -> None:
        self.make, self.place = make, place
        self.work: Callable[[Any], Any] | None = None

    def __call__(self, row: Row) -> Row:
        return _outcome(partial(self._do, row["job"]), self.place)

    def _do(self, job: bytes) -> Any:
        if self.work is None:
            self.work = pickle.loads(self.make)()
        return self.work(pickle.loads(job))


def _join(workers: int) -> None:
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS")
    # A cluster that exists has processes of its own, in a number that is not ours to set.
    where: Row = {"address": address} if address else {"address": "local", "num_cpus": workers}
    try:
        if address:
            _knock(address)
        with _no_stderr():
            ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        if not address:
            raise
        raise ConnectionError(
            f"RAY_ADDRESS: found {address!r}, where no cluster lets this process in: {error} "
            "(one that asks for a token takes it from RAY_AUTH_TOKEN_PATH under RAY_AUTH_MODE=token)"
        ) from error


def _knock(address: str) -> None:
    """OSError where nothing listens at host:port, for which Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=10).close()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what native code writes there: Ray's tells, before any setting of its log, what it finds set."""
    sys.stderr.flush()
    before = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _rows(jobs: Sequence[Any], size: int) -> Any:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"job": cloudpickle.dumps(job)} for job in jobs]
    return ray.data.from_items(rows, override_num_blocks=max(1, math.ceil(len(rows) / size)))


def _attempt(row: Row, work: bytes, place: str) -> Row:
    # One thread each, as there is one process for every CPU.
    cv2.setNumThreads(1)
    return _outcome(lambda: pickle.loads(work)(pickle.loads(row["job"])), place)


def _outcome(do: Callable[[], Any], place: str) -> Row:
    """The result, or the exception: Ray would wrap it and print its trace, as if Ray had failed."""
    try:
        # Paths may be relative to where the stage runs.
        with chdir(place):
            return {"good": True, "found": cloudpickle.dumps(do())}
    except Exception as error:  # whatever it is, it is raised again where the jobs came from
        return {"good": False, "found": cloudpickle.dumps(error)}


def _results(rows: Any) -> Iterator[Any]:
    for row in rows.iter_rows():
        found = pickle.loads(row["found"])
        if not row["good"]:
            raise found
        yield found
