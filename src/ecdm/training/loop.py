"""Fine-tuning of the inpainting branch on accelerate; it reports through callbacks and knows no loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from tqdm import tqdm

from ecdm.config import Train
from ecdm.data.ahead import made_ahead
from ecdm.models.branch import Branch
from ecdm.training.average import Average
from ecdm.training.checkpoint import History, State, load_state, save_state
from ecdm.training.folder import TrainFolder
from ecdm.training.fsdp import Twin, in_parts
from ecdm.training.layout import arrange, make_optimiser, restore
from ecdm.training.objective import Objective, TrainBatch
from ecdm.training.shares import Shares


@dataclass(frozen=True)
class Callbacks:
    """Where a run's numbers go, (step, name → value), and who looks at the branch with its averaged weights.

    What `validate` finds joins the numbers of its step, and so the history that a checkpoint keeps.
    """

    metrics: Callable[[int, dict[str, float]], None]
    validate: Callable[[int, Branch], Mapping[str, float]]


class Diverged(ValueError):
    """A loss or a gradient that is not finite."""


@dataclass
class Run:
    """One training run: what is trained, on what, and the checkpoint file with the key of its inputs."""

    branch: Branch
    objective: Objective
    train: TrainFolder
    validation: TrainFolder
    settings: Train
    acda_lr: float
    checkpoint: Path
    key: str


def train(run: Run, callbacks: Callbacks) -> History:
    """Train, resuming where the checkpoint stands; leaves the moving average in `run.branch`, frozen.

    Branch and foundation move to accelerate's device. Of several processes, which share every batch, the main one alone
    validates, reports and saves; its losses are means over all of them. Under FSDP each keeps a part of the branch, and
    all of them gather it for the main one.
    Returns every (step, name, value) reported, those before a resume included.
    Raises: Diverged when a loss or a gradient is not finite; ValueError for a batch that the processes cannot share.
    """
    settings = run.settings
    shares = Shares.of(settings, PartialState(cpu=_on_cpu()).num_processes)
    # Its own mixed precision would leave the branch in it for good, validation and all that comes after included.
    accelerator = Accelerator(gradient_accumulation_steps=shares.passes, mixed_precision="no", cpu=_on_cpu())
    twin = Twin(run.branch) if in_parts(accelerator, settings) else None
    run.objective.parts.to(accelerator.device, without=("controlnet_inpaint",))
    arrange(run.branch, run.objective.parts, settings, whole=twin is None)
    optimiser = make_optimiser(settings, run.branch.groups(settings.lr, run.acda_lr))
    base = [float(group["lr"]) for group in optimiser.param_groups]
    wrapped, prepared = accelerator.prepare(run.branch, optimiser)
    average = Average(run.branch, settings.ema_decay, twin)
    state = State(average.parameters, average.values, optimiser, 0, [])
    if load_state(run.checkpoint, run.key, state):
        average.resume(state.step)
    batches = _batches(run, shares, accelerator, state.step)
    hidden = None if is_main_process() else True
    with tqdm(total=settings.steps, initial=state.step, desc="train", disable=hidden) as bar:
        while state.step < settings.steps:
            for group, lr in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = lr * _share_of_lr(settings, state.step)
            row = _step(run, accelerator, wrapped, prepared, islice(batches, shares.passes), state.step)
            average.step()
            state.step += 1
            bar.update()
            if is_main_process() or twin is not None:
                _after(run, callbacks, state, average, row)
    accelerator.wait_for_everyone()
    run.branch = average.settled()
    restore(run.branch)
    run.branch.requires_grad_(False).eval()
    return state.history


def _batches(run: Run, shares: Shares, accelerator: Accelerator, first: int) -> Iterator[TrainBatch]:
    """This process's batches from a step on, one after another."""
    steps, index = range(first, run.settings.steps), accelerator.process_index
    starts = (start for step in steps for start in shares.starts(step, index))
    # On a CPU the networks need the cores themselves.
    ahead = accelerator.device.type != "cpu"
    return made_ahead(lambda start: run.train.positions(start, shares.micro), starts, ahead)


def _share_of_lr(settings: Train, step: int) -> float:
    """Factor of the learning rate: a linear rise over the warm-up, then constant or half a cosine down to 0."""
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    if settings.schedule == "constant":
        return rise
    done = max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return rise * (1 + math.cos(math.pi * done)) / 2


def _step(
    run: Run, accelerator: Accelerator, wrapped: Any, optimiser: Any, batches: Iterable[TrainBatch], step: int
) -> dict[str, float]:
    """One optimiser step over the batches of its passes; returns what was measured on the way."""
    settings, rows, norm = run.settings, [], 0.0
    run.branch.record(step % settings.log_every == 0)
    for batch in batches:
        with accelerator.accumulate(wrapped):
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                terms = run.objective(run.branch, batch, wrapped)
            _check_finite("loss", terms.loss.item(), step)
            accelerator.backward(terms.loss)
            if accelerator.sync_gradients:
                norm = float(accelerator.clip_grad_norm_(run.branch.parameters(), settings.max_grad_norm))
                _check_finite("gradient norm", norm, step)
            optimiser.step()
            optimiser.zero_grad()
        rows.append(terms)
    parts = torch.stack([torch.stack([r.loss, r.simple, r.soft]).detach().float() for r in rows]).mean(dim=0)
    loss, simple, soft = accelerator.reduce(parts, "mean").tolist()
    row = {"loss": loss, "loss_simple": simple, "grad_norm": norm, "lr": optimiser.param_groups[0]["lr"]}
    if run.objective.sail is not None:
        row["loss_soft"] = soft
    if run.branch.processors:
        row["lr_acda"] = optimiser.param_groups[1]["lr"]
    if run.branch.processors and step % settings.log_every == 0:
        row["rms_text"], row["rms_frequency"] = run.branch.rms()
    return row


def _after(run: Run, callbacks: Callbacks, state: State, average: Average, row: dict[str, float]) -> None:
    """Report, validate and save, each at its own pace; validation sees the averaged weights.

    Other processes than the main one are here only to gather what is kept in parts.
    """
    settings, step, main = run.settings, state.step, is_main_process()
    last = step == settings.steps
    shown = dict(row) if (step - 1) % settings.log_every == 0 or last else {}
    if step % settings.validate_every == 0 or last:
        with average.shown() as branch:
            if main:
                shown["validation_loss"] = validation_loss(run, branch)
                shown |= callbacks.validate(step, branch)
    if main and shown:
        state.history.extend((step, name, value) for name, value in shown.items())
        callbacks.metrics(step, shown)
    if step % settings.checkpoint_every == 0 or last:
        save_state(run.checkpoint, run.key, state, write=main)


@torch.no_grad()
def validation_loss(run: Run, branch: Branch) -> float:
    """L_simple on fixed validation samples under fixed draws, in float32 whatever the training computes in."""
    batch = run.validation.fixed(run.settings.validation_images)
    return float(run.objective.simple(branch, batch).mean())


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise Diverged(f"step {step}: found {name} {value}, expected a finite number")


def is_main_process() -> bool:
    """Whether this process reports and writes: the only one does, and the first of those that accelerate started."""
    return bool(PartialState(cpu=_on_cpu()).is_main_process)


def _on_cpu() -> bool:
    return not torch.cuda.is_available()
