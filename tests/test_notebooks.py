"""The notebooks: committed without outputs, and right about a small project when they are executed."""

from __future__ import annotations

import base64
import csv
import html
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
from search_case import NAME, large, small
from search_store import LAST, by_seed, filled, made, mirrored_search, search_report

from ecdm.models.branch import start_branch
from ecdm.search.findings import best, slot_of
from ecdm.search.space import applied
from ecdm.search.verdict import verdict
from ecdm.tracking import Store

pytest_plugins = ["mirror_store"]

if TYPE_CHECKING:
    from ecdm.models.foundation import Components

NOTEBOOKS = ROOT / "notebooks"
# Lines of a cell that can still be read at one look.
CELL = 25

# Executes a notebook of that name in a folder, then evaluates expressions in its kernel: value by expression.
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel reads of its surroundings lies in the test's folder; the package is this one."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        folder = tmp_path / "jupyter" / name
        folder.mkdir(parents=True)
        monkeypatch.setenv(name, str(folder))


def executed(name: str, folder: Path, *asked: str) -> tuple[Any, dict[str, Any]]:
    """The notebook with its outputs, and what was asked."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    answer = f"import json\nprint(json.dumps([{', '.join(asked)}]))"
    notebook.cells.append(nbformat.v4.new_code_cell(answer))
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    warned = [out.text for cell in notebook.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr"]
    assert warned == []
    found = json.loads(notebook.cells.pop().outputs[0].text)
    return notebook, dict(zip(asked, found, strict=True))


@pytest.fixture
def execute(jupyter: None) -> Run:
    return lambda name, folder, *asked: executed(name, folder, *asked)[1]


def shown(notebook: Any, kind: str) -> list[str]:
    """The outputs of one kind that a reader sees; "stdout" are the printed ones."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    if kind == "stdout":
        return [out.text for out in outputs if out.get("name") == kind]
    return [out.data[kind] for out in outputs if kind in out.get("data", {})]


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


def test_all_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} >= {"quickstart", "ablation_review", "search_review"}


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


def test_quickstart_names_what_is_not_trained_yet_and_shows_the_rest(jupyter: None, trained: Path) -> None:
    shutil.rmtree(trained / "build" / "train" / "ours-0")
    notebook, found = executed("quickstart", trained, "filled is None", "table.to_dict()")
    assert shown(notebook, "stdout")[0].startswith("ours-0 is not trained yet: `make repro` trains it.")
    assert list(found.values()) == [True, {"psnr/50-60": {"Ours": "21.5 [20.25, 22.75]", "Telea": "19 [18, 20]"}}]


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


TRIALS = "trials.to_dict('records')"
# What the notebook says where MLflow knows of no search.
NO_SEARCH = "MLflow has no search yet: run `make tune`, then this notebook again."
PICTURED = ("landscape", "history", "importances")


