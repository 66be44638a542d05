"""The stage on a made-up tree: every file it promises, twice the same bytes, nothing written on bad input."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from report_project import ROOT, run_report

FILES = {
    *("report.html", "ablation.csv", "ablation.md", "differences.csv", "photos.csv", "metrics.json", "gates.json"),
    *("curves.png", "differences.png", "curves/loss_simple.csv", "curves/rms_frequency.csv"),
    *("grids/ablation_10-20.png", "grids/ablation_50-60.png", "grids/photos.png"),
}

MADE = ("masks", "variants", "train", "generate", "scores", "cost")
INPUTS = ("data/scenes", "data/photos", *(f"build/{name}" for name in MADE), "reports/gates.json", "reports/search")


def contents(root: Path) -> dict[str, bytes]:
    reports = root / "reports"
    found = {path.relative_to(reports).as_posix(): path for path in reports.rglob("*") if path.is_file()}
    # The search is not this stage's.
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("search/")}


@pytest.fixture
def tree(project: Any) -> Path:
    """Two variants with one seed, one reference set, gates, costs, images of both datasets."""
    root: Path = project.write_tree()
    return root


def test_writes_every_file_and_the_same_ones_elsewhere(tree: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(tree, other)
    for root in (tree, other):
        done = run_report(root)
        assert done.returncode == 0, done.stderr
    assert set(contents(tree)) == FILES
    assert contents(tree) == contents(other)
    page = (tree / "reports" / "ablation.md").read_text(encoding="utf-8")
    assert "w/ SAIL | 21.7218" in page
    assert "sail-0" not in page
    for path in INPUTS:
        (line,) = re.findall(rf"^\| `{path}` \| `([0-9a-f]{{32}}(?:\.dir)?)` \| \d+ \| \d+ \|$", page, re.MULTILINE)
        assert f"<code>{line}</code>" in (tree / "reports" / "report.html").read_text(encoding="utf-8")
    text = (tree / "reports" / "report.html").read_text(encoding="utf-8")
    assert str(tree) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d", re.sub(r"data:image/[^\"]+", "", text))


def test_photographs_are_shown_under_the_largest_bucket_wherever_it_stands(tree: Path) -> None:
    assert run_report(tree).returncode == 0
    assert "Photos, holes of 50–60 %" in (tree / "reports" / "report.html").read_text(encoding="utf-8")


def test_the_stage_starts_without_torch(tree: Path) -> None:
    code = "import sys, importlib.util as u; s = u.spec_from_file_location('r', sys.argv[1]); "
    code += "s.loader.exec_module(u.module_from_spec(s)); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(ROOT / "stages" / "report.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run(command, cwd=tree, check=False, env=environment).returncode == 0


def spoil_output(root: Path) -> None:
    (root / "build/generate/ours-0/photos/50-60/pasted/000000000002.png").write_bytes(b"no image")


def spoil_captions(root: Path) -> None:
    (root / "data/scenes/annotations/captions_test.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_output, "build/generate/ours-0/photos/50-60/pasted/000000000002.png: expected an image"),
        (spoil_captions, "data/scenes/annotations/captions_test.json: not valid JSON"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_reports_alone(
    tree: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tree)
    before = contents(tree)
    done = run_report(tree)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"report: {message}")
    assert "Traceback" not in done.stderr
    assert contents(tree) == before


def test_a_failure_while_drawing_leaves_no_half_of_a_report(
    tree: Path, monkeypatch: pytest.MonkeyPatch, load_stage: Callable[[str], ModuleType]
) -> None:
    monkeypatch.chdir(tree)
    report, before = load_stage("report"), contents(tree)

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(report, "draw", fail)
        with pytest.raises(OSError, match="disk full"):
            report.main()
    assert contents(tree) == before
    assert not list(tree.glob(".reports*"))
    (tree / "reports" / "grids").mkdir()
    (tree / "reports" / "grids" / "of_a_removed_bucket.png").write_bytes(b"old")
    report.main()
    assert set(contents(tree)) == FILES
