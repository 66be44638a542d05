"""Check how many workers, trials and minutes a search was asked for; print the workers as a job's output."""

from __future__ import annotations

import json
import re
import sys

# A matrix has at most 256 jobs; a job of tune-gpu.yml ends after 25 hours.
LIMITS = {"workers": 256, "trials": 100_000, "timeout": 1440}


def numbers(texts: list[str]) -> dict[str, int]:
    """Name → value, each 1 to its limit. Raises ValueError that names the input."""
    if len(texts) != len(LIMITS):
        raise ValueError(f"found {len(texts)} values, expected {', '.join(LIMITS)}")
    found = {}
    for text, (name, limit) in zip(texts, LIMITS.items(), strict=True):
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= limit:
            raise ValueError(f"{name}: found {text!r}, expected a whole number from 1 to {limit}")
        found[name] = int(text)
    return found


def main() -> int:
    """0, or 2 where a number is refused."""
    try:
        found = numbers(sys.argv[1:])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"workers={json.dumps(list(range(1, found['workers'] + 1)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
