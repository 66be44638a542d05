"""The studies of a search, and their trials, which are all made in advance and wait for a worker.

A slot is a place in a study that one trial fills in the end. An attempt that is lost, to a killed or reclaimed worker,
stays as a failed trial, and a new one waits in its slot; so the slots, not Optuna's trials, are counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ecdm.config import Params
from ecdm.search.findings import Studies, best, slot_of
from ecdm.search.settings import Tune
from ecdm.search.space import Values, applied, directions, distributions, present, published, start_points

SEED = {"seed": IntDistribution(1, 2**31 - 1)}
GOING = (TrialState.WAITING, TrialState.RUNNING)
RESULTS = (TrialState.COMPLETE, TrialState.PRUNED)
# A slot whose attempts fail so often is given up: what kills every worker is no accident.
ATTEMPTS = 4


@dataclass(frozen=True)
class Slot:
    """What waits in a slot: values that are fixed, if any, and where they come from."""

    number: int
    origin: str
    values: Values


def definition(params: Params, tune: Tune, inputs: str) -> dict[str, Any]:
    """All that a trial's result depends on beside its values; studies of another definition are not gone on with.

    `inputs`: digest of the data, the foundation and the code that trials read.
    """
    left_out = {"study", "storage", "trials", "heartbeat", "grace", "short"}
    read = ("seed", "threads", "seeds", "sail", "acda", "train", "generate")
    whole = params.model_dump(by_alias=True, mode="json")
    return {
        **tune.model_dump(by_alias=True, mode="json", exclude=left_out),
        "params": {name: whole[name] for name in read},
        "perceptual": params.evaluate.perceptual,
        "level": params.evaluate.level,
        "inputs": inputs,
    }


def search_slots(params: Params, tune: Tune, trials: int) -> list[Slot]:
    """The paper's values, those of params.yaml where they differ, quasi-random points, and room for the sampler."""
    keys = distributions(tune.space)
    slots = [("paper", published(params, keys))]
    if (current := present(params, keys)) != slots[0][1]:
        slots.append(("current", current))
    slots += [("start", point) for point in start_points(tune)]
    slots += [("sampler", {})] * trials
    return [Slot(number, *slot) for number, slot in enumerate(slots[:trials])]


def seed_slots(params: Params, tune: Tune) -> list[Slot]:
    """The training seeds under which the same values are repeated; none of them is one of `seeds`."""
    first = max(params.seeds) + 1
    return [Slot(number, "seed", {"seed": first + number}) for number in range(tune.noise)]


def prepare(storage: BaseStorage, params: Params, tune: Tune, inputs: str, trials: int | None = None) -> Studies:
    """Make the studies of a search and noise, or go on with them; `trials` more than there are extend the search.

    Raises: ValueError where a study of this name was made with another definition, naming the first difference.
    """
    known = definition(params, tune, inputs)
    paper = published(params, distributions(tune.space))
    count = tune.trials if trials is None else trials
    search = _study(storage, tune, tune.study, "search", known, paper)
    if tune.noise:
        noise = _study(storage, tune, f"{tune.study}-noise", "noise", known, paper)
        _fill(noise, seed_slots(params, tune))
    if count > int(search.user_attrs.get("slots", 0)):
        search.set_user_attr("slots", count)
        _fill(search, search_slots(params, tune, count))
    return load(storage, tune)


def load(storage: BaseStorage, tune: Tune) -> Studies:
    """The studies of a search; raises ValueError where there is none."""
    names = {study.study_name for study in storage.get_all_studies()}
    if tune.study not in names:
        raise ValueError(f"study {tune.study}: not found in the search storage; make it with `ecdm tune prepare`")

    def one(name: str) -> Study | None:
        return optuna.load_study(study_name=name, storage=storage) if name in names else None

    search = one(tune.study)
    assert search is not None
    return Studies(search, one(f"{tune.study}-noise"), one(f"{tune.study}-confirm"))


def check(studies: Studies, params: Params, tune: Tune, inputs: str) -> None:
    """Raise ValueError where the search was made with another definition than the one at hand."""
    _same(studies.search, definition(params, tune, inputs))


