"""The notebooks: committed without outputs, and right about a small project when they are executed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import branch_case
import nbformat
import numpy as np
import pytest
from ablation_store import STEPS, ablation_store
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from report_project import ROOT, Project

from ecdm.models.branch import start_branch
from ecdm.tracking import Store

if TYPE_CHECKING:
    from ecdm.models.foundation import Components

NOTEBOOKS = ROOT / "notebooks"
# Lines of a cell that can still be read at one look.
CELL = 25

# Executes a notebook of that name in a folder, then evaluates expressions in its kernel: value by expression.
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        folder = tmp_path / "jupyter" / name
        folder.mkdir(parents=True)
        monkeypatch.setenv(name, str(folder))

    def run(name: str, folder: Path, *asked: str) -> dict[str, Any]:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        answer = f"import json\nprint(json.dumps([{', '.join(asked)}]))"
        notebook.cells.append(nbformat.v4.new_code_cell(answer))
        NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
        warned = [out.text for cell in notebook.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr"]
        assert warned == []
        return dict(zip(asked, json.loads(notebook.cells[-1].outputs[0].text), strict=True))

    return run


def rows(path: Path, **chosen: str) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [row for row in found if all(row[name] == value for name, value in chosen.items())]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_clean(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(notebook))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell for cell in cells if len(cell["source"]) > CELL] == []
    # Nothing of the machine that it was last edited on.
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}


def test_both_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} >= {"quickstart", "ablation_review"}


@pytest.fixture
def trained(tree: Path, parts: Components) -> Path:
    """A small project with one trained variant and the reports of another."""
    branch = branch_case.randomised(start_branch(parts, branch_case.IMAGE, 0))
    branch.save(tree / "build" / "train" / "ours-0" / "weights")
    project = Project(tree)
    header = ("variant", "seed", "bucket", "metric", "pasted", "mean", "ci_low", "ci_high", "n")
    numbers = [("ours", 0, "50-60", "psnr", 1, 21.5, 20.25, 22.75, 3), ("telea", 0, "50-60", "psnr", 1, 19, 18, 20, 3)]
    project.write_csv(tree / "reports" / "ablation.csv", header, numbers)
    project.write_image(tree / "reports" / "grids" / "ablation_50-60.png", np.zeros((8, 8, 3), np.uint8))
    return tree


def test_quickstart_shows_what_the_pipeline_works_on(execute: Run, trained: Path) -> None:
    asked = (
        "[scene.image.tolist() for scene in scenes]",
        "{bucket: hole.astype(int).tolist() for bucket, hole in holes.items()}",
        "[found.tolist() for found in edges]",
        "filled.tolist()",
        "table.to_dict()",
    )
    images, holes, edges, filled, table = execute("quickstart", trained, *asked).values()
    names = sorted(path.name for path in (trained / "data" / "scenes" / "test").iterdir())
    stored = [np.array(Image.open(trained / "data" / "scenes" / "test" / name)) for name in names]
    assert np.array_equal(images, stored)
    for bucket, hole in holes.items():
        mask = np.array(Image.open(trained / "build" / "masks" / "scenes" / bucket / names[0]))
        assert np.array_equal(np.array(hole) * 255, mask)
    folder = trained / "build" / "edges" / "scenes" / "test"
    assert np.array_equal(edges, [np.array(Image.open(folder / name)) for name in names])
    hole, changed = np.array(holes["50-60"]) > 0, (np.array(filled) != stored[0]).any(axis=2)
    assert not changed[~hole].any()
    assert changed[hole].mean() > 0.9
    assert table == {"psnr/50-60": {"Ours": "21.5 [20.25, 22.75]", "Telea": "19 [18, 20]"}}


def test_quickstart_names_what_is_not_trained_yet(execute: Run, trained: Path) -> None:
    shutil.rmtree(trained / "build" / "train" / "ours-0")
    with pytest.raises(CellExecutionError, match=r"ours-0: no such folder, expected a model"):
        execute("quickstart", trained)


def test_review_shows_what_the_store_holds(execute: Run, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    ablation_store(root)
    output = "plt.imread(client.download_artifacts(run.info.run_id, grids[name][picture]))[20, 4, 0]"
    asked = (
        "runs.run.to_list()",
        "means.to_dict('records')",
        "differences.assign(apart=apart).to_dict('records')",
        "{name: {key: dict(line.dropna()) for key, line in lines.items()} for name, lines in curves.items()}",
        f"{{name: round(255 * float({output})) for name, run in variants.items()}}",
        "[list(gains.index.names), gains.reset_index().to_dict('records')]",
        "list(switches.index)",
    )
    runs, means, differences, curves, outputs, gains, switches = execute("ablation_review", root, *asked).values()
    assert runs[0].startswith("reproduction ")
    assert [name for name in runs if name.count("· ") == 1] == [*(f"· {one}" for one in Project.VARIANTS), "· report"]
    assert runs[runs.index("· ours") + 1 :][:3] == [f"· · {kind}@ours-0" for kind in ("train", "generate", "evaluate")]
    assert measured(means) == reported(root / "reports" / "ablation.csv", Project.VARIANTS)
    assert measured(differences) == reported(root / "reports" / "differences.csv", Project.VARIANTS[1:])
    for row in differences:
        assert row["apart"] == (row["low"] > 0 or row["high"] < 0)
    assert {row["apart"] for row in differences} == {True, False}
    assert curves["loss_simple"]["ours"] == {str(step): 1.0 + i for i, step in enumerate(STEPS)}
    assert set(curves["rms_frequency"]) == set(Project.VARIANTS) - {"baseline"}
    assert outputs == {name: 100 + 20 * i for i, name in enumerate(Project.VARIANTS)}
    assert gains[0] == ["bucket", "image_id", "seed"]
    for row in gains[1]:
        found = [
            Project(root).value(name, 0, int(row["image_id"]), row["bucket"], "psnr", 1)
            for name in ("ours", "baseline")
        ]
        assert row["gain"] == pytest.approx(found[0] - found[1])
    assert len(gains[1]) == len(Project.BUCKETS) * len(Project.IMAGES)
    assert "sail.lambda" in switches
    assert "train.lr" not in switches


def measured(found: list[dict[str, Any]]) -> dict[tuple[str, ...], tuple[float, ...]]:
    """Mean and interval by variant, metric and bucket, as the notebook has them."""
    return {(row["variant"], row["metric"], row["bucket"]): (row["mean"], row["low"], row["high"]) for row in found}


def reported(path: Path, variants: tuple[str, ...]) -> dict[tuple[str, ...], tuple[float, ...]]:
    """The same as a report has them."""
    chosen = [row for row in rows(path, pasted="1") if row["variant"] in variants]
    return {
        (row["variant"], row["metric"], row["bucket"]): tuple(float(row[n]) for n in ("mean", "ci_low", "ci_high"))
        for row in chosen
    }


def test_review_of_a_store_without_a_reproduction(execute: Run, tree: Path) -> None:
    Store.connect(tree)
    with pytest.raises(CellExecutionError, match="no reproduction in this store: run `ecdm sync` after `dvc repro`"):
        execute("ablation_review", tree)
