"""Names of buckets."""

import pytest

from ecdm.numerics.buckets import bucket_bounds, largest_bucket


def test_bounds_are_shares() -> None:
    assert bucket_bounds("10-20") == (0.1, 0.2)
    assert bucket_bounds("0-100") == (0.0, 1.0)


@pytest.mark.parametrize(
    "name", ["", "wide", "20-10", "20-20", "50-101", "-10-20", "10", "10-", "1.5-3", "10_20", "10-20 "]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="bucket: expected"):
        bucket_bounds(name)


def test_the_largest_bucket_reaches_highest_and_then_starts_highest() -> None:
    assert largest_bucket(["50-60", "10-20", "30-40"]) == "50-60"
    assert largest_bucket(["10-60", "50-60", "20-60"]) == "50-60"
    assert largest_bucket(["5-9", "10-20"]) == "10-20"
