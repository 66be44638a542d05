"""The resume file: everything comes back, for the right inputs only, and a kill leaves one whole file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ecdm.training.checkpoint import State, drop_state, load_state, save_state


def stepped(steps: int, seed: int = 0) -> State:
    """AdamW after some steps on eleven parameters, so that names such as 1 and 10 meet."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(2, i + 1, generator=generator)) for i in range(11)]
    average = [torch.randn(p.shape, generator=generator) for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=0.1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step()
    return State(parameters, average, optimiser, steps, [(i, "loss", 0.1 * i) for i in range(steps)])


def equal(a: State, b: State) -> bool:
    same = all(torch.equal(x, y) for x, y in zip(a.parameters, b.parameters, strict=True))
    same &= all(torch.equal(x, y) for x, y in zip(a.average, b.average, strict=True))
    for x, y in zip(a.parameters, b.parameters, strict=True):
        mine, other = a.optimiser.state[x], b.optimiser.state[y]
        same &= mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)
    return same and (a.step, a.history) == (b.step, b.history)


def test_everything_comes_back(tmp_path: Path) -> None:
    saved, state = stepped(3), stepped(1, seed=1)
    save_state(tmp_path / "new" / "run.safetensors", "key", saved)
    assert not equal(saved, state)
    assert load_state(tmp_path / "new" / "run.safetensors", "key", state)
    assert equal(saved, state)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.safetensors"]


def test_a_state_before_the_first_step_comes_back(tmp_path: Path) -> None:
    saved, state = stepped(0), stepped(0, seed=1)
    save_state(tmp_path / "run.safetensors", "key", saved)
    assert load_state(tmp_path / "run.safetensors", "key", state)
    assert all(torch.equal(x, y) for x, y in zip(saved.parameters, state.parameters, strict=True))
    assert not state.optimiser.state


def test_a_run_without_an_average_comes_back(tmp_path: Path) -> None:
    saved, state = stepped(3), stepped(1, seed=1)
    saved.average, state.average = [], []
    save_state(tmp_path / "run.safetensors", "key", saved)
    assert load_state(tmp_path / "run.safetensors", "key", state)
    assert equal(saved, state)


class Counting(torch.optim.SGD):
    """An optimiser that counts its steps in a plain number, as 8-bit ones do."""

    def count(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {"step": 7, "state1": torch.full((2, 3), 5, dtype=torch.uint8)}


def test_plain_numbers_of_an_optimiser_come_back_as_such(tmp_path: Path) -> None:
    states = [State([nn.Parameter(torch.ones(2))], [], Counting([torch.ones(1)]), 1, []) for _ in range(2)]
    for state in states:
        state.optimiser = Counting(state.parameters, lr=0.1)
    first, second = states
    assert isinstance(first.optimiser, Counting)
    first.optimiser.count()
    save_state(tmp_path / "run.safetensors", "key", first)
    assert load_state(tmp_path / "run.safetensors", "key", second)
    found = second.optimiser.state[second.parameters[0]]
    assert type(found["step"]) is int
    assert found["step"] == 7
    assert found["state1"].dtype == torch.uint8
    assert torch.equal(found["state1"], torch.full((2, 3), 5, dtype=torch.uint8))


def test_no_file_and_a_file_of_other_inputs_change_nothing(tmp_path: Path) -> None:
    path, state = tmp_path / "run.safetensors", stepped(2, seed=1)
    assert not load_state(path, "key", state)
    save_state(path, "other key", stepped(3))
    assert not load_state(path, "key", state)
    assert equal(state, stepped(2, seed=1))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x95 this is a pickle of old" * 40)


def _unlabelled(path: Path) -> None:
    save_file({"0.parameter": torch.zeros(2, 1)}, path)


@pytest.mark.parametrize("spoil", [_cut, _empty, _garbage, _unlabelled])
def test_an_unreadable_file_gives_one_clear_error(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path, state = tmp_path / "run.safetensors", stepped(2, seed=1)
    save_state(path, "key", stepped(3))
    spoil(path)
    with pytest.raises(ValueError, match=rf"{path}: not a readable checkpoint .*delete it to start over"):
        load_state(path, "key", state)
    assert equal(state, stepped(2, seed=1))


def test_a_kill_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.safetensors"
    save_state(path, "key", stepped(2))
    before = path.read_bytes()

    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, "key", stepped(3))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    save_state(path, "key", stepped(3))
    state = stepped(0, seed=1)
    assert load_state(path, "key", state)
    assert equal(state, stepped(3))


def test_a_dropped_state_takes_what_killed_writers_left(tmp_path: Path) -> None:
    path, other = tmp_path / "lambda [1]-2.safetensors", tmp_path / "lambda [1]-20.7.tmp"
    for left in (path, other, tmp_path / "lambda [1]-2.7.tmp", tmp_path / "lambda [1]-2.88.tmp"):
        left.touch()
    drop_state(path)
    assert list(tmp_path.iterdir()) == [other]
    drop_state(path)
