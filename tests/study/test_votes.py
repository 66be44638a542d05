from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from study_case import settings

from ecdm.study.plan import Plan, make_plan
from ecdm.study.votes import Vote, Votes


def plan(seed: int = 7) -> Plan:
    return make_plan(settings(seed=seed), {number: "a caption" for number in range(1, 9)})


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def votes(tmp_path: Path) -> Votes:
    return Votes(tmp_path / "votes.sqlite", plan())


def test_the_last_vote_counts_and_every_edit_is_kept(votes: Votes) -> None:
    question = votes.plan.questions[0]
    first, second = question.options[0].id, question.options[1].id
    assert [votes.cast(Vote("ann", question.id, option)) for option in (first, second, second, first)] == [
        True, True, False, True,
    ]  # fmt: skip
    votes.cast(Vote("ben", question.id, second))
    assert votes.of("ann") == {question.id: first}
    assert votes.all() == [Vote("ann", question.id, first), Vote("ben", question.id, second)]
    kept = rows(votes.path, "SELECT participant, option FROM history ORDER BY id")
    assert kept == [("ann", first), ("ann", second), ("ann", first), ("ben", second)]
    assert votes.revision() == 4


def test_votes_are_there_when_opened_again(votes: Votes) -> None:
    question = votes.plan.questions[3]
    votes.cast(Vote("ann", question.id, question.options[2].id))
    again = Votes(votes.path, plan())
    assert again.of("ann") == {question.id: question.options[2].id}
    assert rows(votes.path, "PRAGMA journal_mode") == [("wal",)]


def test_nothing_else_is_stored(votes: Votes) -> None:
    tables = rows(votes.path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    assert sorted(tables) == [("history",), ("study",)]
    columns = rows(votes.path, "SELECT name FROM pragma_table_info('history')")
    assert columns == [("id",), ("participant",), ("question",), ("option",)]


def test_what_the_study_does_not_have_is_refused_and_not_written(votes: Votes) -> None:
    one, other = votes.plan.questions[:2]
    for vote in (
        Vote("ann", "nothing", one.options[0].id),
        Vote("ann", one.id, "nothing"),
        Vote("ann", one.id, other.options[0].id),
        Vote("ann", one.id, one.input),
    ):
        with pytest.raises(LookupError):
            votes.cast(vote)
    assert votes.all() == []
    assert votes.revision() == 0


def test_another_plan_and_another_file_are_refused(votes: Votes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"found votes on plan {plan().digest[:12]}, expected on plan"):
        Votes(votes.path, plan(seed=8))
    (tmp_path / "text.sqlite").write_text("this is no database, it is text " * 100, encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.sqlite: expected a database of votes"):
        Votes(tmp_path / "text.sqlite", plan())


def test_threads_on_one_question_leave_one_vote_and_all_edits(votes: Votes) -> None:
    question = votes.plan.questions[0]
    options = [option.id for option in question.options]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda i: votes.cast(Vote("ann", question.id, options[i % 4])), range(80)))
    assert len(votes.all()) == 1
    assert rows(votes.path, "SELECT count(*) FROM history") == [(sum(written),)]
    pairs = rows(votes.path, "SELECT a.option, b.option FROM history a JOIN history b ON b.id = a.id + 1")
    # Looking and writing are one transaction: no vote follows its equal.
    assert all(before != after for before, after in pairs)
