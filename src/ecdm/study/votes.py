"""Votes of a study in SQLite: every edit is kept, the last one counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ecdm.study.plan import Plan

VOTES = "votes.sqlite"
BUSY_SECONDS = 30.0
# One vote per participant and question follows from the view: an edit is a new row, and the newest is the vote.
SCHEMA = """
CREATE TABLE IF NOT EXISTS study (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), plan TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    participant TEXT NOT NULL,
    question TEXT NOT NULL,
    option TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS history_of ON history (participant, question);
CREATE VIEW IF NOT EXISTS votes AS SELECT participant, question, option FROM history
    WHERE id IN (SELECT max(id) FROM history GROUP BY participant, question);
"""


class Vote(NamedTuple):
    """Who chose which option of which question."""

    participant: str
    question: str
    option: str


class Votes:
    """The votes on one plan; safe for several threads and processes, since every call has its own connection.

    Written votes outlive the process and the machine: write-ahead log, synced at each commit.
    Raises: ValueError for a file that is no database of votes or that holds the votes on another plan.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        try:
            with self._connect() as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
                database.execute("INSERT OR IGNORE INTO study VALUES (1, ?)", (plan.digest,))
                known = database.execute("SELECT plan FROM study").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: expected a database of votes, found one that cannot be used: {error}") from error
        if known != plan.digest:
            raise ValueError(f"{path}: found votes on plan {known[:12]}, expected on plan {plan.digest[:12]}")

    def cast(self, vote: Vote) -> bool:
        """Write a vote; False where it stands already.

        Raises: LookupError for a question or an option that the study does not have.
        """
        question = self.plan.question(vote.question)
        if question is None or question.method_of(vote.option) is None:
            raise LookupError("no such question or option")
        with self._connect() as database, _transaction(database):
            of = "FROM votes WHERE participant = ? AND question = ?"
            if database.execute(f"SELECT option {of}", vote[:2]).fetchone() == (vote.option,):
                return False
            database.execute("INSERT INTO history (participant, question, option) VALUES (?, ?, ?)", vote)
        return True

    def of(self, participant: str) -> dict[str, str]:
        """Chosen options of a participant by question."""
        with self._connect() as database:
            chosen = "SELECT question, option FROM votes WHERE participant = ?"
            return dict(database.execute(chosen, (participant,)).fetchall())

    def all(self) -> list[Vote]:
        """Every vote that counts, in an order that does not depend on when it came."""
        with self._connect() as database:
            every = "SELECT participant, question, option FROM votes ORDER BY participant, question"
            return [Vote(*row) for row in database.execute(every)]

    def revision(self) -> int:
        """A number that grows with every vote and edit; 0 before the first."""
        with self._connect() as database:
            return int(database.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0])

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = FULL")
            yield database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    # Immediate: the question whether a vote stands and its writing must see the same state.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
