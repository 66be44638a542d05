"""Names and shapes of the tensors in Stable Diffusion's own checkpoints, from the modules that its authors describe.

A layout maps a tensor's name to its shape. Blocks, their order and their names follow the latent diffusion code's
UNetModel, its first stage, transformers' CLIP text model as its conditioning stage, and ControlNet's control model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Layout = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Ldm:
    """The sizes that those classes are built with; the defaults are Stable Diffusion 1.x's."""

    channels: Sequence[int] = (320, 640, 1280, 1280)
    attention: Sequence[bool] = (True, True, True, False)
    layers: int = 2
    context: int = 768
    latent: int = 4
    inputs: int = 4
    vae_channels: Sequence[int] = (128, 256, 512, 512)
    vae_layers: int = 2
    vocabulary: int = 49408
    tokens: int = 77
    text_layers: int = 12
    hint: Sequence[int] = (16, 32, 96, 256)


def conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Layout:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def linear(name: str, inputs: int, outputs: int) -> Layout:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, channels: int) -> Layout:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _residual(name: str, inputs: int, outputs: int, time: int) -> Layout:
    found = norm(f"{name}.in_layers.0", inputs) | conv(f"{name}.in_layers.2", inputs, outputs)
    found |= linear(f"{name}.emb_layers.1", time, outputs)
    found |= norm(f"{name}.out_layers.0", outputs) | conv(f"{name}.out_layers.3", outputs, outputs)
    return found | (conv(f"{name}.skip_connection", inputs, outputs, 1) if inputs != outputs else {})


def _transformer(name: str, width: int, context: int) -> Layout:
    found = norm(f"{name}.norm", width) | conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, keys in (("attn1", width), ("attn2", context)):
        found |= {f"{block}.{attention}.to_q.weight": (width, width)}
        found |= {f"{block}.{attention}.to_{kind}.weight": (width, keys) for kind in "kv"}
        found |= linear(f"{block}.{attention}.to_out.0", width, width)
    found |= linear(f"{block}.ff.net.0.proj", width, 8 * width) | linear(f"{block}.ff.net.2", 4 * width, width)
    for i in (1, 2, 3):
        found |= norm(f"{block}.norm{i}", width)
    return found | conv(f"{name}.proj_out", width, width, 1)


def _encoder(ldm: Ldm, inputs: int) -> tuple[Layout, list[int]]:
    """Time embedding, input blocks and middle block; the channels of each input block."""
    first, time = ldm.channels[0], 4 * ldm.channels[0]
    found = linear("time_embed.0", first, time) | linear("time_embed.2", time, time)
    found |= conv("input_blocks.0.0", inputs, first)
    sizes = [first]
    for level, width in enumerate(ldm.channels):
        for _ in range(ldm.layers):
            block = f"input_blocks.{len(sizes)}"
            found |= _residual(f"{block}.0", sizes[-1], width, time)
            found |= _transformer(f"{block}.1", width, ldm.context) if ldm.attention[level] else {}
            sizes.append(width)
        if level < len(ldm.channels) - 1:
            found |= conv(f"input_blocks.{len(sizes)}.0.op", width, width)
            sizes.append(width)
    last = ldm.channels[-1]
    found |= _residual("middle_block.0", last, last, time) | _transformer("middle_block.1", last, ldm.context)
    return found | _residual("middle_block.2", last, last, time), sizes


def unet(ldm: Ldm) -> Layout:
    """`model.diffusion_model.` of a checkpoint."""
    found, skips = _encoder(ldm, ldm.inputs)
    time, width, number = 4 * ldm.channels[0], ldm.channels[-1], 0
    for level in reversed(range(len(ldm.channels))):
        for layer in range(ldm.layers + 1):
            block, place = f"output_blocks.{number}", 1
            found |= _residual(f"{block}.0", width + skips.pop(), ldm.channels[level], time)
            width = ldm.channels[level]
            if ldm.attention[level]:
                found |= _transformer(f"{block}.1", width, ldm.context)
                place = 2
            if level and layer == ldm.layers:
                found |= conv(f"{block}.{place}.conv", width, width)
            number += 1
    found |= norm("out.0", width) | conv("out.2", width, ldm.latent)
    return {f"model.diffusion_model.{name}": shape for name, shape in found.items()}


