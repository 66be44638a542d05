"""What runs hold, read from files: means, tables, pictures, names of profiles."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_project import git

from ecdm.mirror.contents import (
    SHOWN,
    completed_records,
    grid_folders,
    inpainted_grid,
    mean_by_step,
    metrics_by_step,
    pooled,
    profile_name,
    read_scores,
    score_table,
)
from ecdm.reporting.grids import HATCH

HEAD = "variant,seed,bucket,metric,pasted,mean,ci_low,ci_high,n\n"
SCORES = "dataset,variant,seed,image_id,bucket,metric,pasted,value\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_means_with_intervals(tmp_path: Path) -> None:
    rows = "ours,0,10-20,psnr,1,31.5,30,32,4\nours,0,10-20,psnr,0,21.5,20,22,4\nours,all,10-20,psnr,1,33,32,34,8\n"
    found = read_scores(write(tmp_path / "a.csv", HEAD + rows), "x/")
    first = {"x/psnr/10-20": 31.5, "x/psnr/10-20_ci_low": 30.0, "x/psnr/10-20_ci_high": 32.0}
    assert found["ours", "0"] == first
    assert pooled(found)["ours"]["x/psnr/10-20"] == 33.0
    assert pooled({("ours", "0"): first}) == {"ours": first}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "ours,0,10-20,psnr,1,31.5,30,high,4\n", r"a\.csv: line 2: expected a number in ci_high"),
        (HEAD.replace("ci_low", "low"), r"a\.csv: no column ci_low"),
    ],
)
def test_malformed_reports_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_scores(write(tmp_path / "a.csv", text))


def test_malformed_histories_scores_and_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"h\.csv: line 2: expected numbers"):
        metrics_by_step(write(tmp_path / "h.csv", "step,name,value\n2,loss,half\n"))
    with pytest.raises(ValueError, match=r"s\.csv: line 2: expected numbers in seed, image_id, pasted and value"):
        score_table([write(tmp_path / "s.csv", SCORES + "scenes,ours,0,7,10-20,psnr,1,good\n")])
    write(tmp_path / "runs" / "train.json", "{}")
    with pytest.raises(ValueError, match=r"train\.json: not a record of a stage run"):
        completed_records(tmp_path)


def test_only_stages_that_ended_well_count(tmp_path: Path) -> None:
    assert completed_records(tmp_path) == {}
    content = {"started": "", "seconds": 1, "peak_memory_mb": 1, "hardware": {"cpu": "c", "cores": 2}, "commit": "a"}
    for stage, completed in (("masks", True), ("train@ours-0", False)):
        record = json.dumps({**content, "stage": stage, "completed": completed})
        write(tmp_path / "runs" / f"{stage}.json", record)
    assert [(name, record.hardware) for name, record in completed_records(tmp_path).items()] == [
        ("masks", "c, 2 cores")
    ]


def test_histories_of_several_seeds_are_averaged_where_all_have_a_value() -> None:
    one = {1: {"loss": 1.0, "lr": 1.0}, 2: {"loss": 3.0}}
    two = {1: {"loss": 2.0}, 3: {"loss": 9.0}}
    assert mean_by_step([one, two]) == {1: {"loss": 1.5}, 2: {}}
    assert mean_by_step([one]) == one
    assert mean_by_step([]) == {}


def test_a_table_has_a_row_per_image_and_output(tmp_path: Path) -> None:
    rows = "scenes,ours,0,8,10-20,psnr,1,2\nscenes,ours,0,7,10-20,psnr,1,1\nscenes,ours,0,7,10-20,psnr,0,3\n"
    path = write(tmp_path / "s.csv", SCORES + rows + "scenes,ours,0,7,10-20,ssim,1,0.5\n")
    table = json.loads(score_table([path]))
    assert table["columns"] == ["seed", "dataset", "bucket", "image_id", "output", "psnr", "ssim"]
    assert table["data"] == [
        ["0", "scenes", "10-20", "7", "pasted", 1.0, 0.5],
        ["0", "scenes", "10-20", "7", "raw", 3.0, None],
        ["0", "scenes", "10-20", "8", "pasted", 2.0, None],
    ]


def _picture(path: Path, size: tuple[int, int], value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert("RGB").save(path)


def test_grids_show_the_first_images_under_each_other(tmp_path: Path) -> None:
    sizes = {7: (4, 3), 3: (2, 5), **{number: (1, 1) for number in range(10, 10 + SHOWN)}}
    images = [{"id": number, "file_name": f"{number}.png"} for number in sizes]
    captions = [{"id": number, "image_id": number, "caption": "a"} for number in sizes]
    for dataset in ("photos", "scenes"):
        folder = tmp_path / "data" / dataset
        annotations = json.dumps({"images": images, "annotations": captions})
        write(folder / "annotations" / "captions_test.json", annotations)
        outputs = tmp_path / "build" / "generate" / "ours-0" / dataset / "10-20"
        write(outputs / "manifest.json", "{}")
        for number, size in sizes.items():
            _picture(folder / "test" / f"{number}.png", size, 10 * number)
            _picture(tmp_path / "build" / "masks" / dataset / "10-20" / f"{number:012d}.png", size, 255)
            _picture(outputs / "pasted" / f"{number:012d}.png", size, 10 * number + 1)
    found = grid_folders(tmp_path, "ours", 0)
    assert list(found) == ["test/scenes/10-20", "test/photos/10-20"]
    grid = inpainted_grid(found["test/scenes/10-20"])
    assert grid.shape == (3 * 5, SHOWN * 4, 3)
    corners = grid[::5, ::4, 0]
    assert np.array_equal(corners[:, :2], [[HATCH[0], HATCH[0]], [31, 71], [30, 70]])
    assert grid[4, 4, 0] == grid[0, 2, 0] == 255


def test_the_profile_of_params(tmp_path: Path) -> None:
    params = write(tmp_path / "params.yaml", "train:\n  steps: 7\n  lr: 1\n")
    assert profile_name(tmp_path) == "custom"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "One")
    assert profile_name(tmp_path) == "committed"
    write(tmp_path / "profiles" / "small.yaml", "train:\n  steps: 3\n")
    write(tmp_path / "profiles" / "smallest.yaml", "train:\n  steps: 3\n  lr: 2\n")
    write(tmp_path / "profiles" / "foreign.yaml", "other: 3\n")
    params.write_text("train:\n  steps: 3\n  lr: 1\n")
    assert profile_name(tmp_path) == "small"
    params.write_text("train:\n  steps: 3\n  lr: 2\n")
    assert profile_name(tmp_path) == "smallest"
    params.write_text("train:\n  steps: 4\n  lr: 2\n")
    assert profile_name(tmp_path) == "custom"
