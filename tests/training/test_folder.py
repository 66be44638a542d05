"""Training batches from files: the right parts of the right sample, wherever a batch begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ecdm.data.coco import read_split
from ecdm.models.foundation import Components
from ecdm.training.draws import draw, sample_order
from ecdm.training.folder import TrainFolder
from ecdm.training.objective import TrainBatch

Make = Callable[..., TrainFolder]
FIELDS = [field.name for field in dataclasses.fields(TrainBatch)]


def equal(a: TrainBatch, b: TrainBatch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def test_a_batch_is_made_of_its_samples_and_draws(
    made_tree: Path, parts: Components, folder_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    embed = Components.embed

    def keep(components: Components, texts: Sequence[str]) -> torch.Tensor:
        asked.append(list(texts))
        return embed(components, texts)

    monkeypatch.setattr(Components, "embed", keep)
    batch = folder_of(text_dropout=0.5).positions(8, 5)
    root, images = made_tree / "data/scenes", read_split(made_tree / "data/scenes", "train")
    moments = load_file(made_tree / "build/latents/train.safetensors")["moments"]
    texts = []
    for row, number in enumerate(sample_order(0, 6, 8, 5)):
        image = images[number]
        drawn = draw(0, image.id, 8 + row, (4, 4, 4), (32, 32), 1000, 0.5)
        mean, log_variance = moments[number].chunk(2)
        z0 = (mean + torch.exp(log_variance / 2) * drawn.posterior) * 1.5
        torch.testing.assert_close(batch.z0[row], z0)
        assert torch.equal(batch.eps[row], drawn.eps)
        assert torch.equal(batch.masks[row], drawn.mask)
        assert int(batch.t[row]) == drawn.t
        pixels = np.array(Image.open(root / "train" / image.file_name))
        assert torch.equal((batch.images[row] * 255).round().byte(), torch.from_numpy(pixels).permute(2, 0, 1))
        edges = np.array(Image.open(made_tree / "build/edges/scenes/train" / image.file_name)) > 0
        assert torch.equal(batch.edges[row, 0], torch.from_numpy(edges).float())
        texts.append(image.captions[int(drawn.caption * 4)] if drawn.keep_text else "")
    assert asked == [texts]
    assert "" in texts
    assert set(texts) != {""}
    assert torch.equal(batch.text, parts.embed(texts))


def test_batches_depend_on_positions_alone(folder_of: Make) -> None:
    whole, halves = folder_of().positions(3, 8), [folder_of().positions(3, 4), folder_of().positions(7, 4)]
    for name in FIELDS:
        joined = torch.cat([getattr(half, name) for half in halves])
        torch.testing.assert_close(getattr(whole, name), joined, rtol=1e-4, atol=1e-5)
        if name != "text":
            assert torch.equal(getattr(whole, name), joined)


def test_every_epoch_has_draws_of_its_own(folder_of: Make) -> None:
    data = folder_of()
    first, second = data.positions(0, 6), data.positions(6, 6)
    assert not torch.isin(first.eps, second.eps).any()
    order = [sample_order(0, 6, start, 6) for start in (0, 6)]
    assert torch.equal(first.images[np.argsort(order[0])], second.images[np.argsort(order[1])])


def test_the_fixed_batch_is_always_the_same(folder_of: Make) -> None:
    data = folder_of("validation", text_dropout=0.0)
    first = data.fixed(2)
    data.positions(0, 3)
    assert equal(data.fixed(2), first)
    assert len(data.fixed(10).t) == 3


def test_the_first_images_are_a_set_of_their_own(folder_of: Make) -> None:
    data = folder_of()
    part = data.first(4)
    assert [image.id for image in part.samples.images] == [image.id for image in data.samples.images][:4]
    assert part.numbers(0, 8) == sample_order(0, 4, 0, 8)
    assert equal(part.fixed(4), data.fixed(4))
    # The whole set stays as it was, and all of it is the set itself.
    assert (len(data.samples), len(data.numbers(0, 6))) == (6, 6)
    assert equal(data.first(100).positions(0, 6), data.positions(0, 6))


def test_the_seed_changes_draws_and_order(folder_of: Make) -> None:
    assert not torch.isin(folder_of(seed=0).positions(0, 6).eps, folder_of(seed=1).positions(0, 6).eps).any()
    assert sample_order(0, 6, 0, 6) != sample_order(1, 6, 0, 6)


def test_missing_latents_are_named(made_tree: Path, parts: Any, tmp_path: Path) -> None:
    build = made_tree / "build"
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        TrainFolder(
            made_tree / "data/scenes", build / "edges/scenes", tmp_path / "none.safetensors", "train", parts, 0, 0.1
        )


def test_latents_of_another_number_of_images_are_refused(made_tree: Path, parts: Any, tmp_path: Path) -> None:
    save_file({"moments": torch.zeros(5, 8, 4, 4)}, tmp_path / "train.safetensors")
    edges = made_tree / "build/edges/scenes"
    with pytest.raises(ValueError, match=r"train\.safetensors: found 5 latents, expected 6"):
        TrainFolder(made_tree / "data/scenes", edges, tmp_path / "train.safetensors", "train", parts, 0, 0.1)
