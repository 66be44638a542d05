"""Work on many jobs by the processes of this machine or of a Ray cluster, with results in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ecdm.data.files import Job, Result, chunk, in_processes, progress

if TYPE_CHECKING:
    from ecdm.data.cluster import Cluster


@dataclass(frozen=True)
class Engine:
    """Where work is done: `local`, by processes of this machine, or `ray`, by those of a cluster.

    The cluster is the one that the environment variable RAY_ADDRESS names, with all it has; without one, Ray starts
    `workers` processes here, which end with this process. Its machines have to hold the same version of this package
    and to see the same files at the same paths: jobs name files, and their work reads and writes them in place. Work
    that a dying process leaves is done again, so it has to be such that a second time does no harm.
    Raises: ValueError for less than one worker, and for `ray` where Ray is not installed.
    """

    kind: Literal["local", "ray"]
    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers: found {self.workers}, expected 1 or more")

    def map(self, work: Callable[[Job], Result], jobs: Sequence[Job], title: str, weight: int = 1) -> list[Result]:
        """Do `work` on every job and return the results in the order of the jobs, whatever the number of workers.

        All as `in_processes` does, by the processes of the engine.
        """
        if self.kind == "ray":
            return list(progress(self._cluster().map(work, jobs, chunk(weight)), len(jobs), title))
        return in_processes(work, jobs, self.workers, title, weight)

    def stream(
        self, make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], title: str, threads: int = 1
    ) -> Iterator[Result]:
        """Give the results of heavy jobs in their order, one after another, by work that takes long to set up.

        `make()` sets it up, once in each process: locally in this one; on a cluster in one per GPU, or, where there is
        none, in as many as there are CPUs for `threads` each. The first exception is raised as in `map`.
        """
        if self.kind == "ray":
            yield from progress(self._cluster().stream(make, jobs, threads), len(jobs), title)
        elif jobs:
            yield from progress(map(make(), jobs), len(jobs), title)

    def _cluster(self) -> Cluster:
        """Ray, imported here alone, since most projects do without."""
        try:
            from ecdm.data.cluster import Cluster
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "ecdm":
                raise
            raise ValueError(
                f"prepare.engine: found ray, but {error.name} is not installed, expected the extra `cluster` "
                "(pip install 'ecdm[cluster]'), or the engine local"
            ) from error
        return Cluster.joined(self.workers)
