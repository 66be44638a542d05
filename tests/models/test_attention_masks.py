"""Attention cut after the softmax, against explicit weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ecdm.models.attention_masks import masked_attention


def expected_attention(attn: Any, x: Tensor, attended: Tensor, kept: Tensor) -> Tensor:
    """Softmax, then what is not kept set to 0, head by head."""
    q, k, v = attn.to_q(x), attn.to_k(attended), attn.to_v(attended)
    width = q.shape[-1] // attn.heads
    heads = []
    for head in range(attn.heads):
        part = slice(head * width, (head + 1) * width)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / width**0.5, dim=-1)
        heads.append((weights * kept) @ v[..., part])
    return attn.to_out[0](torch.cat(heads, dim=-1))


# Whole cells are hole: of a row of four the first two, so that each coarser level has hole and known places too.
CELLS = torch.tensor([[0.0, 0, 1, 1]] * 3 + [[0.0, 0, 0, 0]])


def blocks(unet: Any) -> list[tuple[Any, Tensor]]:
    """A transformer block of the first, the second and the last level, with how much each of its places is hole."""
    first, second = (unet.down_blocks[i].attentions[0].transformer_blocks[0] for i in (0, 1))
    middle = unet.mid_block.attentions[0].transformer_blocks[0]
    # Between the middle pixels of four cells lie two of them, or four: bilinear interpolation takes their mean.
    return [
        (first, CELLS.flatten()),
        (second, torch.tensor([0.0, 1.0, 0.0, 0.5])),
        (middle, torch.tensor([0.5])),
    ]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_attention_is_cut_after_the_softmax(parts: Any, level: int) -> None:
    mask = CELLS.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]
    block, hole = blocks(parts.unet)[level]
    x = torch.randn(2, len(hole), block.attn1.to_q.in_features, generator=torch.Generator().manual_seed(6))
    text = parts.embed(["", "a red circle"])
    with masked_attention(parts.unet, mask, 8):
        found_self, found_cross = block.attn1(x), block.attn2(x, encoder_hidden_states=text)
    among, of_text = torch.ones(len(hole), len(hole)), torch.ones(len(hole), text.shape[1])
    for query, of_query in enumerate(hole.tolist()):
        for key, of_key in enumerate(hole.tolist()):
            among[query, key] = 1 - (1 - of_query) * of_key
        of_text[query, 1:] = of_query
    torch.testing.assert_close(found_self, expected_attention(block.attn1, x, x, among), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_cross, expected_attention(block.attn2, x, text, of_text), rtol=1e-4, atol=1e-5)
    plain = block.attn1(x)
    assert not torch.allclose(found_self, plain, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(plain, expected_attention(block.attn1, x, x, torch.ones(1)), rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_the_same_but_for_rounding(parts: Any) -> None:
    mask = CELLS.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]
    z, text = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(7)), parts.embed(["a red circle"])
    with masked_attention(parts.unet, mask, 8):
        expected = parts.unet(z, 99, text).sample
        with torch.autocast("cpu", torch.bfloat16):
            found = parts.unet(z, 99, text).sample
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_where_all_is_hole_attention_is_as_ever(parts: Any) -> None:
    z, text = torch.randn(1, 4, 4, 6, generator=torch.Generator().manual_seed(7)), parts.embed(["a red circle"])
    expected = parts.unet(z, 99, text).sample
    with masked_attention(parts.unet, torch.ones(1, 1, 32, 48), 8):
        torch.testing.assert_close(parts.unet(z, 99, text).sample, expected, rtol=1e-4, atol=1e-5)


def test_known_places_do_not_hear_of_the_hole(parts: Any) -> None:
    """Keys and values of the hole, and the caption, may be what they like."""
    mask = CELLS.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]
    block, hole = blocks(parts.unet)[0]
    known = hole == 0
    x = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(6))
    with masked_attention(parts.unet, mask, 8):
        attn = block.attn1
        values = attn.to_v.register_forward_hook(lambda module, args, output: output * known[:, None])
        without = attn(x)
        values.remove()
        torch.testing.assert_close(attn(x)[:, known], without[:, known], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(attn(x)[:, ~known], without[:, ~known], rtol=1e-3, atol=1e-4)


def test_the_processors_come_back(parts: Any) -> None:
    before = parts.unet.attn_processors

    def fail() -> None:
        with masked_attention(parts.unet, torch.ones(1, 1, 32, 32), 8):
            assert not any(processor is before[name] for name, processor in parts.unet.attn_processors.items())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert all(processor is before[name] for name, processor in parts.unet.attn_processors.items())
