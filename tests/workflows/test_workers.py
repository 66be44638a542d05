"""The numbers of a search are checked before any runner searches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Command = Callable[..., tuple[int, str]]


@pytest.mark.parametrize(("workers", "listed"), [("1", "[1]"), ("3", "[1, 2, 3]")])
def test_workers_become_the_matrix(workers: str, listed: str, command: Command) -> None:
    assert command("workers", workers, "64", "1440") == (0, f"workers={listed}\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("0", "64", "600"), "workers: found '0', expected a whole number from 1 to 256"),
        (("257", "64", "600"), "workers: found '257', expected a whole number from 1 to 256"),
        (("2", "1.5", "600"), "trials: found '1.5', expected a whole number from 1 to 100000"),
        (("2", "-1", "600"), "trials: found '-1', expected a whole number from 1 to 100000"),
        (("2", "64", "1441"), "timeout: found '1441', expected a whole number from 1 to 1440"),
        (("2", "64", ""), "timeout: found '', expected a whole number from 1 to 1440"),
        (("2]\nother=1", "64", "600"), "workers: found '2]\\nother=1', expected a whole number from 1 to 256"),
        (("2", "64"), "found 2 values, expected workers, trials, timeout"),
    ],
)
def test_bad_numbers_are_named(given: tuple[str, ...], message: str, command: Command) -> None:
    assert command("workers", *given) == (2, f"error: {message}\n")
