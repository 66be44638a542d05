"""Training from shards: bit for bit what loose files give, and known by what is in the shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecdm.data.shards import image_sink, shard_path
from ecdm.training import order
from ecdm.training.experiment import Paths, inputs_digest
from ecdm.training.folder import TrainFolder
from ecdm.training.loop import Callbacks, Run, train
from ecdm.training.order import Order

QUIET = Callbacks(lambda step, values: None, lambda step, branch: {})


def pack(loose: Path, folder: Path, split: str, each: int) -> None:
    """Put loose files into shards of so many, the last of them first."""
    paths = sorted(loose.iterdir(), reverse=True)
    for part in range(0, len(paths), each):
        with image_sink(folder, split, part // each, shards=True) as add:
            for path in paths[part : part + each]:
                add(path.name, path.read_bytes())


@pytest.fixture
def sharded(made_tree: Path, tmp_path: Path) -> Path:
    """Images of the tree in shards of two, their edges in shards of three."""
    pack(made_tree / "data/scenes/train", tmp_path / "data", "train", 2)
    pack(made_tree / "build/edges/scenes/train", tmp_path / "edges", "train", 3)
    (tmp_path / "data/annotations").symlink_to(made_tree / "data/scenes/annotations")
    return tmp_path


def from_shards(folder: TrainFolder, root: Path) -> TrainFolder:
    moments, components = folder.moments, folder.parts
    return TrainFolder(root / "data", root / "edges", moments, "train", components, folder.seed, folder.text_dropout)


def trained(run: Run) -> dict[str, torch.Tensor]:
    history = train(run, QUIET)
    run.checkpoint.unlink()
    losses = torch.tensor([value for _, name, value in history if name.startswith("loss")])
    return {"losses": losses, **run.branch.state_dict()}


@pytest.mark.parametrize("window", [8, 1])
def test_a_run_from_shards_is_that_from_loose_files(
    make_run: Callable[..., Run], sharded: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "WINDOW", window)
    loose, packed = make_run(steps=3), make_run(steps=3)
    packed.train = from_shards(packed.train, sharded)
    assert packed.train.samples.parts() == [2, 2, 1, 1, 0, 0]
    if window == 1:
        assert loose.train.numbers(0, 10) != packed.train.numbers(0, 10)
        loose.train.order = Order(loose.train.seed, packed.train.samples.parts())
    first, second = trained(loose), trained(packed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_batch_of_two_processes_is_that_of_one(
    folder_of: Callable[..., TrainFolder], sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "WINDOW", 1)
    whole = from_shards(folder_of(), sharded).positions(4, 4)
    halves = [from_shards(folder_of(), sharded).positions(start, 2) for start in (4, 6)]
    for name in (field.name for field in dataclasses.fields(whole) if field.name != "text"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(half, name) for half in halves]))


def test_other_edges_in_the_shards_are_other_inputs(made_tree: Path, sharded: Path) -> None:
    paths = dataclasses.replace(
        Paths.of("scenes", "ours", 0),
        data=made_tree / "data/scenes",
        edges=sharded / "edges",
        latents=made_tree / "build/latents",
        foundation=made_tree / "build/foundation",
    )
    before = inputs_digest(paths)
    assert inputs_digest(paths) == before
    path = shard_path(sharded / "edges", "train", 1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"IDAT", b"IDAt", 1))
    assert inputs_digest(paths) != before
