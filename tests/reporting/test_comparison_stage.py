"""The stage comparison on a made-up tree: every file that it promises, twice the same bytes, nothing on bad input."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from comparison_project import FILES, ROOT, ComparisonProject, run_comparison

WRITTEN = {*FILES, "figures/custom.png", "figures/strokes.png", "figures/figures.json"}


def contents(root: Path) -> dict[str, bytes]:
    reports = root / "reports"
    found = {path.relative_to(reports).as_posix(): path for path in reports.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Ours beside two methods."""
    root = tmp_path / "tree"
    return ComparisonProject(root, ("glide", "unipaint")).write_tree()


def test_writes_every_file_and_the_same_ones_elsewhere(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "copy"
    shutil.copytree(tree, other)
    for root in (tree, other):
        done = run_comparison(root)
        assert done.returncode == 0, done.stderr
    assert set(contents(tree)) == WRITTEN
    assert contents(tree) == contents(other)
    text = b"".join(value for name, value in contents(tree).items() if not name.endswith(".png")).decode()
    assert str(tree) not in text


def test_the_csv_files_hold_all_cells(tree: Path) -> None:
    assert run_comparison(tree).returncode == 0
    with (tree / "reports/comparison.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["dataset", "method", "bucket", "metric", "mean", "ci_low", "ci_high", "n", "pasted"]
    # Runs, kinds of output; masks and metrics of both data sets, then those of single items.
    assert len(rows) == 3 * 2 * (2 * 3 * 7 + 10)
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["glide", "unipaint", "ours"]
    assert {row["n"] for row in rows if row["method"] == "unipaint"} == {"3"}
    with (tree / "reports/comparison_differences.csv").open(encoding="utf-8") as file:
        changes = list(csv.DictReader(file))
    assert [tuple(row[key] for key in ("dataset", "method", "bucket", "metric", "pasted")) for row in changes] == [
        tuple(row[key] for key in ("dataset", "method", "bucket", "metric", "pasted"))
        for row in rows
        if row["method"] != "ours"
    ]


def test_what_other_stages_left_in_reports_stays(tree: Path) -> None:
    (tree / "reports" / "figures").mkdir(parents=True)
    (tree / "reports" / "figures" / "of_another_time.png").write_bytes(b"old")
    (tree / "reports" / "report.html").write_text("the page")
    assert run_comparison(tree).returncode == 0
    assert set(contents(tree)) == {*WRITTEN, "report.html"}


def test_without_methods_there_is_only_ours(tmp_path: Path) -> None:
    root = ComparisonProject(tmp_path / "alone", ()).write_tree()
    done = run_comparison(root)
    assert done.returncode == 0, done.stderr
    assert (root / "reports/comparison_differences.csv").read_text().count("\n") == 1
    assert "GLIDE" not in (root / "reports/comparison.md").read_text().split("## Published values")[0]


def test_the_stage_starts_without_torch(tree: Path) -> None:
    code = "import sys, importlib.util as u; s = u.spec_from_file_location('r', sys.argv[1]); "
    code += "s.loader.exec_module(u.module_from_spec(s)); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(ROOT / "stages" / "comparison.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run(command, cwd=tree, check=False, env=environment).returncode == 0


def test_bad_input_is_one_line_and_leaves_the_reports_alone(tree: Path) -> None:
    assert run_comparison(tree).returncode == 0
    before = contents(tree)
    (tree / "build/compare/unipaint-scenes/facts.json").unlink()
    done = run_comparison(tree)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "comparison: build/compare/unipaint-scenes/facts.json: no such file"
    assert "Traceback" not in done.stderr
    assert contents(tree) == before


def test_a_failure_while_drawing_leaves_no_half_of_a_report(
    tree: Path, monkeypatch: pytest.MonkeyPatch, load_stage: Callable[[str], ModuleType]
) -> None:
    monkeypatch.chdir(tree)
    stage = load_stage("comparison")

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(stage, "write_figures", fail)
    with pytest.raises(OSError, match="disk full"):
        stage.main()
    assert not (tree / "reports").exists()
    assert not list(tree.glob(".reports*"))
