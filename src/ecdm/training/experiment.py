"""One run of the ablation from files to files: inputs, resume key, training, exports."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray

from ecdm.config import Generate, Train, VariantSettings
from ecdm.data.coco import captions_file
from ecdm.data.files import fresh_folder, save_png
from ecdm.models.branch import Branch, start_branch
from ecdm.models.foundation import Components, load_foundation
from ecdm.models.precision import default_device, resolved
from ecdm.training.checkpoint import History, drop_state
from ecdm.training.folder import TrainFolder
from ecdm.training.loop import Callbacks, Run, is_main_process, train
from ecdm.training.objective import Objective
from ecdm.training.preview import preview
from ecdm.training.probe import probe
from ecdm.training.sources import sources_digest

PROBE_REPEATS, PROBE_BATCH, PROBE_IMAGES = 16, 16, 128
SOURCES = ("data", "methods", "models", "numerics", "sections", "training")


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes."""

    data: Path
    edges: Path
    latents: Path
    foundation: Path
    output: Path
    probe: Path
    checkpoint: Path

    @classmethod
    def of(cls, dataset: str, variant: str, seed: int) -> Paths:
        """The pipeline's layout."""
        build, name = Path("build"), f"{variant}-{seed}"
        return cls(
            data=Path("data") / dataset,
            edges=build / "edges" / dataset,
            latents=build / "latents",
            foundation=build / "foundation",
            output=build / "train" / name,
            probe=build / "probe" / f"{name}.json",
            checkpoint=build / "checkpoints" / f"{name}.safetensors",
        )


class Live(Protocol):
    """Live reporting of a run, as trackers do it."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a training step."""

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """A picture (h, w, 3) uint8 at a training step."""


def run_experiment(variant: VariantSettings, settings: Train, seed: int, paths: Paths, live: Live) -> None:
    """Train one variant and write weights, history.csv, samples/<step>.png, and the probe of its frequency tokens.

    A killed run goes on from its last checkpoint, with the same result; the checkpoint is dropped at the end. Of
    several processes the main one alone reports and writes.
    Raises: FileNotFoundError or ValueError naming the input at fault.
    """
    components = load_foundation(paths.foundation)
    run = make_run(variant, settings, seed, paths, components, _shared_digest(paths))
    pictures = paths.checkpoint.with_name(f"{paths.checkpoint.stem}-{run.key[:12]}")
    history = train(run, _callbacks(run, components, seed, pictures, live))
    if is_main_process():
        _write(run, history, pictures, paths)


def make_run(
    variant: VariantSettings, settings: Train, seed: int, paths: Paths, components: Components, inputs: str
) -> Run:
    """A run that starts at the foundation's branch; `inputs` is the digest of what lies at `paths`.

    Raises: FileNotFoundError or ValueError naming the input at fault.
    """
    settings = settings.model_copy(update={"precision": resolved(settings.precision, default_device())})
    return Run(
        branch=start_branch(components, variant.acda, seed),
        objective=Objective(components, variant.sail),
        train=_folder(paths, "train", components, seed, settings.text_dropout),
        validation=_folder(paths, "validation", components, seed, 0.0),
        settings=settings,
        acda_lr=variant.acda.lr if variant.acda else settings.lr,
        checkpoint=paths.checkpoint,
        key=_key(variant, settings, seed, inputs),
    )


def _write(run: Run, history: History, pictures: Path, paths: Paths) -> None:
    with fresh_folder(paths.output) as folder:
        run.branch.save(folder / "weights")
        _write_history(folder / "history.csv", history)
        for picture in sorted(pictures.glob("*.png")):
            (folder / "samples").mkdir(exist_ok=True)
            # Copied, not moved: a run killed from here on has to find them again.
            shutil.copyfile(picture, folder / "samples" / picture.name)
    _write_probe(run, paths.probe)
    drop_state(paths.checkpoint)
    for left in paths.checkpoint.parent.glob(f"{paths.checkpoint.stem}-*"):
        shutil.rmtree(left)


def _folder(paths: Paths, split: str, components: Components, seed: int, dropout: float) -> TrainFolder:
    moments = paths.latents / f"{split}.safetensors"
    return TrainFolder(paths.data, paths.edges, moments, split, components, seed, dropout)


def _callbacks(run: Run, components: Components, seed: int, pictures: Path, live: Live) -> Callbacks:
    settings, count = run.settings, run.settings.validation_images
    sampling = Generate(
        sampler="dpmsolver++",
        steps=settings.preview_steps,
        guidance=settings.preview_guidance,
        eta=0.0,
        precision=settings.precision,
        batch=count,
    )

    def show(step: int, branch: Branch) -> dict[str, float]:
        picture = preview(components, branch, run.validation, count, sampling, seed)
        save_png(pictures / f"{step:06d}.png", picture)
        live.image("validation", picture, step)
        return {}

    return Callbacks(lambda step, values: live.metrics(values, step), show)


def _shared_digest(paths: Paths) -> str:
    """What `inputs_digest` finds, read by the first process for all: large data sets take minutes."""
    found = [inputs_digest(paths) if is_main_process() else ""]
    return str(broadcast_object_list(found)[0])


def inputs_digest(paths: Paths) -> str:
    """SHA-256 over what a run reads, latents, captions, edges and foundation, and over the code that makes it.

    Raises: FileNotFoundError naming a file that is missing.
    """
    digest, files = hashlib.sha256(sources_digest(SOURCES).encode()), []
    for split in ("train", "validation"):
        files += [paths.latents / f"{split}.safetensors", captions_file(paths.data, split)]
        files += sorted([*(paths.edges / split).glob("*.png"), *paths.edges.glob(f"{split}-*.tar")])
    files += sorted(path for path in paths.foundation.rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as file:
            # Latents of a large data set and shards do not fit memory.
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def _key(variant: VariantSettings, settings: Train, seed: int, inputs: str) -> str:
    """Names what a run is made of, so that a checkpoint of other inputs, code or threads is not resumed."""
    known = [variant.model_dump(), settings.model_dump(), seed, torch.get_num_threads(), inputs]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _write_history(path: Path, history: History) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "name", "value"))
        writer.writerows((step, name, f"{value:.6g}") for step, name, value in history)


def _write_probe(run: Run, path: Path) -> None:
    found = None
    if run.branch.acda is not None:
        images = run.validation.first(PROBE_IMAGES)
        found = asdict(probe(run.branch, run.objective.parts, images, PROBE_REPEATS, PROBE_BATCH))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
