"""The stage on a made-up tree: every file it promises, twice the same bytes, nothing written on bad input."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    *("ablation.csv", "ablation.md", "differences.csv", "photos.csv", "metrics.json", "gates.json"),
    *("curves.png", "differences.png", "curves/loss_simple.csv", "curves/rms_frequency.csv"),
    *("grids/ablation_10-20.png", "grids/ablation_50-60.png", "grids/photos.png"),
}


def run(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "stages" / "report.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)


def contents(root: Path) -> dict[str, bytes]:
    reports = root / "reports"
    return {path.relative_to(reports).as_posix(): path.read_bytes() for path in reports.rglob("*") if path.is_file()}


@pytest.fixture
def tree(project: Any) -> Path:
    """Two variants with one seed, one reference set, gates, images of both datasets."""
    root: Path = project.root
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["variants"], params["seeds"] = ["baseline", "ours"], [0]
    params["masks"].update({"buckets": ["10-20", "50-60"]})
    yaml.dump(params, root / "params.yaml")
    for dataset in ("scenes", "photos"):
        project.write_dataset(dataset, project.IMAGES, ["baseline-0", "ours-0"])
    for variant in params["variants"]:
        names = {"loss_simple": 1.0} if variant == "baseline" else {"loss_simple": 1.0, "rms_frequency": 0.5}
        project.write_history(root / "build" / "train" / f"{variant}-0" / "history.csv", names)
    gate = {"value": 28.0, "bound": 27, "interval": [27.5, 28.5], "holds": True}
    (root / "reports").mkdir()
    (root / "reports" / "gates.json").write_text(
        json.dumps({"enforced": True, "gates": {"vae.psnr": gate}}), encoding="utf-8"
    )
    return root


def test_writes_every_file_and_the_same_ones_elsewhere(tree: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(tree, other)
    for root in (tree, other):
        done = run(root)
        assert done.returncode == 0, done.stderr
    assert set(contents(tree)) == FILES
    assert contents(tree) == contents(other)
    page = (tree / "reports" / "ablation.md").read_text(encoding="utf-8")
    assert "w/ SAIL | 21.7218" in page
    assert "`build/scores/ours-0.csv`" in page
    assert "sail-0" not in page


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
    done = run(tree)
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
        patch.setattr(report, "bars", fail)
        with pytest.raises(OSError, match="disk full"):
            report.main()
    assert contents(tree) == before
    assert not list(tree.glob(".reports*"))
    (tree / "reports" / "grids").mkdir()
    (tree / "reports" / "grids" / "of_a_removed_bucket.png").write_bytes(b"old")
    report.main()
    assert set(contents(tree)) == FILES
