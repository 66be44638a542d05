"""The embedded foundation's configurations and tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.data.scenes import draw_scene
from ecdm.models.foundation import embed
from ecdm.models.tiny import (
    TEXT_LENGTH,
    tiny_controlnet,
    tiny_scheduler,
    tiny_text_encoder,
    tiny_unet,
    tiny_vae,
    train_tokenizer,
)

START, END = 0, 1


def captions(split: str, count: int) -> list[str]:
    return [caption for i in range(count) for caption in draw_scene(0, split, i, 32).captions]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(captions("train", 60))


def ids(tokenizer: Any, text: str) -> list[int]:
    options = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
    found: list[int] = tokenizer([text], **options).input_ids[0]
    return found


def test_held_out_captions_survive_the_tokenizer(tokenizer: Any) -> None:
    for caption in captions("test", 20):
        numbers = ids(tokenizer, caption)
        assert len(numbers) == TEXT_LENGTH
        assert numbers[0] == START
        length = numbers.index(END)
        assert set(numbers[length:]) == {END}
        decoded = tokenizer.decode(numbers[1:length])
        assert decoded.replace(" ", "") == caption.replace(" ", "")


def test_merges_are_learnt(tokenizer: Any) -> None:
    numbers = ids(tokenizer, "a red circle in the middle")
    assert numbers.index(END) - 1 <= 8


def test_the_empty_caption_is_padding_alone(tokenizer: Any) -> None:
    assert ids(tokenizer, "") == [START] + [END] * (TEXT_LENGTH - 1)
    assert ids(tokenizer, " \n\t") == ids(tokenizer, "")


def test_a_long_caption_is_cut(tokenizer: Any) -> None:
    short, long = ids(tokenizer, "a red circle " * 12), ids(tokenizer, "a red circle " * 50)
    assert len(long) == TEXT_LENGTH
    assert long[-1] == END
    assert END not in long[:-1]
    assert long[:30] == short[:30]


TEXTS = ["ein rotes café in zürich", "猫 と 犬 🙂", "naïve – “quoted”", "q w z 7", "ω ≥ ½", "a \u0001 b"]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_can_be_encoded_without_loss(tokenizer: Any, text: str) -> None:
    numbers = ids(tokenizer, text)
    length = numbers.index(END)
    assert set(numbers[length:]) == {END}
    assert tokenizer.decode(numbers[1:length]).replace(" ", "") == text.replace(" ", "")
    assert max(numbers) < len(tokenizer)
    encoder = tiny_text_encoder(tokenizer).eval()
    with torch.no_grad():
        found = embed(tokenizer, encoder, [text, ""])
    assert bool(found.isfinite().all())
    assert float((found[0] - found[1]).abs().max()) > 1e-3


def test_every_byte_has_an_entry_within_and_at_the_end_of_a_word(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    letters = {entry for entry in vocabulary if len(entry) == 1}
    assert len(letters) == 256
    assert {f"{letter}</w>" for letter in letters} < vocabulary.keys()
    assert sorted(vocabulary.values()) == list(range(len(tokenizer)))
    assert tokenizer.all_special_tokens == ["<|startoftext|>", "<|endoftext|>"]


def test_a_saved_tokenizer_comes_back(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    for text in (*TEXTS, *captions("test", 5), "a red circle " * 50):
        assert ids(loaded, text) == ids(tokenizer, text)


def test_case_does_not_matter(tokenizer: Any) -> None:
    assert ids(tokenizer, "A Red CIRCLE") == ids(tokenizer, "a red circle")


def test_the_same_captions_give_the_same_bytes(tmp_path: Path, digests: Callable[[Path], dict[str, str]]) -> None:
    for name in ("a", "b"):
        train_tokenizer(captions("train", 60)).save_pretrained(tmp_path / name)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert "tokenizer.json" in digests(tmp_path / "a")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_new_branch_changes_nothing_and_has_the_unets_input_blocks() -> None:
    unet = tiny_unet().eval()
    branch = tiny_controlnet(unet).eval()
    z, text, t = normal(1, 8, 16, 16), normal(1, TEXT_LENGTH, 96), torch.tensor([500])
    down, middle = branch(z, t, text, normal(1, 3, 128, 128), return_dict=False)
    assert not any(bool(tensor.any()) for tensor in (*down, middle))
    plain = unet(z, t, text).sample
    added = unet(z, t, text, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample
    assert torch.equal(added, plain)
    kept: list[Tensor] = []
    for network in (unet, branch):
        network.mid_block.register_forward_hook(lambda module, args, output: kept.append(output))
    unet(z, t, text)
    branch(z, t, text, normal(1, 3, 128, 128))
    assert torch.equal(kept[0], kept[1])


@torch.no_grad()
def test_the_autoencoder_reduces_eightfold() -> None:
    vae = tiny_vae().eval()
    posterior = vae.encode(normal(1, 3, 64, 64)).latent_dist
    assert posterior.mean.shape == (1, 8, 8, 8)
    assert vae.decode(posterior.mean).sample.shape == (1, 3, 64, 64)


def test_all_networks_fit_the_repository(tokenizer: Any) -> None:
    """45 MB for all weights in half precision."""
    unet = tiny_unet()
    branch = tiny_controlnet(unet)
    networks = [tiny_vae(), unet, tiny_text_encoder(tokenizer), branch, branch]
    total = sum(p.numel() for network in networks for p in network.parameters())
    assert 10e6 < 2 * total < 45e6


def test_the_schedule_is_stable_diffusions() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(tiny_scheduler().betas, betas)
