"""The comparison's stages in MLflow: means, scores, pictures and cost, from files, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ecdm.data.coco import CaptionedImage, write_split
from ecdm.mirror.compared import Compared, compared, compared_grids, compared_means, fill_compared
from ecdm.mirror.contents import inpainted_grid
from ecdm.reporting.measured import Record
from ecdm.tracking import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest_plugins = ["mirror_store"]

HEAD = "dataset,method,bucket,metric,mean,ci_low,ci_high,n,pasted\n"
ROWS = (
    "scenes,glide,10-20,psnr,20.5,20,21,32,1\n"
    "scenes,glide,10-20,psnr,18.5,18,19,32,0\n"
    "scenes,copaint,10-20,psnr,22.5,20,21,32,1\n"
    "shifted,glide,10-20,psnr,17.5,17,18,32,1\n"
    "objects,glide,object,colour,0.75,0.5,1,32,1\n"
)
RECORD = Record("compare@glide-scenes", "2024-01-01", 6.0, 512.0, "a CPU, 2 cores", "2", "c0ffee", True, "a.json")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)


@pytest.fixture
def project(mirror_root: Path) -> Path:
    """Files as the stages of one method leave them on the first data set: three images of each set."""
    for name, bucket in (("scenes", "10-20"), ("objects", "object")):
        images = [CaptionedImage(number, f"{number:012d}.png", ("a circle",)) for number in (1, 2, 3)]
        (mirror_root / "data" / name / "annotations").mkdir(parents=True)
        outputs = mirror_root / "build" / "compare" / "glide-scenes" / name / bucket
        for image in images:
            picture(mirror_root / "data" / name / "test" / image.file_name)
            picture(mirror_root / "build" / "masks" / name / bucket / image.file_name)
            picture(outputs / "pasted" / image.file_name)
        write_split(mirror_root / "data" / name, "test", images)
        (outputs / "manifest.json").write_text("{}")
    facts = {"method": "glide", "native_size": None, "image_size": 8, "evaluations": {"base": 50}, "flops": 1e9}
    (mirror_root / "build" / "compare" / "glide-scenes" / "facts.json").write_text(json.dumps(facts))
    (mirror_root / "build" / "compared").mkdir()
    scores = "dataset,variant,seed,image_id,bucket,metric,pasted,value\nscenes,glide,0,1,10-20,psnr,1,20.5\n"
    (mirror_root / "build" / "compared" / "glide-scenes.csv").write_text(scores)
    (mirror_root / "reports").mkdir()
    (mirror_root / "reports" / "comparison.csv").write_text(HEAD + ROWS)
    return mirror_root


@pytest.fixture
def filled(project: Path) -> Callable[[str], tuple[Any, MlflowClient]]:
    """Fills the run of a stage twice; gives the run and a client."""

    def fill(stage: str) -> tuple[Any, MlflowClient]:
        from mlflow import MlflowClient

        for _ in range(2):
            store = Store.connect(project)
            tracker = store.run("0" * 64, stage, {}, {}, strict=True)
            fill_compared(tracker, Compared(stage, "glide", "scenes"), project, RECORD)
            tracker.close()
        client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
        return client.get_run(tracker.run_id), client

    return fill


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python stages/compare.py glide scenes", Compared("compare", "glide", "scenes")),
        ("accelerate launch stages/compare.py glide coco", Compared("compare", "glide", "coco")),
        ("python stages/compare_own.py coco", Compared("compare", "sail", "coco")),
        ("python stages/compare_scores.py copaint shifted", Compared("compare_scores", "copaint", "shifted")),
        ("python stages/comparison.py", None),
        ("python stages/generate.py ours 0", None),
    ],
)
def test_stages_are_known_by_their_command(command: str, expected: Compared | None) -> None:
    params = {"params.yaml": {"compare.variant": {"name": "sail", "images": 4}}}
    assert compared({"cmd": command, "params": params}) == expected


def test_scores_are_the_methods_own_of_the_stages_sets(filled: Callable[[str], tuple[Any, MlflowClient]]) -> None:
    run, client = filled("compare_scores")
    means = {"psnr/10-20": 20.5, "psnr/10-20_ci_low": 20.0, "psnr/10-20_ci_high": 21.0}
    means |= {"colour/object": 0.75, "colour/object_ci_low": 0.5, "colour/object_ci_high": 1.0}
    assert run.data.metrics == means
    assert run.data.tags["method"] == "glide"
    assert run.data.tags["compared_dataset"] == "scenes"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["scores.json"]


def test_outputs_show_their_pictures_and_what_they_cost(filled: Callable[[str], tuple[Any, MlflowClient]]) -> None:
    run, client = filled("compare")
    measured = {"seconds": 6.0, "seconds_per_image": 1.0, "peak_memory_mb": 512.0}
    assert run.data.metrics == {"evaluations/base": 50.0, "flops": 1e9, **measured}
    shown = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
    keys = sorted(name.split("+step")[0] for name in shown if name.endswith(".png"))
    assert keys == ["test~objects~object", "test~scenes~10-20"]


def test_a_mean_that_is_no_number_is_named(project: Path) -> None:
    (project / "reports" / "comparison.csv").write_text(HEAD + ROWS.replace("20.5", "high", 1))
    with pytest.raises(ValueError, match=r"comparison\.csv: line 2: expected a number in mean"):
        compared_means(project, Compared("compare_scores", "glide", "scenes"))


def test_a_method_that_made_fewer_images_than_there_are_has_those_in_its_grid(project: Path) -> None:
    cell = Compared("compare", "glide", "scenes")
    assert inpainted_grid(compared_grids(project, cell)["test/objects/object"]).shape == (24, 24, 3)
    (project / cell.folder / "objects" / "object" / "pasted" / "000000000003.png").unlink()
    assert inpainted_grid(compared_grids(project, cell)["test/objects/object"]).shape == (24, 16, 3)