def test_search_review_shows_what_the_studies_hold(jupyter: None, mirror_root: Path) -> None:
    studies = large(24)
    mirrored_search(mirror_root, studies)
    shades = "{name: sorted({round(255 * float(value)) for value in band.flat}) for name, band in bands.items()}"
    asked = ("answer.to_dict('index')", "seeds.to_dict()", TRIALS, "repeated.to_dict()", "interval", shades)
    notebook, found = executed("search_review", mirror_root, *asked)
    answer, seeds, trials, repeated, interval, bands = found.values()
    judged, leader = verdict(studies), best(studies.search)
    assert leader is not None
    assert f"**{judged.sentence}**" in shown(notebook, "text/markdown")
    assert interval == pytest.approx([judged.mean, judged.low, judged.high])
    assert len([line for line in "".join(shown(notebook, "stdout")).splitlines() if line.endswith("over 4 seeds")]) == 2

    noise, confirm = by_seed(studies)
    assert list(answer) == ["paper's values", f"best values (trial {slot_of(leader)})"]
    for row, values in zip(answer.values(), (noise, confirm), strict=True):
        assert row[f"{NAME}, mean"] == f"{np.mean(list(values.values())):.3f} dB"
    assert answer[f"best values (trial {slot_of(leader)})"]["λ"] == f"{leader.params['sail.lambda']:.4g}"
    assert seeds["paper"] == pytest.approx(noise)
    assert seeds["best"] == pytest.approx(confirm)
    assert (repeated["noise"], repeated["confirm"]) == (noise, confirm)

    assert {(row["phase"], int(row["slot"])): told(row) for row in trials} == dict(made(studies))
    complete = [row[NAME] for row in trials if row["state"] == "complete"]
    assert complete == sorted(complete, reverse=True)
    assert [row["state"] for row in trials] == ["complete"] * len(complete) + ["pruned"] * (len(trials) - len(complete))
    (table,) = [text for text in shown(notebook, "text/html") if "trial 07" in text and "<iframe" not in text]
    assert all(f">{row['trial']}</td>" in table and f">{row[NAME]:.6g}</td>" in table for row in trials)

    paper, other = filled(0, LAST), filled(slot_of(leader), LAST)
    gap = 4 * (other - paper)
    wanted = {"given": 40, "paper's values": paper, "best values": other, "difference, 4 times": gap, "truth": 200}
    assert bands == {name: [shade] for name, shade in wanted.items()}
    assert pictures(notebook) >= {(mirror_root / f"reports/search/{name}.png").read_bytes() for name in PICTURED}
    (frame,) = [text for text in shown(notebook, "text/html") if "<iframe" in text]
    (page,) = mirror_root.rglob("search.html")
    assert html.escape(page.read_text(encoding="utf-8")) in frame
    used, change = applied(leader.params), shown(notebook, "stdout")[-1]
    assert f"-  lambda: 0.1\n+  lambda: {used['sail.lambda']}\n" in change
    assert f"-  radius: 4\n+  radius: {used['acda.radius']:g}\n" in change


def test_search_review_of_another_search_than_the_report(jupyter: None, mirror_root: Path) -> None:
    studies = small()
    mirrored_search(mirror_root, studies)
    path = mirror_root / "reports" / "search" / "summary.json"
    path.write_text(path.read_text(encoding="utf-8").replace("lambda-radius", "elsewhere"), encoding="utf-8")
    notebook, found = executed("search_review", mirror_root, TRIALS)
    assert "Search `lambda-radius`, experiment 2, while the report is about `elsewhere`." in shown(
        notebook, "text/markdown"
    )
    assert [row["trial"] for row in found[TRIALS] if row["state"] != "complete"] == ["trial 02", "trial 01"]
    assert "report: best minus" not in "".join(shown(notebook, "stdout"))


def test_search_review_without_a_search_in_mlflow(jupyter: None, mirror_root: Path) -> None:
    studies = large(24)
    search_report(mirror_root, studies)
    notebook, found = executed("search_review", mirror_root, "seeds.to_dict()", "list(bands)")
    seeds, bands = found.values()
    texts = shown(notebook, "text/markdown")
    assert f"**{verdict(studies).sentence}**" in texts
    assert texts.count(NO_SEARCH) == 5
    assert seeds["paper"] == pytest.approx(by_seed(studies)[0])
    assert pictures(notebook) >= {(mirror_root / f"reports/search/{name}.png").read_bytes() for name in PICTURED}
    assert bands == []
    assert "+  lambda:" in shown(notebook, "stdout")[-1]


def test_search_review_without_a_report(jupyter: None, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    with pytest.raises(CellExecutionError, match="no report of a search: run `ecdm tune run`"):
        executed("search_review", tmp_path)


def told(row: dict[str, Any]) -> tuple[Any, ...]:
    """A trial of the notebook's table as `made` has it."""
    return row["state"], row[NAME], float(row["λ"]), float(row["radius"]), row["worker"]


def pictures(notebook: Any) -> set[bytes]:
    """The content of every PNG that is shown."""
    return {base64.b64decode(content) for content in shown(notebook, "image/png")}
