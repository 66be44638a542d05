from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from study_case import METHODS, settings

from ecdm.study.plan import Plan, make_plan
from ecdm.study.shares import count_shares, proportions, wilson
from ecdm.study.votes import Vote


def plan(**changes: object) -> Plan:
    return make_plan(settings(**changes), {number: "a caption" for number in range(1, 9)})


def votes_for(found: Plan, kind: str, people: list[str], method: str) -> list[Vote]:
    """A vote of each of the people for the method, on every question of the kind that shows it."""
    return [
        Vote(name, question.id, option.id)
        for name in people
        for question in found.questions
        for option in question.options
        if question.kind == kind and option.method == method
    ]


@pytest.mark.parametrize(("chosen", "shown"), [(0, 5), (1, 1), (3, 12), (87, 348), (348, 348)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(chosen: int, shown: int, level: float) -> None:
    expected = binomtest(chosen, shown).proportion_ci(level, method="wilson")
    assert wilson(chosen / shown, shown, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_by_hand_and_at_its_ends() -> None:
    # 1.959964² = 3.841459: (0.25 + 3.841459/24 ± 1.959964·√(0.25·0.75/12 + 3.841459/576)) / (1 + 3.841459/12)
    assert wilson(0.25, 12) == pytest.approx((0.088937, 0.532309), abs=1e-5)
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(1.0, 10)[1] == 1.0
    assert np.isnan(wilson(0.5, 0)).all()
    with pytest.raises(ValueError, match="level: found 1"):
        wilson(0.5, 10, 1.0)


def test_one_answer_each_gives_the_plain_interval() -> None:
    chosen = np.zeros((40, 2), dtype=int)
    chosen[:30, 0], chosen[30:, 1] = 1, 1
    found = proportions(chosen, np.ones((40, 2), dtype=int))
    # The variance between 40 people is 40/39 of the binomial one: the only difference to 40 independent answers.
    for interval, share in zip(found, (0.75, 0.25), strict=True):
        assert (interval.mean, interval.n) == (share, 40)
        assert (interval.low, interval.high) == pytest.approx(wilson(share, 39))


def test_people_who_always_answer_alike_count_once() -> None:
    chosen, shown = np.array([[12, 0], [12, 0], [12, 0], [0, 12], [0, 12]]), np.full((5, 2), 12)
    # Design effect by hand: 5/4 · (3·(4.8)² + 2·(7.2)²) / 60² over 0.6·0.4/60 = 15.
    for interval, share in zip(proportions(chosen, shown), (0.6, 0.4), strict=True):
        assert interval.mean == pytest.approx(share)
        assert (interval.low, interval.high) == pytest.approx(wilson(share, 60 / 15))


def test_people_who_agree_more_than_chance_do_not_narrow_the_interval() -> None:
    chosen, shown = np.full((6, 2), 5), np.full((6, 2), 10)
    for interval in proportions(chosen, shown):
        assert (interval.low, interval.high) == pytest.approx(wilson(0.5, 60))


def test_one_participant_and_unanimous_votes_and_empty_columns() -> None:
    alone = proportions([[3, 1, 0]], [[4, 4, 0]])
    assert (alone[0].low, alone[0].high) == pytest.approx(wilson(0.75, 4))
    assert alone[2].n == 0
    assert np.isnan([alone[2].mean, alone[2].low, alone[2].high]).all()
    unanimous = proportions([[4, 0], [4, 0]], [[4, 4], [4, 4]])
    assert (unanimous[0].low, unanimous[0].high) == pytest.approx(wilson(1.0, 8))


def test_coverage_is_near_the_level_with_correlated_answers() -> None:
    rng, inside, runs = np.random.default_rng(0), 0, 400
    for _ in range(runs):
        taste = rng.beta(1.5, 3.5, size=29)
        chosen = rng.binomial(12, taste)
        interval = proportions(chosen[:, None], np.full((29, 1), 12))[0]
        inside += interval.low <= 0.3 <= interval.high
    assert 0.91 <= inside / runs <= 0.99


def test_shares_of_known_votes() -> None:
    found = plan()
    text = votes_for(found, "text", ["a", "b", "c"], "ours") + votes_for(found, "text", ["d"], "sail")
    realism = votes_for(found, "realism", ["a"], "acda")
    counted = count_shares(found, text + realism)
    assert {method: counted.shares["text", method].mean for method in METHODS} == {
        "baseline": 0.0, "sail": 0.25, "acda": 0.0, "ours": 0.75,
    }  # fmt: skip
    assert counted.shares["text", "ours"].n == 12
    assert counted.shares["realism", "acda"].mean == 1.0
    assert counted.shares["realism", "acda"].n == 3
    assert (counted.participants, counted.complete, counted.votes) == (4, 1, 15)
    assert counted.pairs == {}


def test_pairwise_counts_only_questions_that_show_the_method() -> None:
    found = plan(mode="pairwise", count=12)
    everyone = ["a", "b", "c"]
    votes = votes_for(found, "text", everyone, "ours")
    for question in found.questions:
        methods = {option.method: option.id for option in question.options}
        if question.kind == "text" and set(methods) == {"sail", "acda"}:
            votes += [Vote("a", question.id, methods["sail"]), Vote("b", question.id, methods["sail"])]
            votes += [Vote("c", question.id, methods["acda"])]
    counted = count_shares(found, votes)
    assert counted.shares["text", "ours"].mean == 1.0
    assert counted.shares["text", "ours"].n == 9
    # Lost to ours three times, won two and one of three against each other.
    assert counted.shares["text", "sail"].mean == pytest.approx(2 / 6)
    assert counted.shares["text", "acda"].mean == pytest.approx(1 / 6)
    assert counted.pairs["text", "sail", "acda"].mean == pytest.approx(2 / 3)
    assert counted.pairs["text", "sail", "ours"].mean == 0.0
    assert counted.pairs["text", "sail", "ours"].n == 3
    assert counted.pairs["text", "baseline", "sail"].n == 0
    assert len(counted.pairs) == 2 * 6


def test_votes_that_do_not_belong_are_refused() -> None:
    found = plan()
    with pytest.raises(ValueError, match="votes: found none"):
        count_shares(found, [])
    with pytest.raises(ValueError, match="votes: found one on nothing"):
        count_shares(found, [Vote("a", "nothing", found.questions[0].options[0].id)])
    with pytest.raises(ValueError, match="expected ids of the plan"):
        count_shares(found, [Vote("a", found.questions[0].id, found.questions[1].options[0].id)])
