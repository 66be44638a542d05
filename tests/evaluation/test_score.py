"""Rows of the score tables against scikit-image and lpips on the PNGs that were written."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import lpips
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ecdm.data.scores import COLUMNS
from ecdm.evaluation.score import write_rows

METRICS = {"psnr", "ssim", "l1", "lpips_random", "psnr_hole", "l1_hole"}
Table = dict[tuple[str, ...], float]


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def read(path: Path) -> Table:
    """(dataset, variant, seed, image_id, bucket, metric, pasted) → value."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    table = {tuple(row[:-1]): float(row[-1]) for row in rows}
    assert len(table) == len(rows)
    return table


@pytest.fixture(scope="module")
def net() -> Any:
    """The stand-in of the perceptual distance, built by its package."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()


def measured(
    output: NDArray[np.uint8], truth: NDArray[np.uint8], hole: NDArray[np.bool_], net: Any
) -> dict[str, float]:
    difference = np.abs(output.astype(float) - truth) / 255
    signed = [lpips.im2tensor(image, factor=255 / 2, cent=1.0) for image in (output, truth)]
    options: dict[str, Any] = {"channel_axis": 2, "data_range": 255, "gaussian_weights": True, "sigma": 1.5}
    with torch.no_grad():
        distance = float(net(*signed))
    return {
        "psnr": peak_signal_noise_ratio(truth, output, data_range=255),
        "ssim": structural_similarity(truth, output, use_sample_covariance=False, **options),
        "l1": difference.mean(),
        "lpips_random": distance,
        "psnr_hole": peak_signal_noise_ratio(truth[hole], output[hole], data_range=255),
        "l1_hole": difference[hole].mean(),
    }


def images(tree: Path) -> Iterator[tuple[str, str, Path]]:
    for dataset in ("scenes", "photos"):
        for path in sorted((tree / "data" / dataset / "test").glob("*.png")):
            for bucket in ("10-20", "50-60"):
                yield dataset, bucket, path


def test_scores_are_those_of_the_written_pictures(
    trained: Path, load_stage: Callable[[str], ModuleType], net: Any
) -> None:
    load_stage("generate").main("ours", 0)
    load_stage("evaluate").main("ours", 0)
    table = read(trained / "build" / "scores" / "ours-0.csv")
    seen = 0
    for dataset, bucket, path in images(trained):
        hole = pixels(trained / "build/masks" / dataset / bucket / path.name) > 127
        for kind, pasted in (("raw", "0"), ("pasted", "1")):
            output = pixels(trained / "build/generate/ours-0" / dataset / bucket / kind / path.name)
            for metric, value in measured(output, pixels(path), hole, net).items():
                key = (dataset, "ours", "0", str(int(path.stem)), bucket, metric, pasted)
                assert table[key] == pytest.approx(value, rel=2e-4, abs=1e-6), key
                seen += 1
    assert seen == len(table) == 8 * 2 * 2 * len(METRICS)


def test_the_hole_decides_the_hole_metrics_whatever_is_pasted(
    trained: Path, load_stage: Callable[[str], ModuleType]
) -> None:
    load_stage("generate").main("ours", 0)
    load_stage("evaluate").main("ours", 0)
    table = read(trained / "build" / "scores" / "ours-0.csv")
    for key, value in table.items():
        if key[5].endswith("_hole") and key[6] == "0":
            assert table[(*key[:6], "1")] == value
        if key[5] == "l1" and key[6] == "0":
            assert table[(*key[:6], "1")] < value


def test_the_same_outputs_give_the_same_bytes(trained: Path, load_stage: Callable[[str], ModuleType]) -> None:
    load_stage("generate").main("ours", 0)
    found = []
    for _ in range(2):
        load_stage("evaluate").main("ours", 0)
        found.append((trained / "build/scores/ours-0.csv").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_an_output_that_cannot_be_read_is_named(
    trained: Path, load_stage: Callable[[str], ModuleType], spoil: Callable[[Path], Any]
) -> None:
    load_stage("generate").main("ours", 0)
    spoil(trained / "build/generate/ours-0/photos/50-60/pasted/000000000003.png")
    with pytest.raises(ValueError, match=r"photos/50-60/pasted/000000000003\.png"):
        load_stage("evaluate").main("ours", 0)
    assert not (trained / "build" / "scores").exists()


def test_reference_rows_are_fills_and_the_autoencoder(
    tree: Path, parts: Any, load_stage: Callable[[str], ModuleType], net: Any
) -> None:
    load_stage("reference").main()
    table = read(tree / "build" / "scores" / "reference.csv")
    assert {key[1] for key in table} == {"mean_fill", "telea", "navier_stokes", "vae"}
    assert len(table) == 4 * 8 * 2 * 2 * len(METRICS)
    for dataset, bucket, path in images(tree):
        truth = pixels(path)
        hole = pixels(tree / "build/masks" / dataset / bucket / path.name) > 127
        visible = np.where(hole[..., None], 0, truth).astype(np.uint8)
        telea = cv2.inpaint(visible, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.uint8)
        with torch.no_grad():
            signed = torch.from_numpy(truth).permute(2, 0, 1)[None].float() / 127.5 - 1
            decoded = parts.vae.decode(parts.vae.encode(signed).latent_dist.mean).sample[0]
        restored = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        pasted = np.where(hole[..., None], restored, truth).astype(np.uint8)
        for name, output, kind in (("telea", telea, "1"), ("vae", restored, "0"), ("vae", pasted, "1")):
            for metric, value in measured(output, truth, hole, net).items():
                key = (dataset, name, "0", str(int(path.stem)), bucket, metric, kind)
                assert table[key] == pytest.approx(value, rel=2e-3, abs=1e-4), key


def test_rows_have_six_digits(tmp_path: Path) -> None:
    write_rows(tmp_path / "new" / "a.csv", [("scenes", "ours", 0, 3, "10-20", "psnr", 1, 12.3456789)])
    text = (tmp_path / "new" / "a.csv").read_text()
    assert text == f"{','.join(COLUMNS)}\nscenes,ours,0,3,10-20,psnr,1,12.3457\n"
