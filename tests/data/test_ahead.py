"""Data made ahead come in order, one at a time ahead, with their errors in their turn."""

from __future__ import annotations

import threading

import pytest

from ecdm.data.ahead import made_ahead


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_all_come_in_order(ahead: bool, count: int) -> None:
    assert list(made_ahead(lambda key: key * key, range(count), ahead)) == [key * key for key in range(count)]


def test_the_next_is_made_while_one_is_in_use() -> None:
    made, called = [threading.Event() for _ in range(4)], []

    def make(key: int) -> int:
        called.append(key)
        made[key].set()
        return key

    found = made_ahead(make, range(4))
    assert next(found) == 0
    # While 0 is in use, 1 is made, and nothing after it.
    assert made[1].wait(10)
    assert called == [0, 1]
    assert list(found) == [1, 2, 3]


@pytest.mark.parametrize("ahead", [True, False])
def test_an_error_comes_in_its_turn(ahead: bool) -> None:
    def make(key: int) -> int:
        if key == 2:
            raise ValueError("image 2")
        return key

    found = made_ahead(make, range(5), ahead)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="image 2"):
        next(found)
