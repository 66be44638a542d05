"""The training loop: resume, accumulation, averaging, clipping, and what it leaves untouched."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ecdm.models.branch import Branch
from ecdm.models.foundation import NETWORKS
from ecdm.training.checkpoint import saved_history
from ecdm.training.loop import Callbacks, Run, train, validation_loss
from ecdm.training.objective import Objective, Terms

Make = Callable[..., Run]
VARIANTS = ("baseline", "sail", "acda", "ours")
QUIET = Callbacks(lambda step, values: None, lambda step, branch: {})


class Killed(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


def kill_at(step: int) -> Callbacks:
    def metrics(reached: int, values: dict[str, float]) -> None:
        if reached >= step:
            raise Killed

    return Callbacks(metrics, lambda step, branch: {})


def weights(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.branch.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def frozen_state(parts: Any) -> dict[str, Tensor]:
    return {f"{part}.{k}": v.clone() for part in NETWORKS for k, v in getattr(parts, part).state_dict().items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_moves_the_branch_and_no_frozen_weight(parts: Any, make_run: Make, variant: str) -> None:
    run, before = make_run(variant), frozen_state(parts)
    start = weights(run)
    train(run, QUIET)
    after = weights(run)
    assert all(not torch.equal(start[name], after[name]) for name in start)
    assert equal(frozen_state(parts), before)
    frozen = [p for name in NETWORKS for p in getattr(parts, name).parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert not any(p.requires_grad for p in run.branch.parameters())
    assert not run.branch.training


@pytest.mark.parametrize(("step", "last"), [(1, False), (3, False), (5, False), (3, True)])
def test_a_killed_run_ends_with_the_same_bits(make_run: Make, tmp_path: Path, step: int, last: bool) -> None:
    """Killed before the first checkpoint, between two, and before the last one; in another memory layout too."""
    whole = make_run(channels_last=last)
    history = train(whole, QUIET)
    whole.checkpoint.unlink()
    with pytest.raises(Killed):
        train(make_run(channels_last=last), kill_at(step))
    assert whole.checkpoint.exists() is (step > 1)
    torch.manual_seed(step)
    resumed = make_run(channels_last=last)
    assert train(resumed, QUIET) == history
    assert equal(weights(resumed), weights(whole))


def test_a_run_killed_again_and_again_ends_with_the_same_bits(make_run: Make) -> None:
    whole = make_run(checkpoint_every=1, log_every=1)
    history = train(whole, QUIET)
    whole.checkpoint.unlink()
    for step in range(1, 6):
        with pytest.raises(Killed):
            train(make_run(checkpoint_every=1, log_every=1), kill_at(step))
    resumed = make_run(checkpoint_every=1, log_every=1)
    assert train(resumed, QUIET) == history
    assert equal(weights(resumed), weights(whole))


def test_a_finished_run_is_not_trained_further(make_run: Make) -> None:
    first = make_run()
    history = train(first, QUIET)
    again = make_run()
    assert train(again, kill_at(0)) == history
    assert equal(weights(again), weights(first))


def test_a_checkpoint_of_other_inputs_is_ignored(make_run: Make) -> None:
    fresh = make_run()
    train(fresh, QUIET)
    other = make_run(key="other", lr=0.1)
    train(other, QUIET)
    steps: list[int] = []
    again = make_run()
    train(again, Callbacks(lambda step, values: steps.append(step), lambda step, branch: {}))
    assert steps[0] == 1
    assert equal(weights(again), weights(fresh))
    assert not equal(weights(other), weights(fresh))


def test_an_unreadable_checkpoint_stops_the_run(make_run: Make) -> None:
    run = make_run()
    run.checkpoint.parent.mkdir(parents=True)
    run.checkpoint.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"run\.safetensors: not a readable checkpoint"):
        train(run, QUIET)


def _recorded(run: Run, kind: str) -> dict[str, list[Tensor]]:
    """Gradients as the optimiser gets them, or parameters after it, by step."""
    found: dict[str, list[Tensor]] = {"steps": []}

    def before(optimiser: Any, args: Any, kwargs: Any) -> None:
        grads = [p.grad.flatten() for group in optimiser.param_groups for p in group["params"]]
        found["steps"].append(torch.cat(grads).clone())

    def after(optimiser: Any, args: Any, kwargs: Any) -> None:
        values = [p.detach().flatten() for group in optimiser.param_groups for p in group["params"]]
        found["steps"].append(torch.cat(values).clone())

    handle = (
        register_optimizer_step_pre_hook(before) if kind == "gradients" else register_optimizer_step_post_hook(after)
    )
    train(run, QUIET)
    handle.remove()
    return found


def test_accumulation_gives_the_gradient_of_the_larger_batch(make_run: Make) -> None:
    settings = {"steps": 2, "max_grad_norm": 1e6, "lr": 1e-6}
    one, two = make_run(batch=4, **settings), make_run(batch=4, micro_batch=2, key="two", **settings)
    first, second = (_recorded(run, "gradients")["steps"] for run in (one, two))
    assert len(first) == len(second) == 2
    for a, b in zip(first, second, strict=True):
        assert float(a.norm()) > 1e-3
        assert float((a - b).norm() / a.norm()) < 1e-4


def test_gradients_are_clipped(make_run: Make) -> None:
    free, clipped = (make_run(max_grad_norm=value, key=str(value)) for value in (1e6, 1e-3))
    first, second = (_recorded(run, "gradients")["steps"] for run in (free, clipped))
    assert [float(step.norm()) for step in second] == pytest.approx([1e-3] * 5, rel=1e-3)
    scaled = first[0] / first[0].norm() * 1e-3
    torch.testing.assert_close(second[0], scaled, rtol=1e-3, atol=1e-9)


def test_the_branch_ends_as_the_average_of_its_steps(make_run: Make) -> None:
    run = make_run(steps=6, ema_decay=0.4)
    steps = _recorded(run, "parameters")["steps"]
    average = steps[0]
    for i, values in enumerate(steps[1:], start=1):
        decay = min(1 - (1 + i) ** (-2 / 3), 0.4)
        average = decay * average + (1 - decay) * values
    groups = [*run.branch.controlnet.parameters(), *(run.branch.acda.parameters() if run.branch.acda else ())]
    found = torch.cat([p.flatten() for p in groups])
    torch.testing.assert_close(found, average, rtol=1e-5, atol=1e-7)
    assert not torch.equal(found, steps[-1])


def test_looking_at_a_run_does_not_change_it(make_run: Make) -> None:
    plain = make_run(validate_every=100, log_every=100, checkpoint_every=100)
    train(plain, QUIET)
    plain.checkpoint.unlink()
    seen: list[int] = []
    watched = make_run(validate_every=1, log_every=1, checkpoint_every=1)

    def look(step: int, branch: Branch) -> dict[str, float]:
        seen.append(step)
        return {"seen": step / 2}

    history = train(watched, Callbacks(lambda step, values: None, look))
    assert seen == [1, 2, 3, 4, 5]
    # What was found belongs to the history, which a checkpoint keeps.
    assert by_name(history)["seen"] == {step: step / 2 for step in seen}
    assert saved_history(watched.checkpoint, watched.key) == history
    assert saved_history(watched.checkpoint, "another") == []
    assert saved_history(watched.checkpoint.with_name("none"), watched.key) == []
    assert equal(weights(watched), weights(plain))


def test_previews_see_the_averaged_weights(make_run: Make) -> None:
    seen: list[dict[str, Tensor]] = []

    def preview(step: int, branch: Branch) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in branch.state_dict().items()})
        return {}

    run = make_run(ema_decay=0.4)
    train(run, Callbacks(lambda step, values: None, preview))
    assert equal(seen[-1], weights(run))


def by_name(history: list[tuple[int, str, float]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for step, name, value in history:
        found.setdefault(name, {})[step] = value
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_history_holds_what_belongs_to_the_variant(make_run: Make, variant: str) -> None:
    told: list[tuple[int, str, float]] = []

    def metrics(step: int, values: dict[str, float]) -> None:
        told.extend((step, name, value) for name, value in values.items())

    history = train(make_run(variant, lam=0.3), Callbacks(metrics, lambda step, branch: {}))
    assert told == history
    found = by_name(history)
    expected = {"loss", "loss_simple", "grad_norm", "lr", "validation_loss"}
    expected |= {"loss_soft"} if variant in ("sail", "ours") else set()
    expected |= {"rms_text", "rms_frequency", "lr_acda"} if variant in ("acda", "ours") else set()
    assert found.keys() == expected
    assert list(found["loss"]) == [1, 3, 5]
    assert list(found["validation_loss"]) == [3, 5]
    assert list(found["lr"]) == [1, 3, 5]
    for step, loss in found["loss"].items():
        soft = found["loss_soft"][step] if "loss_soft" in found else 0.0
        assert loss == pytest.approx(found["loss_simple"][step] + 0.3 * soft, rel=1e-5)
    if "rms_frequency" in found:
        assert found["rms_frequency"][1] == 0
        assert min(found["rms_frequency"][3], found["rms_text"][1]) > 0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_rises_and_stays_or_falls_along_a_cosine(make_run: Make, schedule: str) -> None:
    run = make_run(schedule=schedule, steps=6, warmup=2, log_every=1, lr=1e-3)
    shares = {
        "constant": [1 / 3, 2 / 3, 1, 1, 1, 1],
        "cosine": [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3))],
    }
    found = by_name(train(run, Callbacks(lambda step, values: None, lambda step, branch: {})))
    for name, peak in (("lr", 1e-3), ("lr_acda", run.acda_lr)):
        assert list(found[name].values()) == pytest.approx([peak * share for share in shares[schedule]])


def nothing(loss: Tensor) -> Tensor:
    """0 whose derivative is not a number."""
    return (loss - loss.detach()).square().sqrt()


class _Breaking(Objective):
    """Spoils its loss at the third call, by NaN or by a gradient of NaN."""

    calls, gradient = 0, False

    def __call__(self, *args: Any, **kwargs: Any) -> Terms:
        terms = super().__call__(*args, **kwargs)
        self.calls += 1
        if self.calls < 3:
            return terms
        spoiled = terms.loss + nothing(terms.loss) if self.gradient else terms.loss * torch.nan
        return Terms(spoiled, terms.simple, terms.soft)


@pytest.mark.parametrize(("gradient", "name"), [(False, "loss"), (True, "gradient norm")])
def test_what_is_not_finite_stops_the_run_before_it_is_saved(
    parts: Any, make_run: Make, gradient: bool, name: str
) -> None:
    run = make_run(steps=3, validate_every=100, checkpoint_every=3)
    run.objective = breaking = _Breaking(parts, run.objective.sail)
    breaking.gradient = gradient
    with pytest.raises(ValueError, match=f"step 2: found {name} nan, expected a finite number"):
        train(run, QUIET)
    assert not run.checkpoint.exists()


class _Plugin:
    def __init__(self, version: int) -> None:
        self.fsdp_version = version


@pytest.mark.parametrize(
    ("found", "plugin", "optimiser", "message"),
    [
        (DistributedType.FSDP, _Plugin(1), "adamw", "launch.train: found FSDP, expected .* with fsdp_version 2"),
        (DistributedType.DEEPSPEED, None, "adamw", "launch.train: found DEEPSPEED, expected .* with fsdp_version 2"),
        (DistributedType.FSDP, _Plugin(2), "adamw_8bit", "train.optimiser: found adamw_8bit, expected adamw"),
    ],
)
def test_parts_that_cannot_be_gathered_are_refused(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, found: DistributedType, plugin: Any, optimiser: str, message: str
) -> None:
    """As accelerate's configuration for the first FSDP or for DeepSpeed would have it."""
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda self: found))
    monkeypatch.setattr(AcceleratorState, "fsdp_plugin", plugin, raising=False)
    with pytest.raises(ValueError, match=message):
        train(make_run(optimiser=optimiser), QUIET)


