"""CLIP features and score against transformers' own forward pass."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_case import write_networks
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPProcessor

from ecdm.models.networks import Clip, load_clip
from ecdm.models.similarity import clip_score, image_features, text_features

TEXTS = ["a red striped circle", "a gray wooden background with a blue square", "on the left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder / "clip"


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return load_clip(folder)


def pictures(size: int) -> torch.Tensor:
    bytes_ = torch.randint(0, 256, (3, 3, size, size), generator=torch.Generator().manual_seed(3))
    return bytes_.float() / 255


def test_the_score_is_that_of_the_models_own_forward_pass(clip: Clip, folder: Path) -> None:
    images, processor = pictures(32), CLIPProcessor.from_pretrained(folder)
    files = [Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)) for image in images]
    given = processor(text=TEXTS, images=files, return_tensors="pt", padding="max_length")
    with torch.no_grad():
        logits = clip.model(**given).logits_per_image / clip.model.logit_scale.exp()
    expected = 100 * logits.diagonal().double().clamp(min=0)
    found = clip_score(clip, images, TEXTS)
    assert found.dtype == torch.float64
    assert float(expected.max()) > 0
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_features_have_unit_length_and_images_of_any_size_are_resized(clip: Clip) -> None:
    with torch.no_grad():
        large, words = image_features(clip, pictures(64)), text_features(clip, TEXTS)
        reduced = F.interpolate(pictures(64), (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
        torch.testing.assert_close(large, image_features(clip, reduced))
    for features in (large, words):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(3))


def test_a_score_below_zero_counts_as_zero(clip: Clip) -> None:
    turned = copy.deepcopy(clip.model)
    turned.text_projection.weight.data.neg_()
    scores = [clip_score(one, pictures(32), TEXTS) for one in (clip, replace(clip, model=turned))]
    assert bool(((scores[0] == 0) != (scores[1] == 0)).all())
    assert bool(((scores[0] + scores[1]) > 0).all())
