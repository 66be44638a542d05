"""Writing files so that a failure leaves nothing half done, and doing so in several processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")

# Starting a process costs as much as this many jobs; with fewer each it would only slow things down.
JOBS_PER_WORKER = 256
CHUNK = 32


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """An empty folder next to `folder`, gone after the block; what a killed process left there is removed first."""
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(old: Path, new: Path) -> None:
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)
    os.replace(new, old)


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` when the block ends well and else is removed.

    Until then nothing here touches what stands at `folder`; DVC, though, removes a stage's outputs before it runs it.
    """
    with _beside(folder) as beside:
        yield beside
        _replace(folder, beside)


@contextmanager
def fresh_entries(folder: Path) -> Iterator[Path]:
    """Give an empty folder whose entries move into `folder` when the block ends well and else are removed.

    Each replaces what has its name there, everything else in `folder` stays. DVC's part as in `fresh_folder`.
    """
    with _beside(folder) as beside:
        yield beside
        folder.mkdir(exist_ok=True)
        for entry in sorted(beside.iterdir()):
            _replace(folder / entry.name, entry)


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Remove every entry of a folder, which need not exist, but those of these names; links go, not what they name."""
    for path in [path for path in folder.glob("*") if path.name not in names]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def png_name(image_id: int) -> str:
    """The file name of an image, its mask and its edges: the id in twelve digits, as COCO has it."""
    return f"{image_id:012d}.png"


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Uint8 pixels, (h, w, 3) RGB or (h, w) gray, as a PNG file; equal pixels give equal bytes."""
    with BytesIO() as file:
        Image.fromarray(pixels).save(file, format="PNG", compress_level=6)
        return file.getvalue()


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels as the PNG file of `png_bytes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(pixels))


def in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, title: str, weight: int = 1
) -> list[Result]:
    """Do `work` on every job and return the results in the order of the jobs, whatever the number of workers.

    At most `workers` processes, fewer for little work; one means this process. `work` is a function of a
    module or a partial of one, and depends on its job alone. `title` labels the progress bar, which only a
    terminal gets to see. `weight`: how many small jobs, such as the writing of an image, one job is worth.
    The first exception of a job is raised here; waiting jobs are dropped.
    """
    count = min(workers, len(jobs), len(jobs) * weight // JOBS_PER_WORKER)
    if count <= 1:
        return list(progress(map(work, jobs), len(jobs), title))
    # Spawned, not forked: a fork of a process with running threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        return list(progress(pool.map(work, jobs, chunksize=chunk(weight)), len(jobs), title))
    finally:
        pool.shutdown(cancel_futures=True)


def chunk(weight: int) -> int:
    """How many jobs of a weight go to a process at once."""
    return max(1, CHUNK // weight)


def progress(results: Iterator[Result], total: int, title: str) -> Iterator[Result]:
    """Pass so many results through under a progress bar, which only a terminal gets to see."""
    yield from tqdm(results, total=total, desc=title, unit="job", disable=None)