def test_half_precision_trains_float_weights(make_run: Make) -> None:
    half = make_run(precision="bf16")
    found = by_name(train(half, QUIET))
    full = by_name(train(make_run(key="full"), QUIET))
    assert found["loss"][1] == pytest.approx(full["loss"][1], rel=0.05)
    assert found["loss"][1] != full["loss"][1]
    assert {value.dtype for value in half.branch.state_dict().values()} == {torch.float32}


def test_what_looks_at_a_branch_sees_it_in_float(make_run: Make) -> None:
    """Half precision ends with a training step: a judge within it, and all that comes after, choose their own."""
    run, seen = make_run(precision="bf16"), []

    def judge(step: int, branch: Branch) -> dict[str, float]:
        batch = run.validation.fixed(2)
        seen.append(run.objective.simple(branch, batch))
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(run.objective.simple(branch, batch), seen[-1])
        return {}

    history = by_name(train(run, Callbacks(lambda step, values: None, judge)))
    after = run.objective.simple(run.branch, run.validation.fixed(2))
    assert torch.equal(after, seen[-1])
    assert history["validation_loss"][5] == validation_loss(run, run.branch)
    branch = Branch(run.branch.controlnet, run.branch.acda)
    assert torch.equal(run.objective.simple(branch, run.validation.fixed(2)), after)
