"""The branch around its networks: what it is given, how it starts, how it is saved and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from branch_case import DOMAINS, IMAGE, Input, close, params, randomised
from diffusers import ControlNetModel
from diffusers.models.attention_processor import AttnProcessor2_0
from safetensors.torch import load_file, save_file

from ecdm.config import Acda
from ecdm.models.branch import Branch, hint, load_branch, signal, start_branch
from ecdm.models.foundation import load_foundation


@pytest.mark.parametrize("domain", DOMAINS)
def test_nothing_of_the_hole_reaches_hint_and_signal(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = start_branch(parts, params(domain), 0)
    spoiled = torch.where(x.masks > 0, torch.nan, x.images)
    assert torch.equal(hint(spoiled, x.masks), x.hint)
    found, expected = (signal(parts, branch, images, x.masks) for images in (spoiled, x.images))
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)
    assert bool((x.hint[x.masks.expand_as(x.hint) > 0] == -1).all())
    known = x.masks.expand_as(x.hint) == 0
    assert torch.equal(x.hint[known], x.images[known])


def test_a_saved_branch_comes_back_frozen_and_equal(parts: Any, tmp_path: Path) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    branch.save(tmp_path)
    loaded = load_branch(tmp_path)
    close(loaded(*x.arguments, x.images), branch(*x.arguments, x.images), atol=0)
    assert loaded.acda is not None
    assert branch.acda is not None
    assert loaded.acda.config == branch.acda.config
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_the_saved_controlnet_is_a_plain_one(parts: Any, tmp_path: Path) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    branch.save(tmp_path)
    controlnet = ControlNetModel.from_pretrained(tmp_path / "controlnet")
    assert controlnet.state_dict().keys() == parts.controlnet_inpaint.state_dict().keys()
    close(Branch(controlnet)(*x.arguments), start_branch(parts, None, 0)(*x.arguments), atol=0)


@pytest.mark.parametrize("name", ["branch.json", "acda/config.json", "acda/model.safetensors"])
def test_a_missing_file_of_a_branch_is_named(parts: Any, tmp_path: Path, name: str) -> None:
    start_branch(parts, IMAGE, 0).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_branch(tmp_path)


def test_a_branch_is_never_unpickled(parts: Any, tmp_path: Path) -> None:
    start_branch(parts, None, 0).save(tmp_path)
    path = tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(ValueError, match=f"{tmp_path / 'controlnet'}: found no \\*.safetensors, expected a folder"):
        load_branch(tmp_path)


@pytest.mark.parametrize("name", ["acda/model.safetensors", "controlnet/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("whole", [True, False])
def test_weights_of_a_branch_that_do_not_fit_are_named(parts: Any, tmp_path: Path, name: str, whole: bool) -> None:
    start_branch(parts, IMAGE, 0).save(tmp_path)
    path = tmp_path / name
    if whole:
        weights = load_file(path)
        weights.popitem()
        save_file(weights, path, {"format": "pt"})
    else:
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=rf"{tmp_path / name.split('/')[0]}.*(found|cannot be read)"):
        load_branch(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"), [("branch.json", "{}"), ("acda/config.json", "{"), ("acda/config.json", "{}")]
)
def test_settings_that_cannot_be_read_name_their_file(parts: Any, tmp_path: Path, name: str, text: str) -> None:
    start_branch(parts, IMAGE, 0).save(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"^{tmp_path / name}: cannot be read"):
        load_branch(tmp_path)


def test_the_seed_decides_the_new_weights_and_nothing_else(parts: Any) -> None:
    state = torch.get_rng_state()
    first, again, other = (start_branch(parts, IMAGE, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.acda is not None
    assert again.acda is not None
    assert other.acda is not None
    new, same, changed = (acda.state_dict() for acda in (first.acda, again.acda, other.acda))
    assert all(torch.equal(new[name], same[name]) for name in new)
    assert not torch.equal(new["encoder.body.0.weight"], changed["encoder.body.0.weight"])
    start = parts.controlnet_inpaint.state_dict()
    assert all(torch.equal(value, other.controlnet.state_dict()[name]) for name, value in start.items())


def test_the_branch_is_a_copy_of_the_foundations(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    foundation = {parameter.data_ptr() for parameter in parts.controlnet_inpaint.parameters()}
    assert foundation.isdisjoint(parameter.data_ptr() for parameter in branch.controlnet.parameters())
    assert all(parameter.requires_grad for parameter in branch.parameters())
    assert isinstance(next(iter(parts.controlnet_inpaint.attn_processors.values())), AttnProcessor2_0)


def test_the_last_layer_and_the_projections_have_a_learning_rate_of_their_own(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    assert branch.acda is not None
    groups = branch.groups(1e-4, 5e-3)
    assert [group["lr"] for group in groups] == [1e-4, 5e-3]
    body = {id(p) for p in branch.acda.encoder.body.parameters()}
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in branch.acda.parameters()} - body
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in branch.parameters())
    assert [group["lr"] for group in start_branch(parts, None, 0).groups(1e-4, 5e-3)] == [1e-4]


def test_a_branch_starts_where_the_networks_are(foundation_folder: Path) -> None:
    """A device without memory stands for a GPU."""
    components = load_foundation(foundation_folder).to(torch.device("meta"))
    acda = Acda(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)
    branch = start_branch(components, acda, 0)
    assert {parameter.device.type for parameter in branch.parameters()} == {"meta"}
