"""The attribute classifier: labels, correctness, files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from ecdm.data.scenes import draw_scene
from ecdm.models.classifier import ATTRIBUTES, AttributeClassifier, accuracy, labels


def test_labels_are_positions_in_the_lists_of_the_scenes() -> None:
    items = [draw_scene(0, "train", i, 32, items=1).items[0] for i in range(30)]
    found = labels(items)
    for name, classes in ATTRIBUTES.items():
        assert [classes[number] for number in found[name]] == [getattr(item, name) for item in items]
        assert len(set(found[name].tolist())) > 2


def test_accuracy_counts_the_largest_logit() -> None:
    truth = {name: torch.tensor([0, 1, 2]) for name in ATTRIBUTES}
    logits = {name: torch.eye(3, len(classes)) for name, classes in ATTRIBUTES.items()}
    logits["colour"] = logits["colour"].flip(0)
    found = accuracy(logits, truth)
    assert found["shape"].tolist() == [1, 1, 1]
    assert found["texture"].tolist() == [1, 1, 1]
    assert found["colour"].tolist() == [0, 1, 0]


def test_an_unknown_attribute_is_refused() -> None:
    item = draw_scene(0, "train", 0, 32, items=1).items[0]
    with pytest.raises(ValueError, match="index"):
        labels([dataclasses.replace(item, shape="blob")])


def test_saved_in_half_precision_it_comes_back_in_float32(tmp_path: Path) -> None:
    model = AttributeClassifier(8).half()
    model.save(tmp_path / "classifier")
    loaded = AttributeClassifier.load(tmp_path / "classifier")
    assert not loaded.training
    assert loaded.width == 8
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[name], value.float())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    images = torch.rand(2, 3, 32, 32)
    assert {k: tuple(v.shape) for k, v in loaded(images).items()} == {k: (2, len(c)) for k, c in ATTRIBUTES.items()}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    AttributeClassifier(8).save(tmp_path / "classifier")
    (tmp_path / "classifier" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"classifier/{name}: missing component"):
        AttributeClassifier.load(tmp_path / "classifier")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="classifier: missing component of the foundation"):
        AttributeClassifier.load(tmp_path / "classifier")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "found no JSON"),
        ("[8]", "width: found None, expected a multiple of 8"),
        ("{}", "width: found None, expected a multiple of 8"),
        ('{"width": "8"}', "width: found '8', expected a multiple of 8"),
        ('{"width": 12}', "width: found 12, expected a multiple of 8"),
        ('{"width": 0}', "width: found 0, expected a multiple of 8"),
    ],
)
def test_a_config_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    AttributeClassifier(8).save(tmp_path / "classifier")
    path = tmp_path / "classifier" / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        AttributeClassifier.load(tmp_path / "classifier")


def test_unreadable_weights_are_named(tmp_path: Path) -> None:
    AttributeClassifier(8).save(tmp_path / "classifier")
    path = tmp_path / "classifier" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=rf"{path}: cannot be read as the classifier's weights"):
        AttributeClassifier.load(tmp_path / "classifier")
    AttributeClassifier(16).save(tmp_path / "other")
    path.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=rf"{path}: cannot be read as the classifier's weights"):
        AttributeClassifier.load(tmp_path / "classifier")
