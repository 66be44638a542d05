"""The next piece of data is made while the one before it is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def made_ahead(make: Callable[[Key], Value], keys: Iterable[Key], ahead: bool = True) -> Iterator[Value]:
    """Give `make(key)` for all keys in their order, each made by a thread while its predecessor is in use.

    Without `ahead` each is made when it is asked for. What `make` raises is raised here, in its turn.
    """
    if not ahead:
        yield from map(make, keys)
        return
    with ThreadPoolExecutor(1) as thread:
        waiting = None
        for key in keys:
            following = thread.submit(make, key)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
