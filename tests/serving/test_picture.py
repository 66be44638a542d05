"""Pictures of any size and kind: what is read, which crops are made, what is kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ecdm.serving import picture as module
from ecdm.serving.crops import CONTEXT, Crop, plan
from ecdm.serving.picture import Picture, fill_picture, load_hole, load_picture, png, save_picture

SIZE = 32


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def box(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Any:
    hole = np.zeros((height, width), bool)
    for top, left, bottom, right in boxes:
        hole[top:bottom, left:right] = True
    return hole


def white(pixels: Any, mask: Any, generator: torch.Generator) -> Any:
    """A model that paints holes white and, as ours, keeps the rest."""
    assert pixels.shape == (SIZE, SIZE, 3)
    assert mask.shape == (SIZE, SIZE)
    return np.where(mask[..., None], np.uint8(255), pixels)


def filled(hole: Any, crops: list[Crop]) -> Any:
    """How often each pixel is filled."""
    times = np.zeros(hole.shape, int)
    for crop in crops:
        times[crop.rows, crop.columns] += crop.hole
    return times


HOLES = {
    "the model's own size": box(32, 32, (0, 5, 30, 30)),
    "small": box(11, 7, (2, 2, 5, 5)),
    "one pixel": box(1, 1, (0, 0, 1, 1)),
    "full": box(50, 40, (0, 0, 50, 40)),
    "full wide": box(9, 300, (0, 0, 9, 300)),
    "in a corner": box(101, 203, (90, 190, 101, 203)),
    "far apart": box(203, 305, (1, 1, 12, 9), (190, 290, 200, 305), (100, 100, 170, 120)),
    "large": box(203, 305, (10, 20, 190, 220)),
    "specks": np.random.default_rng(0).random((90, 130)) < 0.03,
}


@pytest.mark.parametrize("name", HOLES)
def test_every_hole_pixel_is_filled_once_and_no_other_changes(name: str) -> None:
    hole, picture = HOLES[name], Picture(noise(*HOLES[name].shape) // 2)
    crops = plan(hole, SIZE)
    assert np.array_equal(filled(hole, crops), hole.astype(int))
    for crop in crops:
        spans = [s.stop - s.start + sum(p) for s, p in zip((crop.rows, crop.columns), crop.padding, strict=True)]
        assert spans == [crop.side, crop.side]
    before = picture.pixels.copy()
    found = fill_picture(white, SIZE, picture, hole, 0).pixels
    assert np.array_equal(found[~hole], before[~hole])
    assert found[hole].mean() > 200
    assert np.array_equal(picture.pixels, before)


def test_holes_that_fit_share_one_crop_at_full_resolution() -> None:
    (crop,) = plan(box(200, 300, (50, 60, 55, 65), (62, 70, 68, 78)), SIZE)
    assert crop.side == SIZE
    assert (crop.rows, crop.columns) == (slice(43, 75), slice(53, 85))


def test_holes_far_apart_get_crops_of_their_own_the_largest_first() -> None:
    crops = plan(box(300, 300, (10, 10, 14, 14), (200, 200, 260, 250), (195, 240, 198, 250)), SIZE)
    assert [crop.side for crop in crops] == [int(60 * CONTEXT), SIZE]
    assert [int(crop.hole.sum()) for crop in crops] == [60 * 50 + 30, 16]


def test_a_picture_of_the_models_size_goes_through_as_it_is() -> None:
    pixels, hole = noise(SIZE, SIZE), box(SIZE, SIZE, (0, 0, 5, 30))
    seen: list[Any] = []

    def fill(given: Any, mask: Any, generator: torch.Generator) -> Any:
        seen.append((given, mask, generator.initial_seed()))
        return 255 - given

    found = fill_picture(fill, SIZE, Picture(pixels), hole, 9).pixels
    ((given, mask, seed),) = seen
    assert seed == 9
    assert np.array_equal(mask, hole)
    assert np.array_equal(given[~hole], pixels[~hole])
    assert np.array_equal(found[hole], 255 - given[hole])


@pytest.mark.parametrize("name", ["small", "far apart", "large", "full wide"])
def test_nothing_of_the_hole_is_read(name: str) -> None:
    hole = HOLES[name]
    one, two = np.split(noise(2 * hole.shape[0], hole.shape[1]), 2)
    two[~hole] = one[~hole]

    def echo(pixels: Any, mask: Any, generator: torch.Generator) -> Any:
        return pixels

    first, second = (fill_picture(echo, SIZE, Picture(pixels), hole, 0).pixels for pixels in (one, two))
    assert np.array_equal(first, second)


def test_resized_masks_cover_all_of_the_hole() -> None:
    hole = box(331, 331, (100, 100, 101, 331), (5, 7, 6, 8))
    fine = module._covered(hole, SIZE)
    for row, column in zip(*hole.nonzero(), strict=True):
        assert fine[row * SIZE // 331, column * SIZE // 331]
    assert fine.sum() < 70


def test_the_same_seed_gives_the_same_picture_and_progress_is_told() -> None:
    hole, told = HOLES["far apart"], []

    def draw(pixels: Any, mask: Any, generator: torch.Generator) -> Any:
        return torch.randint(256, pixels.shape, generator=generator, dtype=torch.uint8).numpy()

    def run(seed: int) -> Any:
        after = lambda done, crops: told.append((done, crops))  # noqa: E731
        return fill_picture(draw, SIZE, Picture(noise(*hole.shape)), hole, seed, after).pixels

    assert np.array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))
    assert told[:3] == [(1, 3), (2, 3), (3, 3)]


def test_an_empty_mask_gives_the_picture_itself() -> None:
    picture = Picture(noise(40, 60))
    assert fill_picture(white, SIZE, picture, box(40, 60), 0) is picture
    with pytest.raises(ValueError, match="mask: found 60x41 px, expected 60x40 px"):
        fill_picture(white, SIZE, picture, box(41, 60), 0)


def test_streams_are_read_and_written_like_files(tmp_path: Path) -> None:
    pixels = np.dstack([noise(6, 5), noise(6, 5)[..., :1]])
    Image.fromarray(pixels).save(tmp_path / "in.png")
    content = (tmp_path / "in.png").read_bytes()
    picture = load_picture(io.BytesIO(content), "upload")
    assert picture.alpha is not None
    assert np.array_equal(np.dstack([picture.pixels, picture.alpha]), pixels)
    save_picture(tmp_path / "out.png", picture)
    assert png(picture) == (tmp_path / "out.png").read_bytes()
    with pytest.raises(ValueError, match=r"^upload: expected an image, found bytes that cannot be read as one$"):
        load_picture(io.BytesIO(b"text"), "upload")
    with pytest.raises(ValueError, match=r"^upload: found a mask of 5x6 px, expected 4x4 px"):
        load_hole(io.BytesIO(content), Picture(noise(4, 4)), "upload")


def test_transparency_is_kept_and_its_hidden_colours_are_not_shown(tmp_path: Path) -> None:
    pixels, alpha = noise(SIZE, SIZE), np.full((SIZE, SIZE), 255, np.uint8)
    alpha[:, :10] = 0
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "in.png")
    hole = box(SIZE, SIZE, (0, 5, 32, 20))
    seen: list[Any] = []

    def fill(given: Any, mask: Any, generator: torch.Generator) -> Any:
        seen.append(given)
        return np.zeros_like(given)

    save_picture(tmp_path / "out.png", fill_picture(fill, SIZE, load_picture(tmp_path / "in.png"), hole, 0))
    assert (seen[0][:, :5] == 255).all()
    found = np.array(Image.open(tmp_path / "out.png"))
    assert (found[hole] == [0, 0, 0, 255]).all()
    assert np.array_equal(found[~hole], np.dstack([pixels, alpha])[~hole])


def test_gray_palette_and_rotated_files_become_upright_rgb(tmp_path: Path) -> None:
    gray = noise(20, 30)[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(load_picture(tmp_path / "gray.png").pixels, np.dstack([gray] * 3))
    palette = Image.fromarray(noise(20, 30)).quantize(8)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(load_picture(tmp_path / "palette.png").pixels, np.array(palette.convert("RGB")))
    palette.save(tmp_path / "clear.png", transparency=0)
    clear = load_picture(tmp_path / "clear.png")
    assert clear.alpha is not None
    assert np.array_equal(clear.alpha == 0, np.array(palette) == 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(20, 30)).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_picture(tmp_path / "turned.png").pixels, np.rot90(noise(20, 30), -1))
    Image.fromarray(noise(20, 30)).save(tmp_path / "profile.png", icc_profile=b"colours")
    save_picture(tmp_path / "again.png", load_picture(tmp_path / "profile.png"))
    assert Image.open(tmp_path / "again.png").info["icc_profile"] == b"colours"


def test_masks_are_hole_from_gray_128_on(tmp_path: Path) -> None:
    values = np.array([[0, 127, 128, 255]], np.uint8)
    picture = Picture(noise(1, 4))
    Image.fromarray(values).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([values] * 3)).save(tmp_path / "colour.png")
    for name in ("gray.png", "colour.png"):
        assert load_hole(tmp_path / name, picture).tolist() == [[False, False, True, True]]
    Image.fromarray(values >= 128).save(tmp_path / "bits.png")
    assert load_hole(tmp_path / "bits.png", picture).tolist() == [[False, False, True, True]]
    with pytest.raises(ValueError, match=r"gray\.png: found a mask of 4x1 px, expected 5x2 px"):
        load_hole(tmp_path / "gray.png", Picture(noise(2, 5)))


def test_files_that_are_no_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no picture")
    save_picture(tmp_path / "cut.png", Picture(noise(40, 40)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    for name, message in (("text", "cannot be read"), ("cut", "cannot be read"), ("deep", "8 bits per channel")):
        with pytest.raises(ValueError, match=rf"{name}\.png: .*{message}"):
            load_picture(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="found a folder"):
        load_picture(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_picture(tmp_path / "none.png")
    save_picture(tmp_path / "large.png", Picture(noise(40, 40)))
    monkeypatch.setattr(module, "LIMIT", 1599)
    with pytest.raises(ValueError, match=r"large\.png: found 40x40 px, expected at most 1,599 pixels"):
        load_picture(tmp_path / "large.png")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_refused(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((4, 4, channels), 40000, np.uint16))
    for load in (load_picture, lambda file: load_hole(file, Picture(noise(4, 4)))):
        with pytest.raises(ValueError, match=r"deep\.png: found pixels of mode RGBA?;16B, expected 8 bits per channel"):
            load(path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    Image.new("1", (60000, 60000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match=r"bomb\.png"):
        load_picture(tmp_path / "bomb.png")


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "out.png"
    save_picture(path, Picture(noise(4, 4)))
    before = path.read_bytes()

    def broken(old: Any, new: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        save_picture(path, Picture(noise(5, 5)))
    assert [file.name for file in path.parent.iterdir()] == ["out.png"]
    assert path.read_bytes() == before
