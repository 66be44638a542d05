"""The shifted scenes: like the embedded ones in kind, unlike them in textures, colours, layouts and words."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from tokenizers import Tokenizer

from ecdm.data import files, scene_folder, textures
from ecdm.data.coco import load_image, read_split
from ecdm.data.engine import Engine
from ecdm.data.photos import PHOTOS
from ecdm.data.scene_folder import shifted_id, write_scenes, write_shifted
from ecdm.data.scenes import SHAPES, SPLITS, Colour, Scene, draw_scene, embedded, scene_rng
from ecdm.data.shifted import shifted
from ecdm.numerics.frequency import spectral_share

ROOT = Path(__file__).parents[2]
ALONE = Engine("local", 1)
Digests = Callable[[Path], dict[str, str]]


def draw(index: int, size: int = 32, items: int | None = None) -> Scene:
    return draw_scene(0, "test", index, size, items, shifted())


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw(index) for index in range(200)]


def lab(colours: dict[str, Colour]) -> np.ndarray:
    found: np.ndarray = rgb2lab(np.array(list(colours.values()))[None])[0]
    return found


def test_names_of_textures_and_tints_are_not_shared() -> None:
    one, other = embedded(), shifted()
    assert not {*one.backgrounds, *one.fillings} & {*other.backgrounds, *other.fillings}
    assert not set(one.tints) & set(other.tints)


def test_the_random_streams_are_not_shared() -> None:
    """With one stream for both, a shifted scene would tell what the embedded one with its number shows."""
    assert scene_rng(0, "test", 0, shifted().key).random() != scene_rng(0, "test", 0, embedded().key).random()


def test_no_colour_of_one_is_a_colour_of_the_other() -> None:
    """CIELAB distances: below 5 two colours look alike, jitter of 0.05 a channel moves one by about as much."""
    old, new = (np.concatenate([lab(dict(one.colours)), lab(dict(one.tints))]) for one in (embedded(), shifted()))
    assert np.linalg.norm(old[:, None] - new[None], axis=-1).min() > 10
    items, tints = lab(dict(shifted().colours)), lab(dict(shifted().tints))
    assert np.linalg.norm(items[:, None] - tints[None], axis=-1).min() > 20
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(items, 2)) > 30


def photographs(monkeypatch: pytest.MonkeyPatch, scenes: Callable[[], object]) -> set[str]:
    """Names of the photographs that drawing some scenes opens."""
    seen, read = set(), textures._photo

    def noted(name: str) -> textures.Array:
        seen.add(name)
        return read(name)

    with monkeypatch.context() as patch:
        patch.setattr(textures, "_photo", noted)
        scenes()
    return seen


def test_photographs_are_used_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = photographs(monkeypatch, lambda: [draw(index) for index in range(60)])
    theirs = photographs(monkeypatch, lambda: [draw_scene(0, "test", index, 32) for index in range(60)])
    assert ours == {"moon", "ihc"}
    assert theirs == {"brick", "grass", "gravel"}
    # The motorcycle comes as a stereo pair.
    assert ours.isdisjoint({name.partition(".")[0].partition("_")[0] for name in PHOTOS})


def test_a_whole_photograph_is_used_where_no_columns_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "_photo", lambda name: np.broadcast_to(np.arange(140, dtype=np.float32), (200, 140)))
    cut = [textures.photographed("moon", None)(np.random.default_rng(i), 128, "test") for i in range(200)]
    assert min(patch.min() for patch in cut) == 0
    assert max(patch.max() for patch in cut) == 139


@pytest.mark.parametrize("name", [*shifted().backgrounds, *shifted().fillings])
@pytest.mark.parametrize("size", [64, 192, 256])
def test_surfaces_have_the_range_of_a_surface(name: str, size: int) -> None:
    distribution = shifted()
    surface = distribution.fillings.get(name) or distribution.backgrounds[name][0]
    values = [surface(np.random.default_rng(seed), size, "test") for seed in range(4)]
    for value in values:
        assert value.shape == (size, size)
        assert value.dtype == np.float32
        assert np.abs(value).max() < 2.5
        assert value.std() > 0.1
    assert not np.array_equal(values[0], values[1])
    again = surface(np.random.default_rng(0), size, "test")
    assert np.array_equal(again, values[0])


def test_captions_name_what_is_there(drawn: list[Scene]) -> None:
    for scene in drawn:
        assert len(set(scene.captions)) == 4
        for caption in scene.captions:
            assert f"{scene.tint} {scene.background} surface" in caption
            assert all(item.phrase in caption for item in scene.items)
            assert "a orange" not in caption
    assert {item.shape for scene in drawn for item in scene.items} == set(SHAPES)


def test_captions_fit_the_bundled_text_encoder(drawn: list[Scene]) -> None:
    bundled = ROOT / "assets" / "foundation"
    tokenizer = Tokenizer.from_file(str(bundled / "tokenizer" / "tokenizer.json"))
    lengths = [len(tokenizer.encode(caption).tokens) for scene in drawn for caption in scene.captions]
    assert max(lengths) <= json.loads((bundled / "text_encoder" / "config.json").read_text())["max_position_embeddings"]


def test_captions_have_other_forms_than_the_embedded_ones() -> None:
    """A caption's form is what is left of it without the names of items and background."""

    def forms(scenes: list[Scene]) -> set[str]:
        found = set()
        for scene in scenes:
            for form in scene.captions:
                for item in scene.items:
                    form = form.replace(item.phrase, "ITEM")
                found.add(form.replace(f"{scene.tint} {scene.background}", "WHERE").replace("an WHERE", "a WHERE"))
        return found

    ours, theirs = forms([draw(i) for i in range(150)]), forms([draw_scene(0, "test", i, 32) for i in range(150)])
    assert len(ours) > 10
    assert ours.isdisjoint(theirs)


