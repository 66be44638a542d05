"""The comparison's stages through their own files: nothing leaks, known pixels are exact, every run is named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from compare_case import compared_tree, masks_of
from network_case import write_networks
from numpy.typing import NDArray
from PIL import Image

from ecdm.evaluation import comparison
from ecdm.methods.fills import Reconstruction
from ecdm.methods.registry import METHODS
from ecdm.sections.base import VariantName

VARIANTS = get_args(VariantName)
RUNS = (*METHODS, *VARIANTS)
SETS = {"scenes": ("10-20", "50-60", "wide", "narrow"), "objects": ("object",), "custom": ("custom",)}
Inpaint = Callable[[str, str], None]
Change = Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture(scope="session")
def branches(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of every variant, all of them moved."""
    from ecdm.config import Acda
    from ecdm.models.branch import start_branch
    from ecdm.models.variants import VARIANTS as TABLE

    acda, found = Acda(radius=2.0, window="circle", domain="image", amplitude="log", lr=1e-3), {}
    for name in VARIANTS:
        branch = start_branch(parts, acda if TABLE[name].acda else None, 0)
        generator = torch.Generator().manual_seed(4)
        for parameter in branch.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        found[name] = tmp_path_factory.mktemp(name)
        branch.save(found[name])
    return found


@pytest.fixture
def project(tree: Path, networks: Path, branches: dict[str, Path]) -> Path:
    compared_tree(tree, networks)
    for name, folder in branches.items():
        shutil.copytree(folder, tree / "build" / "train" / f"{name}-0" / "weights")
    return tree


@pytest.fixture
def stage(load_stage: Callable[[str], ModuleType]) -> ModuleType:
    return load_stage("compare")


@pytest.fixture
def inpaint(stage: ModuleType, load_stage: Callable[[str], ModuleType]) -> Inpaint:
    """Runs the stage of a method or variant on a data set."""
    own = load_stage("compare_own")
    return lambda run, dataset: own.main(dataset) if run in VARIANTS else stage.main(run, dataset)


