"""Shares of votes with intervals that count participants, not clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecdm.numerics.statistics import Interval
from ecdm.study.plan import KINDS, Kind, Plan
from ecdm.study.votes import Vote

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Shares:
    """What the votes say. `shares`: by question and method; `pairs`: of the first of two methods, pairwise mode only.

    `participants` gave at least one answer, `complete` of them all; `votes` is the number of answers.
    """

    shares: dict[tuple[Kind, str], Interval]
    pairs: dict[tuple[Kind, str, str], Interval]
    participants: int
    complete: int
    votes: int


def count_shares(plan: Plan, votes: Sequence[Vote], level: float = 0.95) -> Shares:
    """Share of a method: how often it was chosen, of all answers to questions that showed it.

    Raises: ValueError for no votes, and for a vote on a question or an option that the plan does not have.
    """
    if not votes:
        raise ValueError("votes: found none, expected at least one")
    people = {name: i for i, name in enumerate(sorted({vote.participant for vote in votes}))}
    methods, settings = plan.settings.methods, plan.settings
    place = {name: i for i, name in enumerate(methods)}
    beaten = {kind: np.zeros((len(people), len(methods), len(methods)), dtype=np.int64) for kind in KINDS}
    shown, chosen = ({kind: np.zeros((len(people), len(methods)), dtype=np.int64) for kind in KINDS} for _ in range(2))
    for vote in votes:
        question = plan.question(vote.question)
        winner = question.method_of(vote.option) if question else None
        if question is None or winner is None:
            raise ValueError(f"votes: found one on {vote.question}, {vote.option}, expected ids of the plan")
        who, others = people[vote.participant], [place[option.method] for option in question.options]
        chosen[question.kind][who, place[winner]] += 1
        shown[question.kind][who, others] += 1
        beaten[question.kind][who, place[winner], others] += 1
    shares: dict[tuple[Kind, str], Interval] = {}
    pairs: dict[tuple[Kind, str, str], Interval] = {}
    for kind in KINDS:
        found = proportions(chosen[kind], shown[kind], level)
        shares |= {(kind, name): interval for name, interval in zip(methods, found, strict=True)}
        if settings.mode == "pairwise":
            pairs |= _pairs(kind, methods, beaten[kind], level)
    answers = np.unique([vote.participant for vote in votes], return_counts=True)[1]
    complete = int((answers == len(plan.questions)).sum())
    return Shares(shares, pairs, len(people), complete, len(votes))


def _pairs(kind: Kind, methods: Sequence[str], beaten: Counts, level: float) -> dict[tuple[Kind, str, str], Interval]:
    every = list(combinations(range(len(methods)), 2))
    won = np.stack([beaten[:, a, b] for a, b in every], axis=1)
    lost = np.stack([beaten[:, b, a] for a, b in every], axis=1)
    found = proportions(won, won + lost, level)
    return {(kind, methods[a], methods[b]): interval for (a, b), interval in zip(every, found, strict=True)}


def proportions(chosen: ArrayLike, shown: ArrayLike, level: float = 0.95) -> list[Interval]:
    """Proportions with Wilson's score intervals on the effective number of answers, as surveys use them.

    `chosen`, `shown`: (participants, columns), counts, 0 <= chosen <= shown. The effective number is the number of
    answers over the design effect of asking each participant several times, at least 1; it is pooled over the
    columns, for one alone is too noisy at a few dozen participants (Korn and Graubard 1998; Rao and Scott 1984).
    One participant, or one answer each: the plain interval (Wilson 1927). A column without answers is NaN.
    """
    wins, counts = np.asarray(chosen, dtype=np.float64), np.asarray(shown, dtype=np.float64)
    total = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = wins.sum(axis=0) / total
        effect = _design_effect(wins, counts, share)
    return [
        Interval(float(p), *wilson(float(p), float(n) / effect, level), int(n))
        for p, n in zip(share, total, strict=True)
    ]


def _design_effect(wins: NDArray[np.float64], counts: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Variance between participants (linearised ratio) over the variance of independent answers, at least 1."""
    people, total = len(wins), counts.sum(axis=0)
    used = total > 0
    independent = float((share * (1 - share) / total)[used].sum())
    if people < 2 or not independent:
        return 1.0
    residuals = (wins - share * counts)[:, used]
    between = float((people / (people - 1) * (residuals**2).sum(axis=0) / total[used] ** 2).sum())
    return max(1.0, between / independent)


def wilson(share: float, answers: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion over `answers` independent answers, which need not be whole.

    NaN where there are none. Raises: ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a number between 0 and 1")
    if not answers:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, scale = share + z**2 / (2 * answers), 1 + z**2 / answers
    half = z * sqrt(share * (1 - share) / answers + z**2 / (4 * answers**2))
    # At 0 and 1 an end is the proportion itself, which rounding may miss.
    return max(0.0, min(share, (centre - half) / scale)), min(1.0, max(share, (centre + half) / scale))
