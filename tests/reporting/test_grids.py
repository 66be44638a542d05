"""Grids: every tile pixel for pixel where it belongs, and unreadable files named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecdm.reporting import grids
from ecdm.reporting.grids import GAP, HEAD, MARGIN, TILE, Folders, Grid, Sample, cut_grid, draw_grid, read_samples

RUNS = ("baseline-0", "ours-0")


def sample(size: int, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    truth, one, two = (rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(3))
    hole = np.zeros((size, size), bool)
    hole[: size // 2] = True
    return Sample("a cup for $5 or $6", truth, hole, {"Baseline": one, "Ours": two})


def draw(samples: list[Sample], path: Path) -> np.ndarray:
    draw_grid(Grid("grid", "A grid", samples, "a note"), path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def tile(picture: np.ndarray, column: int, top: int = MARGIN + HEAD) -> np.ndarray:
    left = MARGIN + column * (TILE + GAP)
    return picture[top : top + TILE, left : left + TILE]


def test_tiles_are_whole_enlargements_in_their_columns(tmp_path: Path) -> None:
    row = sample(32)
    picture = draw([row], tmp_path / "grid.png")
    for column, image in enumerate((row.truth, *row.outputs.values()), start=1):
        np.testing.assert_array_equal(tile(picture, column), image.repeat(8, axis=0).repeat(8, axis=1))


def test_masked_input_hides_the_hole_and_keeps_the_rest(tmp_path: Path) -> None:
    row = sample(32)
    masked = tile(draw([row], tmp_path / "grid.png"), 0)
    half = TILE // 2
    np.testing.assert_array_equal(masked[half:], row.truth[16:].repeat(8, axis=0).repeat(8, axis=1))
    colours = {tuple(pixel) for pixel in masked[:half].reshape(-1, 3).tolist()}
    assert colours == {grids.HOLE, grids.HATCH, grids.EDGE}


def test_the_hole_of_a_small_tile_ends_with_its_image(tmp_path: Path) -> None:
    """100 px are enlarged twice; the margin of 28 px around them stays white."""
    masked = tile(draw([sample(100)], tmp_path / "grid.png"), 0)
    assert (masked[:28] == 255).all()
    assert (masked[:, :28] == 255).all()
    assert (masked[28:128, 28:228] != 255).all()


def test_large_images_are_reduced_to_the_tile(tmp_path: Path) -> None:
    row = sample(2 * TILE)
    shown = tile(draw([row], tmp_path / "grid.png"), 1).astype(float)
    means = row.truth.reshape(TILE, 2, TILE, 2, 3).mean((1, 3))
    assert np.abs(shown - means).max() <= 1


def test_pictures_repeat_and_rows_add_up(tmp_path: Path) -> None:
    one = draw([sample(16)], tmp_path / "a.png")
    two = draw([sample(16), sample(16, 1)], tmp_path / "b.png")
    draw([sample(16)], tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert two.shape[0] - one.shape[0] > TILE
    assert two.shape[1] == one.shape[1] == 2 * MARGIN + 4 * TILE + 3 * GAP


def test_no_samples_say_so(tmp_path: Path) -> None:
    draw_grid(Grid("grid", "A grid", [], "a note"), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size[1] < TILE


def test_titles_name_the_columns_of_inputs_and_outputs(tmp_path: Path) -> None:
    """Other titles, another picture: the first column alone differs, above its tiles."""
    plain = Grid("grid", "A grid", [sample(32)], "")
    other = Grid("grid", "A grid", [sample(32)], "", ("Input", "Ground truth"))
    assert plain.titles == ("Masked input", "Ground truth", "Baseline", "Ours")
    assert other.titles == ("Input", "Ground truth", "Baseline", "Ours")
    pictures = []
    for grid in (plain, other):
        draw_grid(grid, tmp_path / "grid.png")
        with Image.open(tmp_path / "grid.png") as image:
            pictures.append(np.asarray(image.convert("RGB")))
    rows, columns = np.nonzero((pictures[0] != pictures[1]).any(axis=2))
    assert rows.max() < MARGIN + HEAD
    assert columns.max() < MARGIN + TILE


@pytest.mark.parametrize("size", [32, 100, 256])
def test_a_picture_gives_back_its_tiles(tmp_path: Path, size: int) -> None:
    """Captions of one line, of several and of none move the rows that follow."""
    captions = ["short", "of many words " * 40, "", "last"]
    rows = [replace(sample(size, seed), caption=caption) for seed, caption in enumerate(captions)]
    draw_grid(Grid("grid", "A grid", rows, "a note"), tmp_path / "grid.png")
    tiles = cut_grid(tmp_path / "grid.png", 4, captions, size)
    for row, found in zip(rows, tiles, strict=True):
        for expected, tile in zip((row.truth, *row.outputs.values()), found[1:], strict=True):
            np.testing.assert_array_equal(tile, expected)
        assert found[0].shape == row.truth.shape
        np.testing.assert_array_equal(found[0][size // 2 :], row.truth[size // 2 :])


def test_large_images_are_cut_at_the_size_of_a_tile(tmp_path: Path) -> None:
    draw_grid(Grid("grid", "A grid", [sample(2 * TILE)], ""), tmp_path / "grid.png")
    (row,) = cut_grid(tmp_path / "grid.png", 4, ["a cup for $5 or $6"], 2 * TILE)
    assert {one.shape for one in row} == {(TILE, TILE, 3)}


def test_a_picture_of_another_grid_is_named(tmp_path: Path) -> None:
    draw_grid(Grid("grid", "A grid", [sample(32)], ""), tmp_path / "grid.png")
    with pytest.raises(
        ValueError, match=r"grid\.png: found 1080x\d+ px, expected 1344 px and \d+ or more for 5 columns"
    ):
        cut_grid(tmp_path / "grid.png", 5, ["one"], 32)
    with pytest.raises(ValueError, match=r"grid\.png: found 1080x\d+ px, expected 1080 px and \d+ or more"):
        cut_grid(tmp_path / "grid.png", 4, ["one", "two"], 32)


def folders(root: Path) -> Folders:
    return Folders.of(root / "data", root / "build", "scenes", "wide", ["baseline", "ours"], 0)


def test_samples_are_the_first_images_with_their_files(project: Any, tmp_path: Path) -> None:
    project.write_dataset("scenes", [7, 3, 5], RUNS)
    found = read_samples(folders(tmp_path), 2)
    assert [row.caption for row in found] == ["caption 3", "caption 5"]
    assert found[0].truth[0, 0].tolist() == [30, 30, 30]
    assert found[0].hole[:8].all()
    assert not found[0].hole[8:].any()
    assert {title: int(image[0, 0, 0]) for title, image in found[0].outputs.items()} == {
        "Baseline": 100,
        "Ours": 120,
    }


def test_missing_unreadable_and_odd_files_are_named(project: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"captions_test\.json: no such file"):
        read_samples(folders(tmp_path), 1)
    project.write_dataset("scenes", [1], RUNS)
    output = tmp_path / "build/generate/ours-0/scenes/wide/pasted/000000000001.png"
    project.write_image(output, np.zeros((8, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"ours-0.*000000000001\.png: found 4x8 px, expected 16x16"):
        read_samples(folders(tmp_path), 1)
    output.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"ours-0.*000000000001\.png: expected an image"):
        read_samples(folders(tmp_path), 1)
    output.unlink()
    with pytest.raises(ValueError, match=r"ours-0.*000000000001\.png: expected an image.*No such file"):
        read_samples(folders(tmp_path), 1)
