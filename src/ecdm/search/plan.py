"""The studies of a search, and their trials, which are all made in advance and wait for a worker.

A slot is a place in a study that one trial fills in the end. An attempt that is lost, to a killed or reclaimed worker,
stays as a failed trial, and a new one waits in its slot; so the slots, not Optuna's trials, are counted.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState, create_trial

from ecdm.config import Params
from ecdm.search.findings import RESULTS, Studies, best, slot_of
from ecdm.search.settings import Tune
from ecdm.search.space import Values, applied, directions, distributions, present, published, start_points

SEED = {"seed": IntDistribution(1, 2**31 - 1)}
GOING = (TrialState.WAITING, TrialState.RUNNING)
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
    current = present(params, keys)
    if current != slots[0][1] and all(_within(current[key], span) for key, span in keys.items()):
        slots.append(("current", current))
    slots += [("start", point) for point in start_points(tune)]
    slots += [("sampler", {})] * trials
    return [Slot(number, *slot) for number, slot in enumerate(slots[:trials])]


def _within(value: Any, span: BaseDistribution) -> bool:
    try:
        return span._contains(span.to_internal_repr(value))
    except ValueError:
        return False


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
    for study in phases(load(storage, tune)):
        refill(study, anew=True)
    if count > int(search.user_attrs.get("slots", 0)):
        # In this order: where one is killed in between, the next fills what is missing.
        _fill(search, search_slots(params, tune, count))
        search.set_user_attr("slots", count)
    return load(storage, tune)


def load(storage: BaseStorage, tune: Tune) -> Studies:
    """The studies of a search; raises ValueError where there is none."""
    known = storage.get_all_studies()
    names = {study.study_name for study in known}
    if tune.study not in names:
        raise ValueError(
            f"study {tune.study}: not found in the search storage; make it with `ecdm tune prepare{tune.option}`"
        )

    def one(name: str) -> Study | None:
        return optuna.load_study(study_name=name, storage=storage) if name in names else None

    search = one(tune.study)
    assert search is not None
    # The newest, where more trials have found better values than an earlier one repeats.
    repeating = [study for study in known if study.study_name.startswith(_confirmed(tune))]
    confirmed = max(repeating, default=None, key=_age)
    return Studies(search, one(f"{tune.study}-noise"), one(confirmed.study_name) if confirmed else None)


def check(studies: Studies, params: Params, tune: Tune, inputs: str) -> None:
    """Raise ValueError where the search was made with another definition than the one at hand."""
    _same(studies.search, definition(params, tune, inputs), tune)


def confirm(storage: BaseStorage, params: Params, tune: Tune, studies: Studies) -> Studies:
    """Make the study that repeats the best values under the noise study's seeds, once the search is done.

    None is made for several objectives, without seeds, and where the paper's values are the best.
    """
    found = None if len(tune.objectives) > 1 or not tune.noise else best(studies.search)
    if found is None or int(found.user_attrs.get("slot", -1)) == 0:
        return studies
    known, paper = studies.search.user_attrs["definition"], studies.search.user_attrs["paper"]
    values = applied(found.params)
    # Other values, another study: after more trials have found something better, these seeds are not its.
    name = f"{_confirmed(tune)}{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]}"
    study = _study(storage, tune, name, "confirm", known, paper, values)
    _fill(study, seed_slots(params, tune))
    return load(storage, tune)


def finished(storage: BaseStorage, tune: Tune) -> int:
    """How many trials of a search have a result; 0 where there is no such study."""
    names = {study.study_name for study in storage.get_all_studies()}
    if tune.study not in names:
        return 0
    studies = phases(load(storage, tune))
    return sum(len(study.get_trials(deepcopy=False, states=RESULTS)) for study in studies)


def remove(storage: BaseStorage, tune: Tune) -> list[str]:
    """Delete the studies of a search; returns their names."""
    names = [study.study_name for study in storage.get_all_studies()]
    both = (tune.study, f"{tune.study}-noise")
    ours = [name for name in names if name in both or name.startswith(_confirmed(tune))]
    for name in ours:
        optuna.delete_study(study_name=name, storage=storage)
    return ours


def phases(studies: Studies) -> list[Study]:
    """The studies in the order in which they are worked on: noise first, for it says what a difference is worth."""
    return [study for study in (studies.noise, studies.search, studies.confirm) if study is not None]


def space_of(study: Study, tune: Tune) -> dict[str, BaseDistribution]:
    """What the trials of a study choose."""
    return distributions(tune.space) if study.user_attrs["phase"] == "search" else dict(SEED)


def requeue(study: Study, trial: FrozenTrial, counted: bool = True, anew: bool = False) -> bool:
    """Let a new trial wait in the slot of a lost one, with the values that were chosen for it.

    False for a slot that has lost `ATTEMPTS` already; what is no fault of the trial is not `counted`, and `anew` the
    count starts again.
    """
    lost = 0 if anew else int(trial.user_attrs.get("lost", 0)) + counted
    if lost >= ATTEMPTS:
        return False
    # Of a worker killed while it chose them, some are chosen and the others fixed.
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    _wait(study, Slot(slot_of(trial), trial.user_attrs["origin"], values), lost)
    return True


def refill(study: Study, anew: bool = False) -> int:
    """Let a trial wait in every slot whose last attempt was lost together with the one who should have requeued it.

    `anew`: also in those that were given up. Returns how many.
    """
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        slots.setdefault(slot_of(trial), []).append(trial)
    lost = [tries[-1] for tries in slots.values() if all(one.state == TrialState.FAIL for one in tries)]
    return sum(requeue(study, trial, anew=anew) for trial in lost)


def superseded(study: Study, trial: FrozenTrial) -> bool:
    """Whether another trial fills the same slot, of two that two workers made at once the first."""
    others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, *RESULTS))
    same = [one for one in others if slot_of(one) == slot_of(trial) and one.number != trial.number]
    return any(one.state in RESULTS or one.number < trial.number for one in same)


def _confirmed(tune: Tune) -> str:
    """How the names of the studies begin that repeat best values."""
    return f"{tune.study}-confirm-"


def _age(study: FrozenStudy) -> int:
    return study._study_id


def _study(
    storage: BaseStorage,
    tune: Tune,
    name: str,
    phase: str,
    known: Mapping[str, Any],
    paper: Values,
    values: Values | None = None,
) -> Study:
    attributes = {
        "phase": phase,
        "params": values,
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
            _same(study, known, tune)
            return study
    # What counts as made comes last, so that one who was killed in between leaves nothing half made.
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return study


def _same(study: Study, known: Mapping[str, Any], tune: Tune) -> None:
    stored = study.user_attrs.get("definition")
    for key, found, expected in _differences(stored or {}, known):
        what = f"found {found!r}, now {expected!r}"
        if key == "inputs":
            what = "data, foundation or code were others"
        raise ValueError(
            f"study {study.study_name}: made with another search: {key}: {what}; give tune.study another name, or "
            f"delete the study with `ecdm tune remove{tune.option}`"
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
