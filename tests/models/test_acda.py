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
    """As after training: nothing of ACDA is zero any more, and its term is as large as the text's."""
    assert branch.acda is not None
    generator = torch.Generator().manual_seed(5)
    for parameter in branch.acda.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
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
    assert len(found.all) == len(expected.all)
    for a, b in zip(found.all, expected.all, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("domain", DOMAINS)
def test_starts_as_the_identity(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = start_branch(parts, params(domain), 0)
    plain = start_branch(parts, None, 0)(*x.arguments)
    found = branch(*x.arguments, signal(parts, branch, x.images, x.masks))
    close(found, plain, atol=1e-7)
    assert float(plain.middle.abs().mean()) > 1e-3
    close(start_branch(parts, None, 0)(*x.arguments), parts_branch(parts)(*x.arguments), atol=1e-7)


def parts_branch(parts: Any) -> Branch:
    """The foundation's own ControlNet, run by diffusers' default processors."""
    return Branch(parts.controlnet_inpaint)


@pytest.mark.parametrize("domain", DOMAINS)
def test_after_training_the_tokens_matter(parts: Any, domain: str) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, params(domain), 0))
    own = signal(parts, branch, x.images, x.masks)
    assert own is not None
    difference = branch(*x.arguments, own).middle - branch(*x.arguments, own.roll(1, 0)).middle
    assert float(difference.abs().mean()) > 1e-5


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
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        parts.append(torch.einsum("bqk,bkd->bqd", weights, values[..., rows]))
    return torch.cat(parts, -1)


def project(layer: Any, mixed: Tensor) -> Tensor:
    return mixed @ layer.to_out[0].weight.double().T + layer.to_out[0].bias.double()


def terms(call: Call, to_k: Any, to_v: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of eq. 10 before the output projection."""
    context = (call.hidden if call.context is None else call.context).double()
    layer, wide = call.layer, tokens.double()
    keys, values = context @ layer.to_k.weight.double().T, context @ layer.to_v.weight.double().T
    first = attend(layer, call.hidden, keys, values)
    second = attend(layer, call.hidden, wide @ to_k.weight.double().T, wide @ to_v.weight.double().T)
    return first, second


def test_equals_equation_10_in_the_input_blocks_and_plain_attention_elsewhere(parts: Any) -> None:
    x = Input.draw()
    branch = randomised(start_branch(parts, IMAGE, 0))
    acda = branch.acda
    assert acda is not None
    tokens, spy = acda.tokens(x.images * (1 - x.masks)).detach(), Spy()
    spy.watch(branch.controlnet)
    branch.record(True)
    branch(*x.arguments, tokens=tokens)
    touched, rms = [], []
    for call in spy.calls:
        index = len(touched) if call.name in LAYERS else 0
        to_k, to_v = acda.to_k[index], acda.to_v[index]
        if call.name not in LAYERS and call.hidden.shape[-1] != to_k.out_features:
            to_k, to_v = acda.to_k[1], acda.to_v[1]
        if call.name not in LAYERS and call.hidden.shape[-1] != to_k.out_features:
            first = attend_plain(call)
            torch.testing.assert_close(call.output.double(), project(call.layer, first), rtol=1e-4, atol=1e-5)
            continue
        first, second = terms(call, to_k, to_v, tokens)
        both, alone = project(call.layer, first + second), project(call.layer, first)
        assert float((both - alone).abs().mean()) > 1e-2
        expected = both if call.name in LAYERS else alone
        torch.testing.assert_close(call.output.double(), expected, rtol=1e-4, atol=1e-5)
        if call.name in LAYERS:
            touched.append(call.name)
            rms.append([float(term.square().mean().sqrt()) for term in (first, second)])
    assert set(touched) == LAYERS
    assert len(spy.calls) == 6
    assert branch.rms() == pytest.approx(torch.tensor(rms).mean(0).tolist(), rel=1e-4)


def attend_plain(call: Call) -> Tensor:
    """Attention of a layer to its own context alone."""
    context = (call.hidden if call.context is None else call.context).double()
    layer = call.layer
    return attend(layer, call.hidden, context @ layer.to_k.weight.double().T, context @ layer.to_v.weight.double().T)