def test_sizes_lie_beyond_those_of_training_or_items_overlap(drawn: list[Scene]) -> None:
    for scene in drawn:
        radii = [item.radius for item in scene.items]
        if len(radii) != 2:
            assert all(radius < 0.16 or radius > 0.31 for radius in radii)
        else:
            apart = np.hypot(*np.subtract(scene.items[0].centre, scene.items[1].centre))
            assert 0.9 * radii[0] < apart < 1.4 * radii[0]
        for item in scene.items:
            assert all(item.radius * 0.7 < middle < 1 - item.radius * 0.7 for middle in item.centre)


@pytest.mark.parametrize("index", range(40))
def test_places_are_where_the_items_are(index: int) -> None:
    """Of two items the first is the hinder one, and the caption's `on the left` is the one that lies further left."""
    scene = draw(index, items=2)
    words = {"on the left": (0, 1), "on the right": (0, -1), "at the top": (1, 1), "at the bottom": (1, -1)}
    (caption,) = (text for text in scene.captions if text.endswith(tuple(words)))
    one, other = scene.items
    for item, rest in ((one, other), (other, one)):
        (axis, sign) = next(words[word] for word in words if f"{item.phrase} {word}" in caption)
        assert sign * (rest.centre[axis] - item.centre[axis]) > 0


def test_the_upper_item_of_a_pair_is_whole() -> None:
    """Where the second item's centre lies, its own colours show, not those of the first."""
    for index in range(30):
        scene = draw(index, 96, items=2)
        upper = scene.items[1]
        x, y = (int(middle * 96) for middle in upper.centre)
        shown = scene.image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3) / 255
        first = np.array(shifted().colours[upper.colour])
        tones = np.stack([first, shifted().second_tone(upper.colour, first.astype(np.float32))])
        # Every pixel lies between its two tones, up to the jitter of the first.
        along = tones[1] - tones[0]
        share = np.clip((shown - tones[0]) @ along / (along @ along), 0, 1)[:, None]
        assert np.abs(tones[0] + share * along - shown).max() < 0.08


def test_most_of_the_power_is_texture() -> None:
    images = np.stack([draw(index, 128).image for index in range(48)])
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert float(spectral_share(tensor, 4).mean()) >= 0.5


def test_the_folder_is_that_of_other_scenes(tmp_path: Path) -> None:
    write_shifted(tmp_path, 3, 32, 4, ALONE)
    shown = json.loads((tmp_path / "annotations" / "scenes_test.json").read_text())
    images = read_split(tmp_path, "test")
    assert [image.id for image in images] == [400_000_000 + index for index in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "test"]
    for index, image in enumerate(images):
        scene = draw_scene(3, "test", index, 32, distribution=shifted())
        assert np.array_equal(load_image(tmp_path / "test" / image.file_name), scene.image)
        assert image.captions == scene.captions
        assert shown[str(image.id)] == json.loads(json.dumps(scene.description()))


def test_no_image_and_no_id_is_an_embedded_one(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 0, 32, {split: 12 for split in SPLITS}, ALONE)
    write_shifted(tmp_path / "shifted", 0, 32, 12, ALONE)
    images = [load_image(path).tobytes() for path in tmp_path.rglob("*.png")]
    assert len(images) == len(set(images)) == 48
    ids = {image.id for split in SPLITS for image in read_split(tmp_path / "scenes", split)}
    assert ids.isdisjoint(image.id for image in read_split(tmp_path / "shifted", "test"))
    assert shifted_id(0) > max(ids)


def test_workers_do_not_matter_and_the_seed_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: Digests
) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr(files, "CHUNK", 1)
    monkeypatch.setattr(scene_folder, "PER_JOB", 1)
    for name, seed, workers in (("one", 0, 1), ("two", 0, 2), ("other", 1, 1)):
        write_shifted(tmp_path / name, seed, 32, 3, Engine("local", workers))
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert not set(one.values()) & set(other.values())
