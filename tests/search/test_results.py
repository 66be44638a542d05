"""What a search found: its best trial, the verdict over seeds, and the files to the byte."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from search_case import DONE, FAIL, GOAL, NAME, PAPER, PRUNED, WIDE, add, large, make_study, repeated, small

from ecdm.config import read_yaml
from ecdm.search import results
from ecdm.search.findings import Findings, Studies, best
from ecdm.search.labels import number
from ecdm.search.results import write_results
from ecdm.search.verdict import student_interval, verdict

BEST = {"sail.lambda": 0.3457, "acda.radius": 6.0}
FLOPS = {"metric": "training_flops", "bucket": None}
TRIALS = f"""slot,origin,state,sail.lambda,acda.radius,{NAME},last_step,reason
0,paper,complete,0.1,4.0,24,200,
1,sampler,complete,1.235,8.0,23.5,100,
2,sampler,pruned,2.5,30.0,,100,step 100: low
3,start,complete,0.3457,6.0,24.25,,
"""


def judged(before: list[float], after: list[float], direction: str = "maximize", **attrs: Any) -> Studies:
    """A finished search whose second trial is the best, and values repeated under seeds 1, 2, …"""
    sign = 1 if direction == "maximize" else -1
    attrs = {"directions": [direction], **attrs}
    search = make_study(slots=2, **attrs)
    add(search, 0, PAPER, [sign * 24.0])
    add(search, 1, BEST, [sign * 25.0])
    return Studies(search, repeated("noise", before, **attrs), repeated("confirm", after, params=BEST, **attrs))


def test_best_keeps_its_constraints_and_of_equal_ones_has_the_lowest_slot() -> None:
    rng = np.random.default_rng(0)
    for direction in ("maximize", "minimize"):
        study = make_study(directions=[direction])
        rows = [(slot, int(rng.integers(5)), float(rng.integers(-2, 3))) for slot in rng.permutation(30)]
        for slot, value, constraint in rows:
            add(study, int(slot), BEST, [value], constraints={"memory": constraint})
        allowed = [(value, slot) for slot, value, constraint in rows if constraint <= 0]
        top = (max if direction == "maximize" else min)(value for value, _ in allowed)
        found = best(study)
        assert found is not None
        assert found.user_attrs["slot"] == min(slot for value, slot in allowed if value == top)


def test_the_front_is_what_no_allowed_trial_beats() -> None:
    rng = np.random.default_rng(1)
    study = make_study(objectives=[GOAL, FLOPS], directions=["maximize", "minimize"])
    for slot in range(40):
        add(study, slot, BEST, [*map(float, rng.integers(8, size=2))], constraints={"memory": float(slot % 4 - 2)})
    found = Findings(Studies(study, None, None))
    assert {trial.number for trial in found.front} == {trial.number for trial in study.best_trials}
    first = best(study)
    assert first is not None
    assert first.values[0] == max(trial.values[0] for trial in study.best_trials)


def test_a_slot_counts_once_and_failed_attempts_are_no_results() -> None:
    study = make_study()
    add(study, 1, BEST, [3.0], state=FAIL)
    add(study, 1, BEST, [1.0])
    add(study, 1, BEST, [2.0])
    add(study, 0, PAPER, state=PRUNED, reason="diverged")
    found = Findings(Studies(study, None, None))
    assert [(trial.user_attrs["slot"], trial.state) for trial in found.results] == [(0, PRUNED), (1, DONE)]
    assert best(study) is found.results[1]
    assert found.results[1].value == 1.0
    assert found.paper is None


@pytest.mark.parametrize(
    ("values", "level", "quantile"),
    [
        # Student's t has closed forms for one and two degrees of freedom.
        ([0.1, 0.5], 0.95, math.tan(math.pi * (0.975 - 0.5))),
        ([-1.0, 0.0, 2.5], 0.9, (2 * 0.95 - 1) / math.sqrt(2 * 0.95 * 0.05)),
    ],
)
def test_the_interval_is_students(values: list[float], level: float, quantile: float) -> None:
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    reach = quantile * sd / math.sqrt(len(values))
    assert student_interval(values, level) == pytest.approx((mean, mean - reach, mean + reach), rel=1e-9)


@pytest.mark.parametrize(("values", "level"), [([1.0], 0.95), ([[1.0, 2.0]], 0.95), ([1.0, 2.0], 1.0)])
def test_an_interval_needs_two_values_and_a_level(values: Any, level: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        student_interval(values, level)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("shift", "word"), [(0.5, "better"), (0.01, "not apart"), (-0.5, "worse")])
def test_the_verdict_follows_the_interval_on_the_side_that_is_better(direction: str, shift: float, word: str) -> None:
    change = shift if direction == "maximize" else -shift
    found = verdict(judged([24.0, 24.2, 23.9], [24.01 + change, 24.18 + change, 23.92 + change], direction))
    assert found.word == word
    assert (found.seeds, found.noise_seeds, found.level) == (3, 3, 0.95)
    assert found.mean == pytest.approx(change + 0.01 / 3)
    assert found.noise_sd == pytest.approx(math.sqrt(0.07 / 3))


def test_the_sentence_tells_values_change_interval_and_seeds() -> None:
    found = verdict(judged([24.0, 24.2], [24.3, 24.7]))
    assert found.sentence == (
        "The best values (λ 0.3457, radius 6) raise psnr/50-60 from 24.100 to 24.500 dB: +0.400 [−0.871, +1.671] dB "
        "over 2 seeds that the search has not used; not apart from noise."
    )


def test_only_seeds_that_both_have_are_paired() -> None:
    studies = judged([24.0, 24.2, 90.0], [24.4, 24.5])
    assert verdict(studies).seeds == 2
    assert verdict(studies).mean == pytest.approx(0.35)


def test_how_good_the_best_looked_in_the_search_decides_nothing() -> None:
    one, other = judged([24.0, 24.2], [24.3, 24.7]), judged([24.0, 24.2], [24.3, 24.7])
    add(other.search, 2, BEST, [99.0])
    assert verdict(one) == verdict(other)


def test_the_papers_values_may_be_the_best() -> None:
    study = make_study(slots=2)
    add(study, 0, PAPER, [24.0])
    assert verdict(Studies(study, None, None)).sentence == (
        "No trial but that of the paper's values (λ 0.1, radius 4) is complete so far, with 1 of 2 trials done."
    )
    add(study, 1, BEST, [24.0])
    found = verdict(Studies(study, repeated("noise", [24.0, 24.1]), None))
    assert (found.word, found.mean, found.noise_seeds) == ("paper", None, 2)
    assert found.sentence.endswith("does not do better on psnr/50-60 than the paper's values (λ 0.1, radius 4).")


def without(studies: Studies, **parts: Any) -> Studies:
    return Studies(**{"search": studies.search, "noise": studies.noise, "confirm": studies.confirm, **parts})


def test_unknown_says_why() -> None:
    studies = judged([24.0, 24.2], [24.3, 24.7])
    others = repeated("confirm", [24.0, 24.1], params={"sail.lambda": 0.2, "acda.radius": 6.0})
    waiting = judged([24.0, 24.2], [24.3, 24.7])
    waiting.search.set_user_attr("slots", 9)
    cases = {
        "not repeated under other seeds": without(studies, confirm=None),
        "found 0 seeds that both have": without(studies, noise=None),
        "found 1 seed that": judged([24.0, 24.2], [24.3]),
        "other ones were repeated under other seeds (λ 0.2, radius 6)": without(studies, confirm=others),
        "with 2 of 9 trials done": waiting,
        "no trial has a complete result that is allowed": Studies(make_study(slots=3), None, None),
        "for 2 objectives: ": large(several=True),
    }
    for reason, case in cases.items():
        found = verdict(case)
        assert (found.word, found.mean, found.low, found.high) == ("unknown", None, None, None)
        assert reason in found.sentence


def test_files_hold_the_trials_exactly(tmp_path: Path) -> None:
    written = write_results(small(), tmp_path)
    assert [path.stem for path in written] == ["trials", "intermediate", "seeds", "best", "summary", "summary"]
    assert (tmp_path / "trials.csv").read_text() == TRIALS
    assert (
        tmp_path / "intermediate.csv"
    ).read_text() == f"slot,step,{NAME}\n0,100,23\n0,200,24\n1,100,22\n2,100,20.5\n"
    assert (tmp_path / "seeds.csv").read_text() == (
        f"values,seed,{NAME}\npaper,1,23.9\npaper,2,24.1\nbest,1,24.1\nbest,2,24.5\n"
    )
    comment, rest = (tmp_path / "best.yaml").read_text().split("\n", 1)
    assert comment == "# Overlay of params.yaml: trial 3 of the search lambda-radius, the best of 3 on psnr/50-60"
    assert rest == "sail:\n  lambda: 0.3457\nacda:\n  radius: 6\n"
    assert read_yaml(tmp_path / "best.yaml") == {"sail": {"lambda": 0.3457}, "acda": {"radius": 6.0}}


def test_the_summary_in_numbers(tmp_path: Path) -> None:
    write_results(judged([24.0, 24.2], [24.3, 24.7]), tmp_path)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["counts"] == {"complete": 2, "pruned": 0, "open": 0, "failed_attempts": 0}
    assert (found["objectives"], found["directions"]) == ([NAME], ["maximize"])
    assert found["paper"] == {"params": PAPER, "values": {NAME: 24.0}}
    assert found["best"] == {"slot": 1, "params": BEST, "values": {NAME: 25.0}}
    assert found["noise"] == {"params": PAPER, "seeds": [1, 2], "mean": {NAME: 24.1}, "sd": {NAME: 0.14142136}}
    assert found["confirm"]["mean"] == {NAME: 24.5}
    difference = found["difference"]
    assert (difference["mean"], difference["level"], difference["seeds"]) == (0.4, 0.95, 2)
    assert difference["low"] == pytest.approx(0.4 - 0.1 * math.tan(0.475 * math.pi), abs=1e-6)
    assert found["verdict"] == "not apart"


def test_the_summary_for_people_starts_with_the_verdict(tmp_path: Path) -> None:
    studies = small()
    write_results(studies, tmp_path)
    lines = (tmp_path / "summary.md").read_text().split("\n\n")
    assert lines[:2] == ["# Search lambda-radius", f"**{verdict(studies).sentence}**"]
    assert lines[2] == "4 of 5 trials are done: 3 complete, 1 pruned. Attempts that were lost and made again: 1."
    text = "\n\n".join(lines)
    assert "| paper's values | 0.1 | 4 | 24.000 dB | 24.000 dB |" in text
    assert "| best values (trial 3) | 0.3457 | 6 | 24.250 dB | 24.300 dB |" in text
    assert "| 3 | 0.3457 | 6 | 24.250 |\n| 0 | 0.1 | 4 | 24.000 |\n| 1 | 1.235 | 8 | 23.500 |" in text


def test_several_objectives_have_a_front_in_place_of_steps(tmp_path: Path) -> None:
    studies = large(several=True)
    names = [path.name for path in write_results(studies, tmp_path)]
    assert "pareto.csv" in names
    assert "intermediate.csv" not in names
    rows = [line.split(",") for line in (tmp_path / "pareto.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == sorted(trial.user_attrs["slot"] for trial in studies.search.best_trials)
    assert "the first objective" in (tmp_path / "best.yaml").read_text()


def test_equal_trials_give_equal_files_whoever_ran_them_and_when(tmp_path: Path) -> None:
    one, other = large(paper=WIDE), large(paper=WIDE)
    moved = make_study(paper=WIDE, slots=32)
    for trial in reversed(other.search.trials):
        trial.set_user_attr("worker", "elsewhere")
        trial.set_user_attr("peak_memory_gib", 3.25)
        trial.datetime_complete = trial.datetime_start
        moved.add_trial(trial)
    for name, studies in (("one", one), ("other", Studies(moved, other.noise, other.confirm))):
        write_results(studies, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
        assert b"host-" not in path.read_bytes()


def test_a_broken_constraint_is_told_but_not_the_memory(tmp_path: Path) -> None:
    study = make_study(slots=2)
    add(study, 0, PAPER, [24.0], constraints={"peak_memory_gib": -1.0})
    add(study, 1, BEST, [25.0], constraints={"peak_memory_gib": 0.123}, peak_memory_gib=8.123)
    write_results(Studies(study, None, None), tmp_path)
    row = (tmp_path / "trials.csv").read_text().splitlines()[2]
    assert row == "1,sampler,complete,0.3457,6.0,25,,a constraint is broken"
    assert "Of the complete ones, 1 broke a constraint." in (tmp_path / "summary.md").read_text()
    assert read_yaml(tmp_path / "best.yaml")["sail"] == {"lambda": 0.1}


def test_files_of_an_earlier_search_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    write_results(large(several=True), tmp_path)
    write_results(Studies(make_study(slots=3), None, None), tmp_path)
    kept = ["intermediate.csv", "mine.txt", "seeds.csv", "summary.json", "summary.md", "trials.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_an_error_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "search"
    write_results(small(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(results, "summary_text", full)
    with pytest.raises(OSError, match="no space"):
        write_results(large(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["search"]


def test_importances_are_shares_of_what_matters() -> None:
    study = make_study(slots=40)
    rng = np.random.default_rng(3)
    for slot in range(40):
        params = {"sail.lambda": float(10 ** rng.uniform(-2.5, 0.4)), "acda.radius": float(rng.integers(33))}
        add(study, slot, params, [-((params["acda.radius"] - 8) ** 2)])
    found = Findings(Studies(study, None, None)).importances
    assert next(iter(found)) == "acda.radius"
    assert sum(found.values()) == pytest.approx(1)
    expected = optuna.importance.get_param_importances(study)
    assert found["acda.radius"] == pytest.approx(expected["acda.radius"], abs=0.1)


def test_importances_need_trials_that_differ() -> None:
    equal, few = make_study(slots=12), make_study(slots=12)
    for slot in range(12):
        add(equal, slot, {**PAPER, "acda.radius": float(slot)}, [24.0])
        add(few, slot, {**PAPER, "acda.radius": float(slot)}, [24.0 + slot])
        assert Findings(Studies(equal, None, None)).importances == {}
        assert bool(Findings(Studies(few, None, None)).importances) == (slot >= 9)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("psnr/50-60", -0.0001, "0.000"),
        ("psnr/50-60", -0.26, "−0.260"),
        ("training_flops", 1.23456789e12, "1.2346e+12"),
    ],
)
def test_numbers_as_people_read_them(name: str, value: float, text: str) -> None:
    assert number(name, value) == text