@pytest.fixture
def _uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the counting of operations, which takes longer than the pictures do."""
    monkeypatch.setattr(comparison, "facts", lambda method, job, seed: {})


@pytest.fixture
def inpaint_again(stage: ModuleType, load_stage: Callable[[str], ModuleType], parts: Any, _uncounted: None) -> Inpaint:
    """`inpaint` for several runs: they share the networks, whose loading takes longer than the pictures as well."""
    own, make = load_stage("compare_own"), stage.make_method
    methods: dict[str, Any] = {}

    def made_once(name: str, ingredients: Any) -> Any:
        if name not in methods:
            methods[name] = make(name, ingredients)
        return methods[name]

    stage.make_method = made_once  # type: ignore[attr-defined]
    for module in (stage, own):
        module.load_foundation = lambda folder: parts  # type: ignore[attr-defined]
    return lambda run, dataset: own.main(dataset) if run in VARIANTS else stage.main(run, dataset)


def small(write: Callable[..., None], tree: Path, run: str, **changes: Any) -> None:
    """Params under which one run inpaints two images in every set."""
    compare: dict[str, Any] = {"variant": {"name": run, "images": 2, "batch": 2}} if run in VARIANTS else {}
    write(tree, masks={"buckets": ["10-20"], "sets": ["wide"]}, compare=compare, **changes)


def change_images(tree: Path, change: Change, names: tuple[str, ...] = ("scenes", "objects", "custom")) -> None:
    """Change every test picture; `change` gets its pixels and where any of its masks has a hole."""
    for name in names:
        masks = masks_of(tree, name)
        for path in sorted((tree / "data" / name / "test").glob("*.png")):
            # Under the buckets of `small` alone: a pixel known to one of them is a known pixel of that output.
            buckets = [b for b in ("10-20", "wide", "object", "custom") if (masks / b / path.name).is_file()]
            holes = [np.array(Image.open(masks / bucket / path.name)) > 127 for bucket in buckets]
            pixels = np.array(Image.open(path))
            Image.fromarray(change(pixels, np.logical_and.reduce(holes))).save(path)


def made(tree: Path, run: str, inpaint: Inpaint, digests: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    """Digests of the PNGs of a run on the first data set."""
    inpaint(run, "scenes")
    found = digests(tree / "build" / "compare" / f"{run}-scenes")
    return {name: digest for name, digest in found.items() if name.endswith(".png")}


def holes_alike(tree: Path) -> None:
    """The same hole in every bucket of an image, so that its true pixels may change without touching known ones."""
    masks = tree / "build" / "masks" / "scenes"
    for path in sorted((masks / "10-20").glob("*.png")):
        shutil.copy(path, masks / "wide" / path.name)


def inverted(pixels: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    pixels[hole] = 255 - pixels[hole]
    return pixels


@pytest.mark.parametrize("run", RUNS)
def test_no_output_hangs_on_the_true_pixels_of_the_hole_and_every_one_on_known_pixels_and_seed(
    project: Path, inpaint_again: Inpaint, write_params: Callable[..., None], digests: Any, run: str
) -> None:
    small(write_params, project, run)
    holes_alike(project)
    before = made(project, run, inpaint_again, digests)
    assert len(before) == 2 * (2 + 2 + 2 + 2)
    change_images(project, inverted)
    assert made(project, run, inpaint_again, digests) == before

    def brightened(pixels: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        pixels[~hole] = 255 - pixels[~hole]
        return pixels

    small(write_params, project, run, seed=1)
    other = made(project, run, inpaint_again, digests)
    assert all(other[name] != before[name] for name in before if "/raw/" in name)
    small(write_params, project, run)
    change_images(project, brightened)
    other = made(project, run, inpaint_again, digests)
    different = {name for name in before if other[name] != before[name]}
    assert {name for name in before if "/pasted/" in name} <= different
    # Beside the squares Uni-paint's grown hole leaves no known cell at this size.
    squares = {"objects/object/raw", "custom/custom/raw"} if run == "unipaint" else set()
    assert {str(Path(name).parent) for name in before.keys() - different} == squares


def test_a_method_that_leaks_is_found(
    project: Path,
    stage: ModuleType,
    inpaint_again: Inpaint,
    write_params: Callable[..., None],
    digests: Any,
    parts: Any,
) -> None:
    class Leaky(Reconstruction):
        native_size = None
        networks: dict[str, Any] = {}  # noqa: RUF012

    small(write_params, project, "glide")
    holes_alike(project)
    stage.make_method = lambda name, ingredients: Leaky(parts, name)  # type: ignore[attr-defined]
    before = made(project, "glide", inpaint_again, digests)
    change_images(project, inverted)
    other = made(project, "glide", inpaint_again, digests)
    assert all(other[name] != before[name] for name in before)


@pytest.mark.parametrize("run", RUNS)
def test_pasted_outputs_are_the_input_outside_the_hole_at_every_bucket(
    project: Path, inpaint: Inpaint, write_params: Callable[..., None], run: str
) -> None:
    write_params(project, compare={"variant": {"name": run if run in VARIANTS else "ours"}})
    inpaint(run, "scenes")
    folder, count = project / "build" / "compare" / f"{run}-scenes", 0
    for name, buckets in SETS.items():
        for bucket in buckets:
            for path in sorted((folder / name / bucket / "pasted").iterdir()):
                truth, pasted = (np.array(Image.open(p)) for p in (project / "data" / name / "test" / path.name, path))
                raw = np.array(Image.open(folder / name / bucket / "raw" / path.name))
                hole = np.array(Image.open(masks_of(project, name) / bucket / path.name)) > 127
                assert np.array_equal(pasted[~hole], truth[~hole])
                assert np.array_equal(pasted[hole], raw[hole])
                count += 1
    assert count == (2 * 3 + 2 * 2 + 3 if run in VARIANTS else 2 * 2 + 2 * 2 + 2) + 2
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["method"] == run
    assert facts["flops"] > 0
    assert all(count > 0 for count in facts["evaluations"].values())


@pytest.mark.usefixtures("_uncounted")
def test_scores_tell_fidelity_alignment_and_attributes(
    project: Path, stage: ModuleType, load_stage: Callable[[str], ModuleType]
) -> None:
    for dataset in ("scenes", "shifted"):
        stage.main("controlnet_inpaint", dataset)
        load_stage("compare_scores").main("controlnet_inpaint", dataset)
    plain = {"psnr", "ssim", "l1", "lpips_random", "psnr_hole", "l1_hole", "clip_score"}
    for dataset in ("scenes", "shifted"):
        with (project / "build" / "compared" / f"controlnet_inpaint-{dataset}.csv").open() as file:
            rows = list(csv.DictReader(file))
        found: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            found.setdefault((row["dataset"], row["bucket"]), set()).add(row["metric"])
        expected = {(dataset, bucket): plain for bucket in ("10-20", "50-60")}
        if dataset == "scenes":
            expected["objects", "object"] = plain | {"shape", "colour", "texture"}
        assert found == expected
        assert {row["variant"] for row in rows} == {"controlnet_inpaint"}
        assert {row["pasted"] for row in rows} == {"0", "1"}
        assert {float(row["value"]) for row in rows if row["metric"] == "shape"} <= {0.0, 1.0}


def test_an_unknown_run_or_data_set_is_refused_with_the_known_ones(project: Path, stage: ModuleType) -> None:
    with pytest.raises(ValueError, match="found 'lama', expected one of ours, glide, blended, sd_inpaint"):
        stage.main("lama", "scenes")
    with pytest.raises(ValueError, match="data set: found 'coco', expected scenes or shifted"):
        stage.main("glide", "coco")


@pytest.mark.parametrize(
    ("run", "missing"),
    [("glide", "glide/upsampler"), ("sd_inpaint", "sd_inpaint/unet"), ("copaint", "pixel/unet"), ("blended", "clip")],
)
def test_a_method_without_its_networks_is_named_before_any_image_is_made(
    project: Path, stage: ModuleType, run: str, missing: str
) -> None:
    shutil.rmtree(project / "build" / "networks" / missing)
    kept = project / "build" / "compare" / "unipaint-scenes" / "facts.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    with pytest.raises(FileNotFoundError, match=rf"^{run}: build/networks/{missing}: missing"):
        stage.main(run, "scenes")
    assert [path.name for path in (project / "build" / "compare").iterdir()] == ["unipaint-scenes"]
    assert kept.read_text() == "{}"
