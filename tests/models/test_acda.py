"""Eq. 10 against a direct evaluation in float64, and what ACDA leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from branch_case import DOMAINS, IMAGE, Input, close, normal, params, randomised
from diffusers import ControlNetModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from ecdm.models.acda import AcdaProcessor, FrequencyEncoder
from ecdm.models.branch import Branch, signal, start_branch

LAYERS = {f"down_blocks.{i}.attentions.0.transformer_blocks.0.attn2" for i in (0, 1)}


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
    small[:, :3] += 1  # the encoder counts amplitudes from the lowest, -1
    maps = encoder.last(encoder.body(small))
    small[:, :3] -= 1
    assert torch.allclose(encoder(small)[:, 1 * 3 + 2], maps[:, :, 1, 2], rtol=1e-4, atol=1e-4)


def test_an_empty_spectrum_gives_no_token_and_unlike_ones_unlike_tokens() -> None:
    torch.manual_seed(0)
    encoder = FrequencyEncoder(channels=3, width=96, downsamplings=4)
    torch.nn.init.normal_(encoder.last.weight)
    empty = torch.cat([torch.full((1, 3, 128, 128), -1.0), torch.zeros(1, 3, 128, 128)], dim=1)
    assert not encoder(empty).any()
    stripes, noise = empty.clone(), empty.clone()
    stripes[:, :, 64, 84] = stripes[:, :, 64, 44] = 1.0
    noise[:, :3] += 0.1
    first, second = encoder(torch.cat([stripes, noise])).detach()
    common = (first + second) / 2
    assert float((first - common).square().mean()) > 0.1 * float(common.square().mean())


def test_the_projections_start_as_copies_of_the_texts_and_have_no_bias(parts: Any) -> None:
    branch = start_branch(parts, IMAGE, 0)
    assert branch.acda is not None
    modules = dict(branch.controlnet.named_modules())
    texts = [modules[name] for name in sorted(LAYERS)]
    for layers, name in ((branch.acda.to_k, "to_k"), (branch.acda.to_v, "to_v")):
        for layer, text in zip(layers, texts, strict=True):
            assert layer.bias is None
            assert torch.equal(layer.weight, getattr(text, name).weight)
            assert layer.weight.data_ptr() != getattr(text, name).weight.data_ptr()
