"""The generate stage through its own files: known pixels exact, nothing leaks, nothing half done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from processes import launch
from torch import Tensor

from ecdm.data.coco import read_split
from ecdm.data.dataset import Batch
from ecdm.methods.base import ControlledMethod, LatentSampler
from ecdm.methods.fills import Reconstruction
from ecdm.models.denoiser import branch_control
from ecdm.numerics.masks import masked_image
from ecdm.stage import run

ROOT = Path(__file__).parents[2]
DATASETS, BUCKETS = {"scenes": 3, "photos": 5}, ("10-20", "50-60")
Stage = Callable[[], dict[str, str]]


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def source_images(tree: Path) -> list[tuple[str, Path]]:
    """Data set and file of every test image."""
    found = [(name, path) for name in DATASETS for path in sorted((tree / "data" / name / "test").glob("*.png"))]
    assert len(found) == sum(DATASETS.values())
    return found


def hole_of(tree: Path, dataset: str, bucket: str, path: Path) -> NDArray[np.bool_]:
    return pixels(tree / "build" / "masks" / dataset / bucket / path.name) > 127


@pytest.fixture
def stage(load_stage: Callable[[str], ModuleType]) -> ModuleType:
    return load_stage("generate")


@pytest.fixture
def outputs(trained: Path, stage: ModuleType, digests: Callable[[Path], dict[str, str]]) -> Stage:
    """Runs the stage and returns the digests of all its files."""

    def run_stage() -> dict[str, str]:
        stage.main("ours", 0)
        return digests(trained / "build" / "generate" / "ours-0")

    return run_stage


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def leaks(tree: Path, bucket: str, run_stage: Stage) -> set[str]:
    """Files of the stage that change with the true pixels inside the holes of the only bucket."""
    before = run_stage()
    for dataset, path in source_images(tree):
        image, hole = pixels(path), hole_of(tree, dataset, bucket, path)
        image[hole] = 255 - image[hole]
        Image.fromarray(image).save(path)
    return changed(before, run_stage())


@pytest.mark.parametrize("bucket", BUCKETS)
def test_no_output_changes_with_the_holes_true_pixels(
    trained: Path, outputs: Stage, write_params: Callable[..., None], bucket: str
) -> None:
    write_params(trained, masks={"buckets": [bucket]})
    assert leaks(trained, bucket, outputs) == set()


def _reconstructing(name: str, components: Any, branch: Any, settings: Any) -> Reconstruction:
    return Reconstruction(components)


def _full_hint(name: str, components: Any, branch: Any, settings: Any) -> ControlledMethod:
    """As the real one, but the branch's condition still holds the hole's pixels."""

    def control_of(batch: Batch) -> Any:
        tokens = branch.acda.tokens(masked_image(batch.images, batch.masks))

        def leaky(z: Tensor, t: Tensor, text: Tensor) -> Any:
            return branch(z, t, text, torch.cat([batch.images] * 2), tokens=tokens)

        return leaky

    return ControlledMethod(name, LatentSampler(components, settings), control_of)


class _FullLatents(LatentSampler):
    """Blends with latents of the whole image, as the paper's release does."""

    def known_latents(self, images: Tensor, masks: Tensor) -> Tensor:
        return super().known_latents(images, torch.zeros_like(masks))


def _full_latents(name: str, components: Any, branch: Any, settings: Any) -> ControlledMethod:
    return ControlledMethod(
        name,
        _FullLatents(components, settings),
        lambda batch: branch_control(components, branch, batch.images, batch.masks),
    )


@pytest.mark.parametrize("leaky", [_reconstructing, _full_hint, _full_latents])
def test_a_method_that_leaks_is_found(
    trained: Path, stage: ModuleType, outputs: Stage, write_params: Callable[..., None], leaky: Any
) -> None:
    write_params(trained, masks={"buckets": ["10-20"]})
    stage.variant = leaky  # type: ignore[attr-defined]
    found = leaks(trained, "10-20", outputs)
    for dataset, count in DATASETS.items():
        for kind in ("raw", "pasted"):
            # Leaking latents show only where thin strokes leave a known cell.
            assert sum(name.startswith(f"{dataset}/10-20/{kind}/") for name in found) > count / 2


def test_a_known_pixel_changes_its_image_and_no_other(trained: Path, outputs: Stage) -> None:
    before = outputs()
    path = trained / "data" / "photos" / "test" / "000000000002.png"
    image = pixels(path)
    known = ~np.any([hole_of(trained, "photos", bucket, path) for bucket in BUCKETS], axis=0)
    row, column = np.argwhere(known)[0]
    image[row, column] = np.where(image[row, column] > 127, 0, 255)
    Image.fromarray(image).save(path)
    kinds = [f"photos/{bucket}/{kind}/{path.name}" for bucket in BUCKETS for kind in ("raw", "pasted")]
    assert changed(before, outputs()) == set(kinds)


def test_the_seed_changes_every_picture(trained: Path, outputs: Stage, write_params: Callable[..., None]) -> None:
    before = outputs()
    write_params(trained, seed=1)
    found = changed(before, outputs())
    assert found == {name for name in before if name.endswith(".png")}
    assert len(found) == 2 * 2 * 8


