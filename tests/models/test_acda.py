"""Eq. 10 against a direct evaluation in float64, and what ACDA leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecdm.config import Acda as AcdaParams
from ecdm.models.acda import AcdaProcessor, FrequencyEncoder
from ecdm.models.branch import Branch, hint, load_branch, signal, start_branch

DOMAINS = ["image", "latent"]
IMAGE = AcdaParams(radius=2.0, window="circle", domain="image", lr=1e-3)
LAYERS = {f"down_blocks.{i}.attentions.0.transformer_blocks.0.attn2" for i in (0, 1)}


def params(domain: str) -> AcdaParams:
    return IMAGE.model_copy(update={"domain": domain, "radius": 1.0 if domain == "latent" else 2.0})


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(branch: Branch) -> Branch:
    """As after training: nothing of ACDA is zero any more, and its term is about as large as the text's."""
    assert branch.acda is not None
    generator = torch.Generator().manual_seed(5)
    for parameter in branch.acda.parameters():
        inputs = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data = 1.5 * torch.randn(parameter.shape, generator=generator) / inputs**0.5
    return branch


@dataclass
class Input:
    """One batch of what a branch is called with, for images of 64 px."""

    z: Tensor
    t: Tensor
    text: Tensor
    hint: Tensor
    images: Tensor
    masks: Tensor

    @classmethod
    def draw(cls, count: int = 3) -> Input:
        images = torch.rand((count, 3, 64, 64), generator=torch.Generator().manual_seed(1))
        masks = torch.zeros(count, 1, 64, 64)
        for i in range(count):
            masks[i, :, 10 + i : 40, 20 : 50 + i] = 1
        t = torch.arange(count) * 400 + 3
        return cls(normal(0, count, 4, 8, 8), t, normal(2, count, 40, 96), hint(images, masks), images, masks)

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.z, self.t, self.text, self.hint


def close(found: Any, expected: Any, atol: float = 1e-5) -> None:
    """Residuals agree; with `atol` 0 in every bit."""
    for a, b in zip(found.all, expected.all, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4 if atol else 0, atol=atol)


@pytest.mark.parametrize("domain", DOMAINS)
def test_starts_as_the_identity(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = start_branch(parts, params(domain), 0)
    expected = start_branch(parts, None, 0)(*x.arguments)
    close(branch(*x.arguments, signal(parts, branch, x.images, x.masks)), expected, atol=1e-7)
    close(Branch(parts.controlnet_inpaint)(*x.arguments), expected, atol=0)
    assert float(expected.middle.detach().abs().mean()) > 1e-3


@pytest.mark.parametrize("domain", DOMAINS)
def test_after_training_the_tokens_matter(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, params(domain), 0))
    own = signal(parts, branch, x.images, x.masks)
    assert own is not None
    difference = branch(*x.arguments, own).middle - branch(*x.arguments, own.roll(1, 0)).middle
    assert float(difference.detach().abs().mean()) > 1e-5


@dataclass
class Call:
    """One attention layer's inputs and output."""

    name: str
    layer: Any
    hidden: Tensor
    context: Tensor | None
    output: Tensor


