"""Studies and their slots: what waits in them, what is refused, what may grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from search_toy import Toy, by_slot, settings

from ecdm.search.findings import RESULTS, Findings
from ecdm.search.plan import ATTEMPTS, confirm, remove, requeue
from ecdm.search.space import applied, distributions, overridden, published, start_points
from ecdm.search.summary import progress
from ecdm.search.worker import Attempt, Outcome

LIST = {"lambda": {"low": 0.01, "high": 1.0, "scale": "log"}, "window": ["circle", "square"]}


def fixed(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.system_attrs["fixed_params"] for trial in study.get_trials()]


def test_what_waits_in_the_slots(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path, trials=7, startup=3))
    studies = toy.prepare()
    waiting = fixed(studies.search)
    assert waiting[0] == {"sail.lambda": 0.1, "acda.radius": 4.0}
    assert waiting[1:4] == start_points(toy.tune)
    assert waiting[4:] == [{}] * 3
    assert studies.noise is not None
    assert fixed(studies.noise) == [{"seed": 1}, {"seed": 2}]
    assert studies.confirm is None
    assert studies.search.directions == [StudyDirection.MAXIMIZE]
    # What a worker finds is what the one who prepared it has written.
    assert toy.prepare().search.get_trials() == studies.search.get_trials()


def test_other_values_in_force_are_tried_right_after_the_papers(tmp_path: Path) -> None:
    params, tune = settings(tmp_path)
    toy = Toy(overridden(params, {"sail.lambda": 0.5}), tune)
    search = toy.prepare().search
    assert fixed(search)[:2] == [{"sail.lambda": 0.1, "acda.radius": 4.0}, {"sail.lambda": 0.5, "acda.radius": 4.0}]
    assert search.get_trials()[1].user_attrs["origin"] == "current"


def test_seeds_of_the_repeats_are_none_of_the_searchs(tmp_path: Path) -> None:
    params, tune = settings(tmp_path)
    toy = Toy(params.model_copy(update={"seeds": [0, 7]}), tune)
    noise = toy.prepare().noise
    assert noise is not None
    assert fixed(noise) == [{"seed": 8}, {"seed": 9}]


def test_more_trials_extend_a_search_and_fewer_do_not(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path))
    toy.prepare()
    toy.work()
    before = toy.studies.search.get_trials()
    assert len(toy.prepare(3).search.get_trials()) == 6
    search = toy.prepare(8).search
    assert search.get_trials()[:6] == before
    assert search.user_attrs["slots"] == 8

    def better(attempt: Attempt) -> Outcome:
        return Outcome([100.0 + attempt.slot], 1.0)

    toy.work(better)
    assert sorted(by_slot(search)) == list(range(8))
    # What is repeated under other seeds is the new best, anew.
    confirm = toy.studies.confirm
    assert confirm is not None
    assert confirm.user_attrs["params"] == applied(by_slot(search)[7][0].params)
    assert [trial.value for trial in confirm.get_trials()] == [100.0, 101.0]


@pytest.mark.parametrize(
    ("changes", "inputs", "message"),
    [
        ({"space": {**LIST, "window": None}}, "digest", "space.lambda.low: found 0.003, now 0.01"),
        ({"objectives": [{"metric": "l1", "bucket": "50-60"}]}, "digest", "objectives: found"),
        ({"sampler": "gp"}, "digest", "sampler: found 'tpe', now 'gp'"),
        ({}, "other", "inputs: data, foundation or code were others"),
    ],
)
def test_a_study_of_another_definition_is_not_gone_on_with(
    tmp_path: Path, changes: dict[str, Any], inputs: str, message: str
) -> None:
    toy = Toy(*settings(tmp_path))
    toy.prepare()
    other = Toy(*settings(tmp_path, **changes), storage=toy.storage)
    with pytest.raises(ValueError, match="study lambda-radius: made with another search") as error:
        other.prepare(inputs=inputs)
    assert message in str(error.value)
    assert "ecdm tune remove" in str(error.value)
    # It stays as usable as it was.
    assert toy.work() is None
    assert len(toy.studies.search.get_trials()) == 6
    *known, confirmed = sorted(remove(toy.storage, toy.tune), key=lambda name: "confirm" in name)
    assert sorted(known) == ["lambda-radius", "lambda-radius-noise"]
    assert confirmed.startswith("lambda-radius-confirm-")
    assert len(other.prepare(inputs=inputs).search.get_trials()) == 6


def test_the_short_form_is_told_its_own_commands(tmp_path: Path) -> None:
    params, tune = settings(tmp_path)
    toy = Toy(params, tune.shortened())
    with pytest.raises(ValueError, match="`ecdm tune prepare --short`"):
        toy.work()
    toy.prepare()
    with pytest.raises(ValueError, match="`ecdm tune remove --short`"):
        toy.prepare(inputs="other")


def test_values_in_force_that_the_space_does_not_hold_are_left_out(tmp_path: Path) -> None:
    params, tune = settings(tmp_path)
    toy = Toy(overridden(params, {"sail.lambda": 0.0}), tune)
    assert [trial.user_attrs["origin"] for trial in toy.prepare().search.get_trials()][:2] == ["paper", "start"]


def test_what_was_given_up_is_tried_again_by_the_next_prepare(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path, trials=3, noise=0))
    toy.prepare()

    def broken(attempt: Attempt) -> Outcome:
        if attempt.slot == 1:
            raise RuntimeError("killed")
        return Outcome([1.0 + attempt.slot], 1.0)

    for _ in range(ATTEMPTS):
        with pytest.raises(RuntimeError):
            toy.work(broken)
    assert toy.work(broken) is None
    found = Findings(toy.studies)
    assert (found.given_up, found.done) == (1, True)
    assert "Given up, for they ended every worker: 1." in progress(found)
    toy.prepare()
    assert toy.work() is None
    assert len(toy.studies.search.get_trials(states=RESULTS)) == 3


def test_a_worker_killed_while_it_chose_leaves_the_papers_values(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path, trials=2, noise=0))
    search = toy.prepare().search
    # Of two values one is chosen.
    trial = search.ask({"sail.lambda": distributions(toy.tune.space)["sail.lambda"]})
    toy.storage.set_trial_state_values(trial._trial_id, state=optuna.trial.TrialState.FAIL)
    requeue(search, search.get_trials()[0])
    toy.work()
    assert by_slot(search)[0][1].params == {"sail.lambda": 0.1, "acda.radius": 4.0}


def test_somebody_elses_study_of_that_name_is_left_alone(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path))
    theirs = optuna.create_study(study_name="lambda-radius", storage=toy.storage, direction="minimize")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ValueError, match="study lambda-radius: made with another search"):
        toy.prepare()
    assert len(theirs.get_trials()) == 1
    assert theirs.user_attrs == {}


def test_a_search_that_is_not_there(tmp_path: Path) -> None:
    toy = Toy(*settings(tmp_path))
    with pytest.raises(
        ValueError, match="study lambda-radius: not found in the search storage; make it with `ecdm tune"
    ):
        toy.work()


def test_nothing_is_repeated_for_several_objectives(tmp_path: Path) -> None:
    goals = [{"metric": "psnr", "bucket": "50-60"}, {"metric": "sampling_flops", "bucket": None}]
    toy = Toy(*settings(tmp_path, objectives=goals, pruner="none", noise=2))
    studies = toy.prepare()
    assert studies.search.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert confirm(toy.storage, toy.params, toy.tune, studies).confirm is None


def test_start_points_fill_the_space_evenly_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    _, tune = settings(tmp_path, startup=16)
    points = start_points(tune)
    assert points == start_points(tune)
    assert points != start_points(tune.model_copy(update={"seed": 5}))
    radii = [point["acda.radius"] for point in points]
    # Of a Sobol sequence each half of the range gets its share, which chance alone would seldom give.
    assert 7 <= sum(radius <= 16 for radius in radii) <= 9
    assert all(
        0.003 <= point["sail.lambda"] <= 3 and radius % 1 == 0 for point, radius in zip(points, radii, strict=True)
    )


def test_lists_are_searched_too(tmp_path: Path) -> None:
    params, tune = settings(tmp_path, space={**LIST, "radius": None, "lr": None, "features": None, "domain": None})
    assert list(distributions(tune.space)) == ["sail.lambda", "acda.window"]
    assert published(params, distributions(tune.space)) == {"sail.lambda": 0.1, "acda.window": "circle"}
    assert {point["acda.window"] for point in start_points(tune.model_copy(update={"startup": 12}))} == {
        "circle",
        "square",
    }


def test_values_in_use_have_four_digits(tmp_path: Path) -> None:
    assert applied({"sail.lambda": 0.0123456, "acda.window": "circle", "seed": 3}) == {
        "sail.lambda": 0.01235, "acda.window": "circle", "seed": 3,
    }  # fmt: skip
    params, _ = settings(tmp_path)
    changed = overridden(params, {"sail.lambda": 0.01235, "acda.radius": 7.0})
    assert (changed.sail.lam, changed.acda.radius, changed.train) == (0.01235, 7.0, params.train)
    with pytest.raises(ValueError, match=r"acda\.radius: found 64"):
        overridden(params, {"acda.radius": 64.0})


def test_preparing_goes_on_where_another_was_killed(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    # A study that was created, and no more.
    optuna.create_study(study_name="lambda-radius", storage=storage, direction="maximize")
    toy = Toy(*settings(tmp_path), storage=storage)
    assert len(toy.prepare().search.get_trials()) == 6
