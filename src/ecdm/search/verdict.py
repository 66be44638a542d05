"""Whether the best values of a search beat the paper's beyond noise.

The best of many noisy trials looks better than it is. So the search's own values decide nothing here: the best
values and the paper's are run again under the same seeds, none of which the search has used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ecdm.search.findings import Findings, Studies, slot_of
from ecdm.search.labels import number, settings, unit
from ecdm.search.space import applied

BETTER, OPEN, WORSE, PAPER, UNKNOWN = "better", "not apart", "worse", "paper", "unknown"
LEVEL = 0.95
ENDS = {
    BETTER: "better than the paper's values beyond noise",
    OPEN: "not apart from noise",
    WORSE: "worse than the paper's values beyond noise",
}


@dataclass(frozen=True)
class Verdict:
    """The answer: `word` is better, not apart, worse, paper (its values are the best) or unknown.

    `mean`, `low`, `high`: best minus paper's values on the first objective, paired by seed, with the Student-t
    interval at `level`; None where unknown. `noise_sd`: of the paper's values over `noise_seeds` seeds.
    """

    word: str
    sentence: str
    level: float
    seeds: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    noise_sd: float | None = None
    noise_seeds: int = 0


def verdict(studies: Studies) -> Verdict:
    """Compare the best values with the paper's over the seeds that both have; unknown with fewer than two."""
    return judge(Findings(studies))


def judge(found: Findings) -> Verdict:
    """`verdict` of what was found already."""
    level = float(found.search.user_attrs.get("level", LEVEL))
    open_yet = Verdict(UNKNOWN, "", level, noise_sd=found.noise.sd(), noise_seeds=len(found.noise.values))
    if found.best is not None and not found.several and slot_of(found.best) == 0:
        return replace(open_yet, word=PAPER, sentence=_unbeaten(found))
    reason = _undecided(found)
    return replace(open_yet, sentence=reason) if reason else _compared(found, open_yet)


def student_interval(values: ArrayLike, level: float) -> tuple[float, float, float]:
    """Mean and both ends of its Student-t interval; `values` (n,), n >= 2, `level` in (0, 1)."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2 or not 0 < level < 1:
        raise ValueError(f"interval: found shape {sample.shape}, level {level}, expected (n >= 2,), 0 < level < 1")
    mean = float(sample.mean())
    reach = float(stats.t.ppf((1 + level) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return mean, mean - reach, mean + reach


def _compared(found: Findings, open_yet: Verdict) -> Verdict:
    seeds, name = _common(found), found.names[0]
    before, after = (np.array([part.values[seed][0] for seed in seeds]) for part in (found.noise, found.confirm))
    mean, low, high = student_interval(after - before, open_yet.level)
    word = OPEN if low <= 0 <= high else BETTER if (low > 0) == found.higher[0] else WORSE
    change = f"{number(name, mean, '+')} [{number(name, low, '+')}, {number(name, high, '+')}]{unit(name)}"
    sentence = (
        f"The best values ({settings(found.confirm.params)}) {'lower' if mean < 0 else 'raise'} {name} from "
        f"{number(name, before.mean())} to {number(name, after.mean())}{unit(name)}: {change} over {len(seeds)} "
        f"seeds that the search has not used; {ENDS[word]}."
    )
    return replace(open_yet, word=word, sentence=sentence, seeds=len(seeds), mean=mean, low=low, high=high)


def _common(found: Findings) -> list[int]:
    return [seed for seed in found.noise.values if seed in found.confirm.values]


def _unbeaten(found: Findings) -> str:
    rivals, kept = len(found.allowed) - 1, settings(applied(found.search.user_attrs["paper"]))
    so_far = "" if len(found.results) == found.slots else f" so far, {_progress(found)}"
    if not rivals:
        return f"No trial but that of the paper's values ({kept}) is complete{so_far}."
    others = (
        "The only other complete trial does not do" if rivals == 1 else f"None of {rivals} other complete trials does"
    )
    return f"{others} better on {found.names[0]} than the paper's values ({kept}){so_far}."


def _progress(found: Findings) -> str:
    return f"with {len(found.results)} of {found.slots} trials done"


def _undecided(found: Findings) -> str | None:
    """Why there is no answer, if so."""
    if found.best is None:
        return f"Not known yet: no trial has a complete result that is allowed, {_progress(found)}."
    if found.several:
        count = len(found.front)
        are = "forms" if count == 1 else "form"
        return (
            f"No single trial is best for {len(found.names)} objectives: {count} of {len(found.complete)} complete "
            f"trials {are} the Pareto front{'' if found.done else ', ' + _progress(found)}."
        )
    seen = f"Not known whether the best values ({settings(applied(found.best.params))}) beat the paper's"
    if not found.done:
        return f"{seen}: the search goes on, {_progress(found)}."
    if found.studies.confirm is None:
        return f"{seen}: they were not repeated under other seeds, and the best of many noisy trials looks too good."
    if found.confirm.params != applied(found.best.params):
        return f"{seen}: other ones were repeated under other seeds ({settings(found.confirm.params)})."
    count = len(_common(found))
    if count < 2:
        return f"{seen}: found {count} seed{'' if count == 1 else 's'} that both have, and an interval needs two."
    return None
