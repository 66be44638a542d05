"""Where work is done: engines that cannot be, and heavy work in this process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ecdm.data.engine import Engine

WITHOUT_RAY = """
import sys
from ecdm.data.engine import Engine
assert Engine("local", 1).map(abs, [-1], "test") == [1]
assert "ray" not in sys.modules
sys.modules["ray"] = None
try:
    Engine("ray", 1).map(abs, [-1], "test")
except ValueError as error:
    print(error)
"""


def squares(made: list[int]) -> type[int]:
    made.append(os.getpid())
    return int


def test_no_engine_has_less_than_one_worker() -> None:
    with pytest.raises(ValueError, match="workers: found 0, expected 1 or more"):
        Engine("local", 0)


def test_heavy_work_is_set_up_once_and_not_for_nothing() -> None:
    made: list[int] = []
    engine = Engine("local", 2)
    assert list(engine.stream(lambda: squares(made), ["1", "2", "3"], "test")) == [1, 2, 3]
    assert made == [os.getpid()]
    assert list(engine.stream(lambda: squares(made), [], "test")) == []
    assert made == [os.getpid()]


def test_ray_is_imported_when_asked_for_and_its_lack_is_named() -> None:
    command = [sys.executable, "-c", WITHOUT_RAY]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.startswith("prepare.engine: found ray, but ray is not installed, expected the extra `cluster`")
