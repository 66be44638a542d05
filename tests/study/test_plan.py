from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from study_case import METHODS, settings

from ecdm.study.plan import KINDS, Plan, Question, make_plan

CAPTIONS = {number: f"caption {number}" for number in range(1, 41)}
SEVEN = ("glide", "blended", "sd", "controlnet", "unipaint", "copaint", "ours")


def plan(**changes: object) -> Plan:
    return make_plan(settings(**changes), CAPTIONS)


def spread(questions: list[Question], methods: tuple[str, ...], places: int) -> int:
    """Largest difference between counts of (method, position)."""
    counts = Counter((option.method, i) for question in questions for i, option in enumerate(question.options))
    found = [counts[method, i] for method in methods for i in range(places)]
    return max(found) - min(found)


def test_a_seed_fixes_the_plan_and_another_one_changes_it() -> None:
    assert plan(seed=3) == plan(seed=3)
    assert plan(seed=3).text() == plan(seed=3).text()
    one, other = plan(seed=3, count=40), plan(seed=4, count=40)
    assert [q.image for q in one.questions] != [q.image for q in other.questions]
    orders = [[[o.method for o in q.options] for q in p.questions] for p in (one, other)]
    assert orders[0] != orders[1]


def test_every_image_is_asked_both_ways_and_shown_once() -> None:
    found = plan(count=20)
    assert Counter(q.kind for q in found.questions) == {"text": 10, "realism": 10}
    assert len({q.image for q in found.questions}) == 10
    assert [q.kind for q in found.questions[:2]] == list(KINDS)
    assert found.questions[0].image == found.questions[1].image
    assert all(q.caption == CAPTIONS[q.image] for q in found.questions)


@pytest.mark.parametrize("methods", [METHODS[:2], METHODS[:3], METHODS, SEVEN])
@pytest.mark.parametrize("pairs", [1, 3, 5, 6, 13, 40])
def test_choice_puts_each_method_equally_often_in_each_position(methods: tuple[str, ...], pairs: int) -> None:
    for seed in range(5):
        found = list(plan(methods=methods, count=2 * pairs, seed=seed).questions)
        assert all(sorted(o.method for o in q.options) == sorted(methods) for q in found)
        for kind in KINDS:
            assert spread([q for q in found if q.kind == kind], methods, len(methods)) <= 1
        assert spread(found, methods, len(methods)) <= 1


@pytest.mark.parametrize("methods", [METHODS[:2], METHODS[:3], METHODS, SEVEN])
@pytest.mark.parametrize("pairs", [1, 3, 5, 6, 13, 40])
def test_pairwise_balances_pairs_and_sides(methods: tuple[str, ...], pairs: int) -> None:
    for seed in range(5):
        found = list(plan(mode="pairwise", methods=methods, count=2 * pairs, seed=seed).questions)
        for kind in KINDS:
            asked = [q for q in found if q.kind == kind]
            counts = Counter(frozenset(o.method for o in q.options) for q in asked)
            every = [counts[frozenset(pair)] for pair in combinations(methods, 2)]
            assert sum(every) == pairs
            assert max(every) - min(every) <= 1
            sides = Counter((o.method, i) for q in asked for i, o in enumerate(q.options))
            assert all(abs(sides[method, 0] - sides[method, 1]) <= 1 for method in methods)
        both = Counter((o.method, i) for q in found for i, o in enumerate(q.options))
        assert all(both[method, 0] == both[method, 1] for method in methods)


def test_ids_are_all_different_and_say_nothing() -> None:
    found = plan(count=40)
    ids = [name for q in found.questions for name in (q.id, q.input, *(o.id for o in q.options))]
    assert len(ids) == len(set(ids)) == 40 * 6
    assert all(re.fullmatch(r"[2-9b-df-hj-np-tv-z]{13}", name) for name in ids)
    assert not {name for q in plan(count=40, seed=8).questions for name in (q.id, q.input)} & set(ids)
    # The smallest id of a question belongs to each method about equally often.
    first = Counter(min(q.options, key=lambda o: o.id).method for q in found.questions)
    assert set(first) == set(METHODS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 5}, "count"),
        ({"count": 0}, "count"),
        ({"methods": ("ours",)}, "methods: found ours, expected 2 to 9 different methods"),
        ({"methods": ("ours", "ours")}, "methods: found ours, ours"),
        ({"methods": ("ours", "Ours")}, "methods: found ours, Ours, expected 2 to 9 different methods"),
        ({"methods": tuple("abcdefghij")}, "expected 2 to 9"),
        ({"seed": -1}, "seed"),
        ({"mode": "ranking"}, "mode"),
        ({"methods": ("../ours", "sail")}, r"methods\.0"),
        ({"dataset": "../photos"}, "dataset"),
        ({"bucket": ""}, "bucket"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="found 40 images, expected 41 for 82 questions"):
        plan(count=82)


def test_a_plan_survives_its_file_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        Plan.read(path)
    path.write_text(plan().text(), encoding="utf-8")
    assert Plan.read(path) == plan()
    assert Plan.read(path).digest == plan().digest != plan(seed=1).digest
    content = json.loads(plan().text())
    del content["questions"][1]["options"][0]["method"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan\.json: questions\.1\.options\.0\.method: Field required"):
        Plan.read(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan\.json: content: Invalid JSON"):
        Plan.read(path)
