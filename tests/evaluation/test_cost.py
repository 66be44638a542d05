"""Counted operations against closed forms that walk the layers themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecdm.config import Acda, Generate, Sail
from ecdm.evaluation.cost import blank_batch, count_flops, sampling_cost
from ecdm.methods.base import generator_for
from ecdm.methods.ours import unet_alone, variant
from ecdm.models.branch import Branch, start_branch
from ecdm.models.foundation import Components
from ecdm.training.cost import train_step

ACDA = Acda(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3)
SIZE = 32


def settings(steps: int, sampler: Any = "dpmsolver++", guidance: float = 3.0) -> Generate:
    return Generate(sampler=sampler, steps=steps, guidance=guidance, eta=0.0, precision="no", batch=1)


@contextmanager
def by_hand(monkeypatch: pytest.MonkeyPatch, *networks: nn.Module) -> Iterator[list[int]]:
    """Operations of every convolution, linear layer and attention of the networks, from their shapes."""
    counts: list[int] = []

    def layer(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        inner = module.in_features if isinstance(module, nn.Linear) else module.weight[0].numel()
        counts.append(2 * output.numel() * inner)

    def attention(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **named: Any) -> Tensor:
        counts.append(2 * (q.numel() * k.shape[-2] + q.shape[:-1].numel() * k.shape[-2] * v.shape[-1]))
        return original(q, k, v, *rest, **named)

    original = F.scaled_dot_product_attention
    modules = {id(m): m for net in networks for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    handles = [module.register_forward_hook(layer) for module in modules.values()]
    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", attention)
        yield counts
    for handle in handles:
        handle.remove()


def networks(parts: Any, branch: nn.Module | None = None) -> list[nn.Module]:
    return [parts.vae, parts.unet, parts.text_encoder, *([branch] if branch else [])]


def text_encoder_flops(parts: Any) -> int:
    """Of one caption: projections and products of attention, then the two layers of the MLP, in every block."""
    found, n = parts.text_encoder.config, parts.tokenizer.model_max_length
    width, inner = found.hidden_size, found.intermediate_size
    return int(found.num_hidden_layers * 2 * (4 * n * width**2 + 2 * n**2 * width + 2 * n * width * inner))


def test_a_convolution_and_its_gradients() -> None:
    layer, x = nn.Conv2d(3, 5, 3, padding=1, bias=False), torch.zeros(2, 3, 8, 8, requires_grad=True)
    forward = 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)
    assert count_flops(lambda: layer(x)) == forward
    # As much again for the gradient of the input and for that of the weights.
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * forward


def test_attention_is_counted_on_a_cpu() -> None:
    q, k = torch.zeros(1, 2, 6, 4), torch.zeros(1, 2, 9, 4)
    assert count_flops(lambda: F.scaled_dot_product_attention(q, k, k)) == 2 * 2 * (2 * 6 * 9 * 4)


def test_the_text_encoder_costs_what_its_closed_form_says(parts: Any) -> None:
    assert count_flops(lambda: parts.embed(["a", "b"])) == 2 * text_encoder_flops(parts)


@pytest.mark.parametrize("acda", [None, ACDA])
def test_a_sampled_image_costs_what_its_layers_do(parts: Any, acda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = start_branch(parts, acda, 0).requires_grad_(False)
    found = sampling_cost(lambda g: variant("ours", parts, branch, g), settings(4), parts, branch, SIZE)
    with by_hand(monkeypatch, *networks(parts, branch)) as counts:
        variant("ours", parts, branch, settings(4)).inpaint(blank_batch(SIZE), [generator_for(0)])
    assert found.flops == sum(counts)
    assert found.flops == found.flops_once + 4 * found.flops_per_step
    assert (found.unet_evaluations, found.branch_evaluations) == (8, 8)


def test_evaluations_follow_guidance_and_branch(parts: Any) -> None:
    branch = Branch(parts.controlnet_inpaint)
    alone = sampling_cost(lambda g: unet_alone(parts, g), settings(5, "ddim"), parts, branch, SIZE)
    assert (alone.unet_evaluations, alone.branch_evaluations) == (10, 0)
    plain = sampling_cost(lambda g: variant("a", parts, branch, g), settings(5, "ddim", 1.0), parts, branch, SIZE)
    assert (plain.unet_evaluations, plain.branch_evaluations) == (5, 5)


@pytest.fixture
def counted(tree: Path, load_stage: Callable[[str], ModuleType]) -> dict[str, Any]:
    """What the stage writes for all variants."""
    load_stage("variants").main()
    load_stage("cost").main()
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (tree / "build" / "cost").iterdir()}


def test_the_stage_counts_every_variant(counted: dict[str, Any], parts: Any) -> None:
    assert set(counted) == {"baseline", "sail", "acda", "ours"}
    sampling = {name: found["sampling"]["flops"] for name, found in counted.items()}
    training = {name: found["training"]["flops_per_image"] for name, found in counted.items()}
    assert sampling["baseline"] == sampling["sail"] < sampling["acda"] == sampling["ours"]
    # The soft loss costs the same with ACDA as without, and so does ACDA with the soft loss.
    assert training["ours"] - training["acda"] == training["sail"] - training["baseline"] > 0
    assert training["ours"] - training["sail"] == training["acda"] - training["baseline"] > 0
    for found in counted.values():
        assert found["training"]["flops_per_step"] == 2 * found["training"]["flops_per_image"]
        assert found["sampling"]["unet_evaluations"] == 6
    weights = sum(p.numel() for p in parts.controlnet_inpaint.parameters())
    assert counted["baseline"]["weights"]["trained"] == weights < counted["acda"]["weights"]["trained"]


@pytest.mark.parametrize("acda", [None, ACDA])
def test_a_training_step_without_gradients_costs_what_its_layers_do(
    parts: Any, acda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = {}
    for name, sail in (("plain", None), ("soft", Sail(lam=0.1, features="decoder"))):
        branch, images = start_branch(parts, acda, 0), blank_batch(SIZE)
        with by_hand(monkeypatch, *networks(parts, branch), parts.controlnet_canny) as counts:
            train_step(parts, branch, sail, images)
        totals[name] = sum(counts), count_flops(partial(train_step, parts, branch, sail, images))
    # Gradients of branch and frozen decoder come on top: at most twice the forward pass.
    for forward, total in totals.values():
        assert forward < total < 3 * forward
    # The teacher's and the second decoder's passes have no gradient.
    extra_forward, extra = (b - a for a, b in zip(totals["plain"], totals["soft"], strict=True))
    assert extra == extra_forward


def test_a_training_step_embeds_its_captions(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    branch, images = start_branch(parts, None, 0), blank_batch(SIZE)
    step, known = partial(train_step, parts, branch, None, images), parts.embed(images.captions)
    total = count_flops(step)
    monkeypatch.setattr(Components, "embed", lambda *_: known)
    assert total - count_flops(step) == text_encoder_flops(parts)