def test_pasted_outputs_are_the_input_outside_the_hole_and_raw_ones_inside(trained: Path, outputs: Stage) -> None:
    outputs()
    for dataset, path in source_images(trained):
        for bucket in BUCKETS:
            folder = trained / "build" / "generate" / "ours-0" / dataset / bucket
            raw, pasted = (pixels(folder / kind / path.name) for kind in ("raw", "pasted"))
            truth, hole = pixels(path), hole_of(trained, dataset, bucket, path)
            assert 0.1 <= hole.mean() <= 0.6
            assert np.array_equal(pasted[~hole], truth[~hole])
            assert np.array_equal(pasted[hole], raw[hole])
            assert not np.array_equal(raw[~hole], truth[~hole])


def test_the_batch_size_moves_no_pixel_by_more_than_one(
    trained: Path, outputs: Stage, write_params: Callable[..., None]
) -> None:
    found = []
    for batch in (1, 4):
        write_params(trained, generate={"batch": batch})
        names = [name for name in outputs() if name.endswith(".png")]
        found.append({name: pixels(trained / "build/generate/ours-0" / name).astype(int) for name in names})
    assert len(found[0]) == 2 * 2 * 8
    assert max(np.abs(found[0][name] - found[1][name]).max() for name in found[0]) <= 1


def test_the_same_inputs_give_the_same_bytes(outputs: Stage) -> None:
    torch.manual_seed(1)
    first = outputs()
    torch.manual_seed(2)
    assert outputs() == first


def test_the_manifest_says_what_was_made_of_what(trained: Path, outputs: Stage) -> None:
    outputs()
    for dataset, count in DATASETS.items():
        folder = trained / "build" / "generate" / "ours-0" / dataset / "50-60"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {key: manifest[key] for key in ("method", "dataset", "bucket")} == {
            "method": "ours",
            "dataset": dataset,
            "bucket": "50-60",
        }
        images = read_split(trained / "data" / dataset, "test")
        assert [row["id"] for row in manifest["images"]] == [image.id for image in images]
        assert [row["caption"] for row in manifest["images"]] == [image.captions[0] for image in images]
        files = [row["file"] for row in manifest["images"]]
        assert len(files) == count
        for kind in ("raw", "pasted"):
            assert sorted(path.name for path in (folder / kind).iterdir()) == files


class _Broken:
    """Puts out a NaN for one image."""

    name = "broken"

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        output = batch.images.clone()
        for i, number in enumerate(batch.ids):
            if number == 2:
                output[i, 1, 5, 5] = torch.nan
        return output


def test_an_output_that_is_not_finite_names_the_image_and_nothing_is_scored(
    trained: Path, stage: ModuleType, load_stage: Callable[[str], ModuleType], capfd: pytest.CaptureFixture[str]
) -> None:
    stage.variant = lambda *arguments: _Broken()  # type: ignore[attr-defined]
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        run("generate@ours-0", lambda: stage.main("ours", 0))
    assert caught.value.code == 1
    where = "generate@ours-0: broken: photos, bucket 10-20, image 2"
    assert capfd.readouterr().err == f"{where}: found values that are not finite, expected pixels in [0, 1]\n"
    assert list((trained / "build").glob("**/*ours-0*")) == [trained / "build" / "train" / "ours-0"]
    with pytest.raises(ValueError, match=r"generate/ours-0/scenes/10-20/raw/\d+\.png"):
        load_stage("evaluate").main("ours", 0)
    assert not (trained / "build" / "scores").exists()


@pytest.mark.parametrize(
    "name", ["branch.json", "acda/model.safetensors", "controlnet/diffusion_pytorch_model.safetensors"]
)
def test_missing_weights_stop_the_stage(trained: Path, stage: ModuleType, name: str) -> None:
    (trained / "build/train/ours-0/weights" / name).unlink()
    with pytest.raises((OSError, ValueError), match=f"build/train/ours-0/weights/{name.split('/')[0]}"):
        stage.main("ours", 0)
    assert not (trained / "build" / "generate").exists()


def test_a_missing_mask_is_named(trained: Path, stage: ModuleType) -> None:
    shutil.rmtree(trained / "build" / "masks" / "photos" / "50-60")
    with pytest.raises(ValueError, match=r"build/masks/photos/50-60/000000000001\.png"):
        stage.main("ours", 0)
    assert not (trained / "build" / "generate" / "ours-0").exists()


def test_any_number_of_processes_and_threads_writes_the_same_files(
    trained: Path, write_params: Callable[..., None], digests: Callable[[Path], dict[str, str]]
) -> None:
    found = []
    for count, threads in ((1, 1), (1, 2), (2, 2)):
        write_params(trained, threads=threads, generate={"batch": 2, "steps": 2}, masks={"buckets": ["50-60"]})
        launch([str(ROOT / "stages" / "generate.py"), "ours", "0"], trained, count)
        found.append(digests(trained / "build" / "generate"))
        assert [path.name for path in (trained / "runs").iterdir()] == ["generate@ours-0.json"]
    assert found[0] == found[1] == found[2]
    # Two kinds of every picture, and the manifests.
    assert len(found[0]) == 2 * sum(DATASETS.values()) + len(DATASETS)
