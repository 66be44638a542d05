"""The four variants differ in their two switches alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.training.loop import Callbacks, Run, train

Make = Callable[..., Run]
VARIANTS = ("baseline", "sail", "acda", "ours")
QUIET = Callbacks(lambda step, values: None, lambda step, branch: {})


def weights(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.branch.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_variants_differ_in_their_two_switches_alone(
    parts: Any, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same weights, order, noise, t, masks and texts; with its part at nothing, each trains as the baseline."""
    runs = {name: make_run(name, key=name) for name in VARIANTS}
    start = parts.controlnet_inpaint.state_dict()
    assert all(equal(run.branch.controlnet.state_dict(), start) for run in runs.values())
    assert runs["acda"].branch.acda is not None
    assert runs["ours"].branch.acda is not None
    assert equal(runs["acda"].branch.acda.state_dict(), runs["ours"].branch.acda.state_dict())
    seen: dict[str, list[Any]] = {}
    for name, run in runs.items():
        positions = run.train.positions
        kept = seen.setdefault(name, [])

        def watched(start: int, count: int, positions: Any = positions, kept: list[Any] = kept) -> Any:
            kept.append(positions(start, count))
            return kept[-1]

        monkeypatch.setattr(run.train, "positions", watched)
        train(run, QUIET)
    for name in VARIANTS[1:]:
        for mine, other in zip(seen[name], seen["baseline"], strict=True):
            assert all(torch.equal(getattr(mine, key), getattr(other, key)) for key in vars(mine))
    assert len(seen["baseline"]) == 5
    results = {name: weights(run) for name, run in runs.items()}
    assert all(not equal(results[a], results[b]) for a in VARIANTS for b in VARIANTS if a < b)


def test_a_soft_loss_of_no_weight_is_the_baseline(make_run: Make) -> None:
    baseline, sail = make_run("baseline"), make_run("sail", key="sail", lam=0.0)
    train(baseline, QUIET)
    train(sail, QUIET)
    assert equal(weights(sail), weights(baseline))


def test_acda_that_does_not_learn_is_the_baseline(make_run: Make) -> None:
    baseline, acda = make_run("baseline"), make_run("acda", key="acda")
    acda.acda_lr = 1e-30
    train(baseline, QUIET)
    train(acda, QUIET)
    found, expected = acda.branch.controlnet.state_dict(), baseline.branch.controlnet.state_dict()
    # Within a twentieth of what five steps can move a weight by: gradients near zero get their sign by rounding.
    far = [float(((found[name] - expected[name]).abs() > 2.5e-4).float().mean()) for name in expected]
    assert sum(far) / len(far) < 0.01
