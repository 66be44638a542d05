"""The embedded scenes stay what the bundled foundation was trained on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from ecdm.data.scenes import SPLITS, Scene, draw_scene, embedded, scene_rng

# Of the scenes below, as they were when the foundation was trained.
DESCRIBED = "5846a0d143f53d327af61e11eb5cab9c1f04aac605b214600001e93f9519fbbb"
PROJECTED = [
    *(-965, -2027, -1274, -1229, -918, -1237, -2063, -1357),
    *(-1857, -1457, -1382, -1538, -1321, -1033, -1593, -2275),
    *(-1572, -1420, -1517, -1385, -1572, -1097, -1772, -825),
]


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw_scene(3, split, index, 32) for split in SPLITS for index in range(8)]


def test_items_and_captions_are_those_of_the_training(drawn: list[Scene]) -> None:
    text = json.dumps([[scene.captions, scene.description()] for scene in drawn])
    assert hashlib.sha256(text.encode()).hexdigest() == DESCRIBED


def test_pixels_are_those_of_the_training(drawn: list[Scene]) -> None:
    """By one random projection of each image: a hash would hang on how a processor rounds sines and sums.

    Another texture of the same colours is some 140 units away, a different rounding of a twentieth of all values 1.5.
    """
    images = np.stack([scene.image for scene in drawn]).reshape(len(drawn), -1)
    weights = np.random.default_rng(0).standard_normal(images.shape[1])
    assert (images @ weights / 10).tolist() == pytest.approx(PROJECTED, abs=5)


def test_the_embedded_distribution_is_the_default() -> None:
    first, second = draw_scene(0, "test", 1, 32), draw_scene(0, "test", 1, 32, distribution=embedded())
    assert np.array_equal(first.image, second.image)
    assert first.captions == second.captions


def test_no_two_streams_are_the_same() -> None:
    keys = [(seed, split, index, key) for seed in (0, 1) for split in SPLITS for index in (0, 1) for key in ((), (1,))]
    assert len({float(scene_rng(*key).random()) for key in keys}) == len(keys)
