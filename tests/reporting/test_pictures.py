"""Pictures in the page: their pixels, their order, and that they keep to the budget."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ecdm.reporting.grids import Grid, Sample
from ecdm.reporting.pictures import QUALITIES, galleries


def sample(value: int, size: int = 32) -> Sample:
    """Truth of one value, outputs brighter by 40 and 80, the upper half hidden."""
    hole = np.zeros((size, size), bool)
    hole[: size // 2] = True
    flat = [np.full((size, size, 3), value + 40 * i, np.uint8) for i in range(3)]
    return Sample(f"caption {value}", flat[0], hole, {"Baseline": flat[1], "Ours": flat[2]})


def decoded(source: str) -> np.ndarray:
    kind, _, content = source.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def noise(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]
    return [Sample("noise", image, np.zeros((64, 64), bool), {"Ours": image}) for image in images]


def test_every_tile_stands_in_its_column() -> None:
    (found,), quality = galleries([Grid("a", "A", [sample(10), sample(100)], "note"), Grid("b", "B", [], "")])
    assert quality == QUALITIES[0]
    assert found.titles == ("Masked input", "Ground truth", "Baseline", "Ours")
    for row, value in zip(found.rows, (10, 100), strict=True):
        masked, *others = [decoded(tile.source) for tile in row.tiles]
        for tile, expected in zip(others, (value, value + 40, value + 80), strict=True):
            assert np.abs(tile.astype(int) - expected).max() <= 3
        assert np.abs(masked[24:].astype(int) - value).max() <= 6
        assert masked[:12].mean() > 190
        assert row.tiles[3].alt == f"Ours: caption {value}"


def test_large_pictures_are_reduced() -> None:
    (found,), _ = galleries([Grid("a", "A", [sample(10, 600)], "")])
    assert {(tile.width, tile.height) for tile in found.rows[0].tiles} == {(256, 256)}


def test_quality_falls_until_all_fit_and_no_lower() -> None:
    grid = [Grid("a", "A", noise(2), "")]

    def size(quality: int) -> int:
        contents = [io.BytesIO() for _ in range(6)]
        images = [picture for one in grid[0].samples for picture in (one.truth, one.truth, one.outputs["Ours"])]
        for image, content in zip(images, contents, strict=True):
            Image.fromarray(image).save(content, format="WEBP", quality=quality, method=6)
        return sum(len(content.getvalue()) for content in contents)

    for wanted in QUALITIES[:3]:
        assert galleries(grid, size(wanted))[1] == wanted
    with pytest.raises(ValueError, match="grids: found 6 pictures that take more than 10 bytes"):
        galleries(grid, 10)
