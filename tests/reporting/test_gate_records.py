"""Reading of gates.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from ecdm.reporting.gates import Gate, Gates, read_gates

ENTRY = {"value": 28.1234567, "bound": 27.0, "interval": [27.9, 28.41234], "holds": True, "note": "dB"}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def record(**entries: Any) -> dict[str, Any]:
    return {"enforced": False, "gates": entries}


def test_numbers_become_text(tmp_path: Path) -> None:
    found = read_gates(write(tmp_path / "gates.json", {"enforced": True, "gates": {"vae.psnr": ENTRY}}))
    assert found == Gates(True, (Gate("vae.psnr", "28.12", "≥ 27", "[27.9, 28.41]", True, "dB"),))
    assert found.failed == ()


def test_absent_numbers_are_empty_and_nested_ones_listed(tmp_path: Path) -> None:
    entry = {"holds": False, "interval": None, "note": {"wood": 27.25, "checks": 30}}
    other = {"holds": True, "value": 1, "bound": 2}
    found = read_gates(write(tmp_path / "gates.json", record(a=entry, b=other)))
    assert found.gates[0] == Gate("a", "", "", "", False, "wood 27.25, checks 30")
    assert found.gates[1].bound == "≥ 2"
    assert found.failed == ("a",)
    assert not found.enforced


def test_a_difference_must_lie_above_zero_and_zero_has_no_sign(tmp_path: Path) -> None:
    entry = {"value": -0.0, "bound": 0.0, "interval": [-0.0, 0.25], "holds": False}
    (gate,) = read_gates(write(tmp_path / "gates.json", record(a=entry))).gates
    assert (gate.value, gate.bound, gate.interval) == ("0", "> 0", "[0, 0.25]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (record(a={"value": 1}), r"a\.holds: found None, expected true or false"),
        (record(a={"holds": "yes"}), r"a\.holds: found 'yes'"),
        (record(a=1), "a: found 1, expected a gate"),
        ({"gates": {}}, "enforced: found None, expected true or false"),
        ({"a": ENTRY}, "expected a mapping with enforced and gates"),
        ([ENTRY], "found list, expected a mapping"),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"gates\.json: .*{message}"):
        read_gates(write(tmp_path / "gates.json", content))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gates\.json: no such file"):
        read_gates(tmp_path / "gates.json")
    (tmp_path / "gates.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"gates\.json: not valid JSON"):
        read_gates(tmp_path / "gates.json")