def controlnet(ldm: Ldm) -> Layout:
    """A ControlNet's own checkpoint."""
    found, sizes = _encoder(ldm, ldm.latent)
    for i, width in enumerate(sizes):
        found |= conv(f"zero_convs.{i}.0", width, width, 1)
    found |= conv("middle_block_out.0", ldm.channels[-1], ldm.channels[-1], 1)
    widths = [3, ldm.hint[0], *(width for pair in zip(ldm.hint[:-1], ldm.hint[1:], strict=True) for width in pair)]
    for i, (inputs, outputs) in enumerate(zip(widths, [*widths[1:], ldm.channels[0]], strict=True)):
        found |= conv(f"input_hint_block.{2 * i}", inputs, outputs)
    return {f"control_model.{name}": shape for name, shape in found.items()}


def _vae_block(name: str, inputs: int, outputs: int) -> Layout:
    found = norm(f"{name}.norm1", inputs) | conv(f"{name}.conv1", inputs, outputs)
    found |= norm(f"{name}.norm2", outputs) | conv(f"{name}.conv2", outputs, outputs)
    return found | (conv(f"{name}.nin_shortcut", inputs, outputs, 1) if inputs != outputs else {})


def _vae_middle(name: str, width: int) -> Layout:
    found = _vae_block(f"{name}.block_1", width, width) | norm(f"{name}.attn_1.norm", width)
    for kind in ("q", "k", "v", "proj_out"):
        found |= conv(f"{name}.attn_1.{kind}", width, width, 1)
    return found | _vae_block(f"{name}.block_2", width, width)


def vae(ldm: Ldm) -> Layout:
    """`first_stage_model.` of a checkpoint."""
    widths, last = ldm.vae_channels, ldm.vae_channels[-1]
    found, width = conv("encoder.conv_in", 3, widths[0]), widths[0]
    for level, size in enumerate(widths):
        for layer in range(ldm.vae_layers):
            found |= _vae_block(f"encoder.down.{level}.block.{layer}", width, size)
            width = size
        found |= conv(f"encoder.down.{level}.downsample.conv", size, size) if level < len(widths) - 1 else {}
    found |= _vae_middle("encoder.mid", last) | norm("encoder.norm_out", last)
    found |= conv("encoder.conv_out", last, 2 * ldm.latent) | conv("decoder.conv_in", ldm.latent, last)
    found |= _vae_middle("decoder.mid", last)
    for level in reversed(range(len(widths))):
        for layer in range(ldm.vae_layers + 1):
            found |= _vae_block(f"decoder.up.{level}.block.{layer}", width, widths[level])
            width = widths[level]
        found |= conv(f"decoder.up.{level}.upsample.conv", width, width) if level else {}
    found |= norm("decoder.norm_out", width) | conv("decoder.conv_out", width, 3)
    found |= conv("quant_conv", 2 * ldm.latent, 2 * ldm.latent, 1) | conv("post_quant_conv", ldm.latent, ldm.latent, 1)
    return {f"first_stage_model.{name}": shape for name, shape in found.items()}


def text_model(ldm: Ldm) -> Layout:
    """`text_model.` of CLIP, with the position numbers that older versions of transformers saved."""
    width = ldm.context
    found: Layout = {
        "embeddings.token_embedding.weight": (ldm.vocabulary, width),
        "embeddings.position_embedding.weight": (ldm.tokens, width),
        "embeddings.position_ids": (1, ldm.tokens),
    }
    for i in range(ldm.text_layers):
        layer = f"encoder.layers.{i}"
        for kind in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(f"{layer}.self_attn.{kind}", width, width)
        found |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
        found |= linear(f"{layer}.mlp.fc1", width, 4 * width) | linear(f"{layer}.mlp.fc2", 4 * width, width)
    found |= norm("final_layer_norm", width)
    return {f"text_model.{name}": shape for name, shape in found.items()}


def checkpoint(ldm: Ldm) -> Layout:
    """All of a Stable Diffusion checkpoint."""
    text = {f"cond_stage_model.transformer.{name}": shape for name, shape in text_model(ldm).items()}
    return unet(ldm) | vae(ldm) | text
