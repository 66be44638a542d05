"""The summary of a smoke run says what differs from the base branch and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

Command = Callable[..., tuple[int, str]]
METRICS = {"ours": {"psnr": 20.0, "ssim": 0.5}, "gates": {"failed": []}}
PARAMS = {"seed": 0, "sail": {"lambda": 0.1}, "variants": ["sail", "ours"]}


def smoke(folder: Path, metrics: dict[str, Any], params: dict[str, Any], tables: str = "# Ablation\n\ntables") -> Path:
    """Write what `make smoke` keeps."""
    (folder / "reports").mkdir(parents=True)
    (folder / "reports" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "reports" / "ablation.md").write_text(tables, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def call(command: Command, head: Path, base: Path | None = None) -> tuple[int, str]:
    given = ["--head", str(head), "--grid", "https://grid.example", "--everything", "https://all.example"]
    return command("summary", *given, *(["--base", str(base)] if base else []))


def test_differences_are_listed_with_their_change(tmp_path: Path, command: Command) -> None:
    base = smoke(tmp_path / "base", {**METRICS, "gone": 1}, PARAMS)
    metrics = {**METRICS, "ours": {"psnr": 20.5, "ssim": 0.5}, "new": "a|b"}
    head = smoke(tmp_path / "head", metrics, {**PARAMS, "variants": ["ours"]})
    code, text = call(command, head, base)
    assert code == 0
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == [
        "| `ours.psnr` | 20.0 | 20.5 | +0.5 |",
        "| `gone` | 1 | – |  |",
        "| `new` | – | a\\|b |  |",
        "| `variants` | sail, ours | ours |  |",
    ]
    # ssim and gates.failed; seed and lambda
    assert [line for line in lines if "more are the same" in line] == ["2 more are the same."] * 2
    assert "[Open the image](https://grid.example) or [get all reports](https://all.example)." in lines
    assert text.rstrip().endswith("\n\ntables\n\n</details>")


def test_equal_results_are_one_sentence(tmp_path: Path, command: Command) -> None:
    code, text = call(command, smoke(tmp_path / "a", METRICS, PARAMS), smoke(tmp_path / "b", METRICS, PARAMS))
    assert code == 0
    assert "The same as the base branch: all 3." in text
    assert "| `" not in text


def test_without_a_base_the_values_stand_alone(tmp_path: Path, command: Command) -> None:
    code, text = call(command, smoke(tmp_path / "head", METRICS, PARAMS), tmp_path / "missing")
    assert code == 0
    assert "There is no smoke run of the base branch" in text
    assert "| `ours.psnr` | 20.0 |" in text
    assert "## Parameters" not in text


def test_what_does_not_fit_is_left_out(tmp_path: Path, command: Command, script: Callable[[str], ModuleType]) -> None:
    head = smoke(tmp_path / "head", METRICS, PARAMS, tables="# Ablation\n\n" + "é" * script("summary").LIMIT)
    code, text = call(command, head)
    assert code == 0
    assert "Tables of the ablation" not in text
    assert "| `ours.psnr` | 20.0 |" in text


def test_differences_that_do_not_fit_are_refused(tmp_path: Path, command: Command) -> None:
    head = smoke(tmp_path / "head", {f"metric{number}": number for number in range(5000)}, PARAMS)
    code, text = call(command, head)
    assert code == 2
    assert text.startswith(f"error: {head}: found ")
    assert text.endswith("expected at most 50000\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("reports/metrics.json", "{", "expected JSON"),
        ("reports/metrics.json", "[1]", "found list, expected sections"),
        ("params.yaml", "a: [", "expected YAML"),
        ("params.yaml", "", "found NoneType, expected sections"),
        ("reports/ablation.md", None, "No such file"),
    ],
)
def test_a_bad_file_is_named(name: str, content: str | None, message: str, tmp_path: Path, command: Command) -> None:
    head, base = smoke(tmp_path / "head", METRICS, PARAMS), smoke(tmp_path / "base", METRICS, PARAMS)
    if content is None:
        (head / name).unlink()
    else:
        (head / name).write_text(content, encoding="utf-8")
    code, text = call(command, head, base)
    assert code == 2
    assert message in text
    assert str(head / name) in text
