"""Buckets of hole shares by name, such as `50-60`, without torch."""

from __future__ import annotations

import re
from collections.abc import Sequence


def bucket_bounds(name: str) -> tuple[float, float]:
    """Translate a bucket's name in percent, such as `10-20`, into hole fractions (0.1, 0.2).

    ValueError for a name of another form and for bounds that are not 0 <= lower < upper <= 100.
    """
    match = re.fullmatch(r"(\d{1,3})-(\d{1,3})", name)
    if match is None:
        raise ValueError(f"bucket: expected a name such as '10-20' (percent), found {name!r}")
    lower, upper = int(match[1]), int(match[2])
    if not lower < upper <= 100:
        raise ValueError(f"bucket: expected 0 <= lower < upper <= 100 percent, found {name!r}")
    return lower / 100, upper / 100


def largest_bucket(buckets: Sequence[str]) -> str:
    """The bucket with the largest upper bound, of several the one with the largest lower bound.

    Raises: ValueError for none and as `bucket_bounds`.
    """
    return max(buckets, key=lambda name: bucket_bounds(name)[::-1])