def confirm(storage: BaseStorage, params: Params, tune: Tune, studies: Studies) -> Studies:
    """Make the study that repeats the best values under the noise study's seeds, once the search is done.

    None is made for several objectives, without seeds, and where the paper's values are the best. One that repeats
    other values, from before the search was extended, is made anew.
    """
    found = None if len(tune.objectives) > 1 or not tune.noise else best(studies.search)
    if found is None or int(found.user_attrs.get("slot", -1)) == 0:
        return studies
    known, paper = studies.search.user_attrs["definition"], studies.search.user_attrs["paper"]
    name, values = f"{tune.study}-confirm", applied(found.params)
    old = studies.confirm
    if old is not None and old.user_attrs.get("params", values) != values:
        # More trials have found something better, whose seeds these are not.
        optuna.delete_study(study_name=name, storage=storage)
    study = _study(storage, tune, name, "confirm", known, paper)
    study.set_user_attr("params", values)
    _fill(study, seed_slots(params, tune))
    return load(storage, tune)


def remove(storage: BaseStorage, tune: Tune) -> list[str]:
    """Delete the studies of a search; returns their names."""
    names = [study.study_name for study in storage.get_all_studies()]
    ours = [name for name in (tune.study, f"{tune.study}-noise", f"{tune.study}-confirm") if name in names]
    for name in ours:
        optuna.delete_study(study_name=name, storage=storage)
    return ours


def phases(studies: Studies) -> list[Study]:
    """The studies in the order in which they are worked on: noise first, for it says what a difference is worth."""
    return [study for study in (studies.noise, studies.search, studies.confirm) if study is not None]


def space_of(study: Study, tune: Tune) -> dict[str, BaseDistribution]:
    """What the trials of a study choose."""
    return distributions(tune.space) if study.user_attrs["phase"] == "search" else dict(SEED)


def requeue(study: Study, trial: FrozenTrial, counted: bool = True) -> bool:
    """Let a new trial wait in the slot of a lost one, with the values that were chosen for it.

    False for a slot that has lost `ATTEMPTS` already; a reclaimed worker is not `counted`.
    """
    lost = int(trial.user_attrs.get("lost", 0)) + counted
    if lost >= ATTEMPTS:
        return False
    values = trial.params or trial.system_attrs.get("fixed_params", {})
    _wait(study, Slot(slot_of(trial), trial.user_attrs["origin"], values), lost)
    return True


def refill(study: Study) -> int:
    """Let a trial wait in every slot whose last attempt was lost together with the one who should have requeued it.

    Returns how many.
    """
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        slots.setdefault(slot_of(trial), []).append(trial)
    lost = [tries[-1] for tries in slots.values() if all(one.state == TrialState.FAIL for one in tries)]
    return sum(requeue(study, trial) for trial in lost)


def superseded(study: Study, trial: FrozenTrial) -> bool:
    """Whether another trial fills the same slot, of two that two workers made at once the first."""
    others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, *RESULTS))
    same = [one for one in others if slot_of(one) == slot_of(trial) and one.number != trial.number]
    return any(one.state in RESULTS or one.number < trial.number for one in same)


def _study(storage: BaseStorage, tune: Tune, name: str, phase: str, known: Mapping[str, Any], paper: Values) -> Study:
    attributes = {
        "phase": phase,
        "objectives": [goal.model_dump() for goal in tune.objectives],
        "paper": paper,
        "level": known["level"],
        "definition": dict(known),
        # Tells a study from an earlier one of its name.
        "made": uuid.uuid4().hex,
    }
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=directions(tune))
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        if "made" in study.user_attrs or study.get_trials(deepcopy=False):
            _same(study, known)
            return study
    # What counts as made comes last, so that one who was killed in between leaves nothing half made.
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return study


def _same(study: Study, known: Mapping[str, Any]) -> None:
    stored = study.user_attrs.get("definition")
    for key, found, expected in _differences(stored or {}, known):
        what = f"found {found!r}, now {expected!r}"
        if key == "inputs":
            what = "data, foundation or code were others"
        raise ValueError(
            f"study {study.study_name}: made with another search: {key}: {what}; give tune.study another name, or "
            f"delete the study with `ecdm tune remove`"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys((*old, *new)):
        found, expected = old.get(key), new.get(key)
        if isinstance(found, Mapping) and isinstance(expected, Mapping):
            yield from _differences(found, expected, f"{prefix}{key}.")
        elif found != expected:
            yield f"{prefix}{key}", found, expected


def _fill(study: Study, slots: Iterable[Slot]) -> None:
    filled = {slot_of(trial) for trial in study.get_trials(deepcopy=False)}
    for slot in slots:
        if slot.number not in filled:
            _wait(study, slot, 0)


def _wait(study: Study, slot: Slot, lost: int) -> None:
    attributes = {"slot": slot.number, "origin": slot.origin, "lost": lost}
    fixed = {"fixed_params": dict(slot.values)}
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=fixed, user_attrs=attributes))