@dataclass
class Spy:
    """Records all attention layers of a ControlNet."""

    calls: list[Call] = field(default_factory=list)

    def watch(self, controlnet: ControlNetModel) -> None:
        for name, module in controlnet.named_modules():
            if isinstance(module, Attention):
                module.register_forward_hook(self._keep(name), with_kwargs=True)

    def _keep(self, name: str) -> Callable[..., None]:
        def keep(layer: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            self.calls.append(Call(name, layer, args[0], kwargs.get("encoder_hidden_states"), output))

        return keep


def attend(layer: Any, hidden: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v head by head, in float64; d is the width of a head."""
    q = hidden.double() @ layer.to_q.weight.double().T
    d, parts = q.shape[-1] // layer.heads, []
    for head in range(layer.heads):
        rows = slice(head * d, (head + 1) * d)
        scores = torch.einsum("bqd,bkd->bqk", q[..., rows], keys[..., rows]) / d**0.5
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        weights = powers / powers.sum(-1, keepdim=True)
        parts.append(torch.einsum("bqk,bkd->bqd", weights, values[..., rows]))
    return torch.cat(parts, -1)


def project(layer: Any, mixed: Tensor) -> Tensor:
    return mixed @ layer.to_out[0].weight.double().T + layer.to_out[0].bias.double()


def plain(call: Call) -> Tensor:
    """The layer's attention to its own context: text, or its input in self attention."""
    context = (call.hidden if call.context is None else call.context).double()
    layer = call.layer
    return attend(layer, call.hidden, context @ layer.to_k.weight.double().T, context @ layer.to_v.weight.double().T)


def test_equals_equation_10_in_the_input_blocks_and_plain_attention_elsewhere(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    acda, spy = branch.acda, Spy()
    assert acda is not None
    branch.requires_grad_(False)
    tokens = acda.tokens(x.images * (1 - x.masks))
    spy.watch(branch.controlnet)
    branch.record(True)
    branch(*x.arguments, tokens=tokens)
    wide = tokens.double()
    touched: list[str] = []
    rms: list[list[float]] = []
    for call in spy.calls:
        mixed = first = plain(call)
        if call.name in LAYERS:
            mine: list[Any] = [acda.to_k[len(touched)], acda.to_v[len(touched)]]
            to_k, to_v = (layer.weight.double() for layer in mine)
            second = attend(call.layer, call.hidden, wide @ to_k.T, wide @ to_v.T)
            assert float(second.abs().mean()) > 0.1 * float(first.abs().mean())
            mixed = first + second
            touched.append(call.name)
            rms.append([float(term.square().mean().sqrt()) for term in (first, second)])
        torch.testing.assert_close(call.output.double(), project(call.layer, mixed), rtol=1e-4, atol=1e-5)
    assert set(touched) == LAYERS
    assert len(spy.calls) == 6
    assert branch.rms() == pytest.approx(torch.tensor(rms).mean(0).tolist(), rel=1e-4)


def test_only_cross_attention_of_the_input_blocks_is_changed(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    changed = {
        name.removesuffix(".processor")
        for name, processor in branch.controlnet.attn_processors.items()
        if isinstance(processor, AcdaProcessor)
    }
    assert changed == LAYERS
    assert len(branch.processors) == len(LAYERS)


def test_sizes_are_only_recorded_when_asked_for(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    branch(*x.arguments, x.images)
    assert branch.rms() == (0.0, 0.0)


def test_tokens_handed_in_equal_tokens_made_of_the_signal(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    assert branch.acda is not None
    close(branch(*x.arguments, tokens=branch.acda.tokens(x.images)), branch(*x.arguments, x.images), atol=0)


def _count_projections(branch: Branch) -> list[int]:
    assert branch.acda is not None
    calls: list[int] = []
    for layer in (*branch.acda.to_k, *branch.acda.to_v):
        layer.register_forward_hook(lambda module, args, output: calls.append(1))
    return calls


def test_projections_are_kept_for_the_same_tokens_and_made_anew_for_others(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    assert branch.acda is not None
    calls = _count_projections(branch)
    with torch.no_grad():
        first, second = branch.acda.tokens(x.images), branch.acda.tokens(x.images.flip(0))
        found = [branch(*x.arguments, tokens=tokens) for tokens in (first, first, second, first)]
    assert len(calls) == 3 * 4
    expected = [branch(*x.arguments, tokens=tokens) for tokens in (first, first, second, first)]
    assert len(calls) == 3 * 4 + 4 * 4
    for a, b in zip(found, expected, strict=True):
        close(a, b, atol=1e-6)
    assert float((found[0].middle - found[2].middle).abs().mean()) > 1e-5


def test_projections_are_not_kept_across_training(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    assert branch.acda is not None
    with torch.no_grad():
        tokens = branch.acda.tokens(x.images)
        before = branch(*x.arguments, tokens=tokens)
    branch(*x.arguments, tokens=tokens)
    with torch.no_grad():
        for weight in branch.acda.to_v.parameters():
            weight.mul_(-2)
        after = branch(*x.arguments, tokens=tokens)
    assert float((after.middle - before.middle).abs().mean()) > 1e-5


def test_guidance_halves_share_the_tokens(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0)).requires_grad_(False)
    assert branch.acda is not None
    tokens, other = branch.acda.tokens(x.images), normal(8, *x.text.shape)
    doubled = (torch.cat([x.z] * 2), torch.cat([x.t] * 2), torch.cat([other, x.text]), torch.cat([x.hint] * 2))
    found = branch(*doubled, tokens=tokens)
    halves = [branch(x.z, x.t, text, x.hint, tokens=tokens) for text in (other, x.text)]
    for a, *b in zip(found.all, *(half.all for half in halves), strict=True):
        torch.testing.assert_close(a, torch.cat(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_sample_does_not_depend_on_its_batch_mates(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, params(domain), 0)).requires_grad_(False)
    own = signal(parts, branch, x.images, x.masks)
    assert own is not None
    together = branch(*x.arguments, own)
    for i in range(3):
        one = slice(i, i + 1)
        alone = branch(*(argument[one] for argument in x.arguments), own[one])
        for a, b in zip(together.all, alone.all, strict=True):
            torch.testing.assert_close(a[one], b, rtol=1e-4, atol=1e-5)


def test_no_library_warns_during_a_forward(parts: Any, library_messages: Callable[[], list[str]]) -> None:
    x = Input.draw()
    branch = start_branch(parts, IMAGE, 0)
    branch(*x.arguments, x.images)
    assert library_messages() == []
    # The same tokens before the processors of diffusers: each layer warns, so the check above can fail.
    branch.controlnet.set_attn_processor(AttnProcessor2_0())
    branch(*x.arguments, x.images)
    assert len(library_messages()) == 6
    assert "frequency_tokens" in library_messages()[0]


def test_missing_tokens_are_refused(parts: Any) -> None:
    x = Input.draw()
    branch = start_branch(parts, IMAGE, 0)
    with pytest.raises(ValueError, match="neither signal nor tokens"):
        branch(*x.arguments)
    with pytest.raises(ValueError, match="no frequency tokens"):
        branch.controlnet(*x.arguments)


def test_the_encoder_makes_one_token_of_sixteen_pixels_squared() -> None:
    encoder = FrequencyEncoder(channels=3, width=768, downsamplings=4)
    tokens = encoder(normal(0, 1, 6, 512, 512))
    assert tokens.shape == (1, 32 * 32, 768)
    assert not tokens.any()
    torch.nn.init.normal_(encoder.last.weight)
    small = normal(1, 2, 6, 32, 48)
    maps = encoder.last(encoder.body(small))
    assert torch.equal(encoder(small)[:, 1 * 3 + 2], maps[:, :, 1, 2])


def test_the_projections_have_no_bias(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    assert branch.acda is not None
    assert all(layer.bias is None for layer in (*branch.acda.to_k, *branch.acda.to_v))


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
    with pytest.raises(ValueError, match=f"{tmp_path / 'controlnet'}: cannot be read as ControlNetModel"):
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
    with pytest.raises(ValueError, match=f"{tmp_path / name.split('/')[0]}.* cannot be read as"):
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
    assert not torch.equal(new["to_k.0.weight"], changed["to_k.0.weight"])
    start = parts.controlnet_inpaint.state_dict()
    assert all(torch.equal(value, other.controlnet.state_dict()[name]) for name, value in start.items())


def test_the_branch_is_a_copy_of_the_foundations(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    foundation = {parameter.data_ptr() for parameter in parts.controlnet_inpaint.parameters()}
    assert foundation.isdisjoint(parameter.data_ptr() for parameter in branch.controlnet.parameters())
    assert all(parameter.requires_grad for parameter in branch.parameters())
    assert isinstance(next(iter(parts.controlnet_inpaint.attn_processors.values())), AttnProcessor2_0)


def test_what_starts_from_zero_has_its_own_learning_rate(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    assert branch.acda is not None
    groups = branch.groups(1e-4, 5e-3)
    assert [group["lr"] for group in groups] == [1e-4, 5e-3]
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in branch.acda.parameters()}
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in branch.parameters())
    assert [group["lr"] for group in start_branch(parts, None, 0).groups(1e-4, 5e-3)] == [1e-4]
