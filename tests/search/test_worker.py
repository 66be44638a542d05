"""A worker's part in a search: what it takes, in which order, and what becomes of a trial however it ends."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from search_toy import Toy, by_slot, formula, settings

from ecdm.search.interrupts import Interrupts, Reclaimed
from ecdm.search.plan import ATTEMPTS, refill
from ecdm.search.worker import Attempt, Outcome

COMPLETE, PRUNED, FAIL, WAITING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING
RESULTS = (COMPLETE, PRUNED)


def make(folder: Path, **changes: Any) -> Toy:
    toy = Toy(*settings(folder, **changes))
    toy.prepare()
    return toy


def values_of(toy: Toy) -> list[Any]:
    return [
        [(trial.params, trial.values, trial.intermediate_values, trial.state) for trial in study.get_trials()]
        for study in (toy.studies.noise, toy.studies.search, toy.studies.confirm)
        if study is not None
    ]


def test_noise_comes_first_then_the_papers_values_and_last_the_best_ones_again(tmp_path: Path) -> None:
    toy, done = make(tmp_path), []

    def work(attempt: Attempt) -> Outcome:
        done.append((attempt.study.user_attrs["phase"], attempt.slot, attempt.seed, dict(attempt.values)))
        return formula(attempt)

    assert toy.work(work) is None
    paper = {"sail.lambda": 0.1, "acda.radius": 4.0}
    assert done[:3] == [("noise", 0, 1, paper), ("noise", 1, 2, paper), ("search", 0, None, paper)]
    assert [(phase, slot) for phase, slot, _, _ in done[3:8]] == [("search", slot) for slot in range(1, 6)]
    search, confirm = toy.studies.search, toy.studies.confirm
    assert confirm is not None
    best = max(search.get_trials(), key=lambda trial: trial.value or 0)
    assert best.user_attrs["slot"] != 0
    assert confirm.user_attrs["params"] == done[-1][3]
    assert done[-2:] == [("confirm", 0, 1, done[-1][3]), ("confirm", 1, 2, done[-1][3])]
    assert float(f"{best.params['sail.lambda']:.4g}") == done[-1][3]["sail.lambda"]
    origins = [trial.user_attrs["origin"] for trial in search.get_trials()]
    assert origins == ["paper", "start", "start", "sampler", "sampler", "sampler"]
    assert {trial.user_attrs["commit"] for trial in search.get_trials()} == {"c0ffee"}
    assert all(str(os.getpid()) in trial.user_attrs["worker"] for trial in search.get_trials())
    assert toy.watched.events[:3] == [
        "started lambda-radius-noise 0",
        "ended lambda-radius-noise 0 COMPLETE",
        "progress",
    ]
    assert re.fullmatch(r"trial 00 \(λ 0\.1, radius 4\): psnr/50-60 \d+\.\d{3} dB \[1 of 6\]", toy.said[2])
    assert toy.said[1].startswith("paper's values, seed 2: psnr/50-60 ")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_one_worker_and_one_seed_give_the_same_study_twice(tmp_path: Path, sampler: str) -> None:
    found = []
    for _ in range(2):
        toy = make(tmp_path, sampler=sampler, trials=9)
        toy.work()
        found.append(values_of(toy))
    assert found[0] == found[1]
    # What the sampler chose are points of their own.
    points = [tuple(params.values()) for params, *_ in found[0][1]]
    assert len(set(points)) == 9
    other = make(tmp_path, sampler=sampler, trials=9, seed=1)
    other.work()
    assert values_of(other)[1][3:] != found[0][1][3:]


def test_a_better_region_is_found(tmp_path: Path) -> None:
    toy = make(tmp_path, trials=40, startup=8)
    toy.work()
    best = max(toy.studies.search.get_trials(), key=lambda trial: trial.value or 0)
    assert best.value == pytest.approx(20, abs=0.3)


def test_the_pruner_spares_the_papers_values_and_the_seeds(tmp_path: Path) -> None:
    toy = make(tmp_path, trials=14, startup=12, pruner="median", prune_after=0)
    falling, asked = iter(range(100, 0, -1)), list[int]()

    def work(attempt: Attempt) -> Outcome:
        value = next(falling)
        for step in (2, 4):
            asked.extend([step] if attempt.study.user_attrs["phase"] == "search" else [])
            attempt.report(step, value)
        return Outcome([value], 1.0)

    toy.work(work)
    states = {slot: trials[0].state for slot, trials in by_slot(toy.studies.search).items()}
    assert states[0] == COMPLETE
    pruned = [slot for slot, state in states.items() if state == PRUNED]
    # Five others are needed for a median.
    assert pruned == list(range(5, 14))
    assert asked == [2, 4] * 5 + [2] * 9
    assert by_slot(toy.studies.search)[7][0].user_attrs["reason"] == "step 2: no better than what others had there"
    noise = toy.studies.noise
    assert noise is not None
    assert [trial.state for trial in noise.get_trials()] == [COMPLETE, COMPLETE]


def test_what_has_come_to_its_last_step_is_not_pruned(tmp_path: Path) -> None:
    toy = make(tmp_path, trials=12, startup=11, noise=0, pruner="median", prune_after=0)
    falling = iter(range(100, 0, -1))

    def work(attempt: Attempt) -> Outcome:
        value = next(falling)
        attempt.report(4, value)
        return Outcome([value], 1.0)

    toy.work(work)
    assert [trial.state for trial in toy.studies.search.get_trials()] == [COMPLETE] * 12


def test_hyperband_is_patient(tmp_path: Path) -> None:
    toy = make(tmp_path, trials=30, startup=28, pruner="hyperband", prune_after=20, steps=40, report_every=10)
    falling, last = iter(range(1000, 0, -1)), {}

    def work(attempt: Attempt) -> Outcome:
        value = next(falling)
        for step in (10, 20, 30, 40):
            last[attempt.slot] = step
            attempt.report(step, value)
        return Outcome([value], 1.0)

    toy.work(work)
    states = {slot: trials[0].state for slot, trials in by_slot(toy.studies.search).items()}
    pruned = {last[slot] for slot, state in states.items() if state == PRUNED}
    assert pruned
    assert min(pruned) >= 20


def test_what_diverges_is_pruned_with_its_reason(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0)

    def work(attempt: Attempt) -> Outcome:
        if attempt.slot == 1:
            attempt.report(2, float("nan"))
        return Outcome([float("nan") if attempt.slot == 2 else 1.0 + attempt.slot], 1.0)

    assert toy.work(work) is None
    trials = {slot: trials[0] for slot, trials in by_slot(toy.studies.search).items()}
    assert [trials[slot].state for slot in range(6)] == [COMPLETE, PRUNED, PRUNED, COMPLETE, COMPLETE, COMPLETE]
    assert trials[1].user_attrs["reason"] == "diverged: step 2: found nan, expected a finite objective"
    assert trials[2].user_attrs["reason"].startswith("diverged: found [nan]")


def test_what_takes_too_much_memory_is_not_the_best(tmp_path: Path) -> None:
    toy = make(tmp_path, memory_gib=2.0)

    def work(attempt: Attempt) -> Outcome:
        found = formula(attempt)
        return Outcome([found.values[0] + 10 * (attempt.slot == 3)], 3.0 if attempt.slot == 3 else 1.5)

    toy.work(work)
    trials = {slot: trials[0] for slot, trials in by_slot(toy.studies.search).items()}
    assert trials[3].constraints == {"peak_memory_gib": 1.0}
    assert trials[2].constraints == {"peak_memory_gib": -0.5}
    confirm = toy.studies.confirm
    assert confirm is not None
    assert confirm.user_attrs["params"]["sail.lambda"] != float(f"{trials[3].params['sail.lambda']:.4g}")


def test_an_error_ends_the_worker_and_frees_the_slot(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0)

    def full(attempt: Attempt) -> Outcome:
        if attempt.slot == 3:
            raise OSError(28, "No space left on device")
        return formula(attempt)

    with pytest.raises(OSError, match="No space left"):
        toy.work(full)
    (failed, waiting) = by_slot(toy.studies.search)[3]
    assert (failed.state, waiting.state) == (FAIL, WAITING)
    assert failed.user_attrs["reason"] == "OSError: [Errno 28] No space left on device"
    assert toy.said[-1].endswith("OSError: [Errno 28] No space left on device; it waits for another worker")
    assert waiting.user_attrs["lost"] == 0
    # With room again the study goes on where it was, with the values that were chosen.
    assert toy.work() is None
    done = by_slot(toy.studies.search, *RESULTS)
    assert {slot: len(trials) for slot, trials in done.items()} == dict.fromkeys(range(6), 1)
    assert done[3][0].params == failed.params


def test_a_slot_that_ends_every_worker_is_given_up(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0, trials=2)

    def broken(attempt: Attempt) -> Outcome:
        if attempt.slot == 1:
            raise RuntimeError("killed")
        return formula(attempt)

    for _ in range(ATTEMPTS):
        with pytest.raises(RuntimeError):
            toy.work(broken)
    assert toy.work(broken) is None
    assert [trial.state for trial in by_slot(toy.studies.search)[1]] == [FAIL] * ATTEMPTS


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_reclaimed_worker_ends_and_its_trial_waits(tmp_path: Path, number: signal.Signals, reason: str) -> None:
    toy = make(tmp_path, noise=0)

    def reclaimed(attempt: Attempt) -> Outcome:
        if attempt.slot == 2:
            os.kill(os.getpid(), number)
            time.sleep(60)
        return formula(attempt)

    before = signal.getsignal(number)
    # As often as it likes: a reclaimed runner is no fault of the trial.
    for _ in range(ATTEMPTS + 1):
        assert toy.work(reclaimed) == reason
    assert signal.getsignal(number) is before
    tries = by_slot(toy.studies.search)[2]
    assert [trial.state for trial in tries] == [FAIL] * (ATTEMPTS + 1) + [WAITING]
    assert tries[0].user_attrs["reason"] == f"reclaimed: {reason}"
    assert toy.work() is None
    assert len(by_slot(toy.studies.search, *RESULTS)[2]) == 1


def test_a_worker_ends_when_its_time_is_over(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0)

    def slow(attempt: Attempt) -> Outcome:
        time.sleep(60)
        return formula(attempt)

    assert toy.work(slow, minutes=0.005) == "its time is over"
    assert [trial.state for trial in by_slot(toy.studies.search)[0]] == [FAIL, WAITING]


def heard(interrupts: Interrupts, seen: list[str]) -> None:
    with interrupts.allowed():
        with interrupts.shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("finished")
        seen.append("not reached")


def test_signals_wait_for_what_must_not_be_dropped() -> None:
    seen: list[str] = []
    with Interrupts() as interrupts:
        with pytest.raises(Reclaimed):
            heard(interrupts, seen)
        assert interrupts.reason == "SIGTERM"
        with pytest.raises(Reclaimed), interrupts.allowed():
            seen.append("not reached")
    assert seen == ["finished"]


@pytest.mark.parametrize("reports", [True, False])
def test_a_trial_taken_for_lost_is_left_to_others(tmp_path: Path, reports: bool) -> None:
    toy = make(tmp_path, noise=0, trials=3)

    def sleeper(attempt: Attempt) -> Outcome:
        if attempt.slot == 1 and len(by_slot(toy.studies.search)[1]) == 1:
            # What another worker does to one that it hears nothing of.
            toy.storage.set_trial_state_values(attempt.trial._trial_id, state=FAIL)
            toy.worker(formula, attempt.interrupts).lost(
                toy.studies.search, toy.studies.search.get_trials()[attempt.trial.number]
            )
        return formula(attempt) if reports else Outcome([1.0], 1.0)

    assert toy.work(sleeper) is None
    assert [trial.state for trial in by_slot(toy.studies.search)[1]] == [FAIL, COMPLETE]
    assert toy.said[1].startswith("trial 01 (λ ")
    assert any("took this worker for lost" in line for line in toy.said)


def test_of_two_trials_in_one_slot_one_counts(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0, trials=3)
    search = toy.studies.search
    first = search.get_trials()[1]
    search.add_trial(first)
    assert toy.work() is None
    tries = by_slot(search)[1]
    assert [trial.state for trial in tries] == [COMPLETE, FAIL]
    assert tries[1].user_attrs["reason"] == "another trial fills its slot"
    assert refill(search) == 0


def test_a_slot_lost_with_the_one_who_should_have_requeued_it_is_filled(tmp_path: Path) -> None:
    toy = make(tmp_path, noise=0, trials=3)
    trial = toy.studies.search.get_trials()[2]
    toy.storage.set_trial_state_values(trial._trial_id, state=FAIL)
    assert toy.work() is None
    assert [trial.state for trial in by_slot(toy.studies.search)[2]] == [FAIL, COMPLETE]
    assert len(toy.studies.search.get_trials(states=RESULTS)) == 3
