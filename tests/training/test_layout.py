"""Settings of memory and speed leave the method as it is: gradients, weights, files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ecdm.models.foundation import Components, load_foundation
from ecdm.training import layout
from ecdm.training.loop import Callbacks, Run, train
from ecdm.training.objective import Objective

Make = Callable[..., Run]
ROOT = Path(__file__).resolve().parents[2]
QUIET = Callbacks(lambda step, values: None, lambda step, branch: {})
ONE = {"steps": 1, "validate_every": 100, "checkpoint_every": 100, "max_grad_norm": 1e6}


@pytest.fixture
def own_parts(foundation_folder: Path) -> Components:
    """Networks of this test alone, since a layout stays with them."""
    return load_foundation(foundation_folder)


def gradients(run: Run, components: Components | None = None) -> list[Tensor]:
    """What the optimiser gets in the first step."""
    found: list[Tensor] = []

    def keep(optimiser: Any, args: Any, kwargs: Any) -> None:
        found.extend(p.grad.clone() for group in optimiser.param_groups for p in group["params"])

    if components is not None:
        run.objective = Objective(components, run.objective.sail)
    handle = register_optimizer_step_pre_hook(keep)
    try:
        train(run, QUIET)
    finally:
        handle.remove()
    return found


def same(first: list[Tensor], second: list[Tensor], tolerance: float) -> bool:
    size = torch.cat([g.flatten() for g in first]).norm()
    gap = torch.cat([(a - b).flatten() for a, b in zip(first, second, strict=True)]).norm()
    return bool(size > 1e-3) and float(gap / size) < tolerance


@pytest.mark.parametrize("variant", ["baseline", "ours"])
def test_checkpointed_gradients_are_the_gradients(make_run: Make, own_parts: Components, variant: str) -> None:
    plain = gradients(make_run(variant, **ONE))
    run = make_run(variant, key="other", gradient_checkpointing=True, **ONE)
    assert same(plain, gradients(run, own_parts), 1e-5)
    assert run.branch.controlnet.is_gradient_checkpointing
    assert own_parts.unet.is_gradient_checkpointing


def test_every_block_of_a_run_is_compiled(
    make_run: Make, own_parts: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything of torch.compile but the writing of kernels, which takes minutes for so many blocks."""
    monkeypatch.setattr(layout, "BACKEND", "eager")
    plain = gradients(make_run("ours", **ONE))
    run = make_run("ours", key="other", compile=True, **ONE)
    torch._dynamo.reset()
    counters.clear()
    assert same(plain, gradients(run, own_parts), 1e-5)
    blocks = [m for m in run.branch.controlnet.modules() if type(m).__name__ in layout.REPEATED]
    assert blocks
    assert all(block._compiled_call_impl is not None for block in blocks)
    # None was given up, as happens beyond a limit of shapes.
    assert counters["frames"]["ok"] == counters["frames"]["total"] > len(set(map(type, blocks)))


def test_a_compiled_block_has_the_same_gradients(own_parts: Components) -> None:
    """Kernels and all, for one block."""
    block = next(m for m in own_parts.unet.modules() if type(m).__name__ == "BasicTransformerBlock")
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 16, block.dim, generator=generator)
    text = torch.randn(1, 8, own_parts.unet.config.cross_attention_dim, generator=generator)

    def gradient() -> Tensor:
        given = hidden.clone().requires_grad_()
        block(given, encoder_hidden_states=text).square().sum().backward()
        assert given.grad is not None
        return given.grad

    plain = gradient()
    layout.compile_blocks(block)
    compiled = gradient()
    assert block._compiled_call_impl is not None
    assert same([plain], [compiled], 1e-5)


def test_the_memory_layout_changes_no_gradient_and_no_file(
    make_run: Make, own_parts: Components, tmp_path: Path
) -> None:
    plain = make_run("ours", **ONE)
    first = gradients(plain)
    run = make_run("ours", key="other", channels_last=True, **ONE)
    assert same(first, gradients(run, own_parts), 1e-5)
    convolution = own_parts.unet.conv_in.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    plain.branch.save(tmp_path / "plain")
    run.branch.save(tmp_path / "last")
    name = "controlnet/diffusion_pytorch_model.safetensors"
    one, two = (load_file(tmp_path / folder / name) for folder in ("plain", "last"))
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-4)


def test_without_an_average_the_weights_are_kept_as_they_are(make_run: Make) -> None:
    averaged, plain = make_run(steps=3), make_run(steps=3, ema_decay=0.0, key="plain")
    seen: list[Tensor] = []

    def look(step: int, branch: Any) -> dict[str, float]:
        seen.append(next(branch.parameters()).clone())
        return {}

    train(averaged, QUIET)
    train(plain, Callbacks(lambda step, values: None, look))
    assert torch.equal(seen[-1], next(plain.branch.parameters()))
    assert not torch.equal(next(averaged.branch.parameters()), next(plain.branch.parameters()))


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, which `make test` puts in a place of its own."""
    monkeypatch.syspath_prepend(str(ROOT / ".venv" / "bitsandbytes"))
    yield importlib.import_module("bitsandbytes")
    for name in [name for name in sys.modules if name.split(".")[0] == "bitsandbytes"]:
        del sys.modules[name]


def test_the_8_bit_optimiser_is_bitsandbytes_and_goes_on_after_a_kill(make_run: Make, bitsandbytes: Any) -> None:
    def kill(step: int, branch: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    eight = {"optimiser": "adamw_8bit", "validate_every": 3, "checkpoint_every": 2}
    made = layout.make_optimiser(make_run(**eight).settings, [{"params": [nn.Parameter(torch.zeros(2))], "lr": 0.1}])
    assert type(made) is bitsandbytes.optim.AdamW8bit
    assert made.defaults["weight_decay"] == 0.01
    whole = make_run(**eight)
    train(whole, QUIET)
    whole.checkpoint.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(make_run(**eight), Callbacks(lambda step, values: None, kill))
    with safe_open(whole.checkpoint, "pt") as stored:
        assert stored.metadata()["step"] == "2"
        assert {stored.get_tensor(f"{i}.state1").dtype for i in range(100)} >= {torch.uint8}
    resumed = make_run(**eight)
    train(resumed, QUIET)
    # What 8 bits lose of the moments shows, and is small beside the way that the weights have gone.
    full = make_run(key="full", validate_every=3)
    train(full, QUIET)
    ways = [flat(run) - flat(make_run()) for run in (whole, resumed, full)]
    assert torch.equal(ways[0], ways[1])
    assert 0 < float((ways[0] - ways[2]).norm()) < 0.1 * float(ways[2].norm())


def flat(run: Run) -> Tensor:
    """All weights of a run's branch."""
    return torch.cat([weight.detach().flatten() for weight in run.branch.parameters()])


def test_the_8_bit_optimiser_asks_for_its_package(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"train\.optimiser: adamw_8bit needs the package bitsandbytes"):
        train(make_run(optimiser="adamw_8bit", steps=1), QUIET)


def test_hooked_modules_are_not_compiled(own_parts: Components) -> None:
    """Whoever listens to a module's outputs from outside would hear nothing of a compiled one."""
    layout.compile_blocks(own_parts.unet)
    listened: list[nn.Module] = layout.feature_modules(own_parts.unet)
    assert listened
    assert all(module._compiled_call_impl is None for module in listened)
