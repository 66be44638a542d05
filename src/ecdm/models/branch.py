"""The trainable inpainting branch: a ControlNet, with or without ACDA; made, run, saved and loaded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from ecdm.config import Acda as AcdaParams
from ecdm.models.acda import Acda, AcdaConfig, AcdaProcessor
from ecdm.models.foundation import Components, load_network
from ecdm.models.split_unet import Residuals
from ecdm.numerics.masks import masked_image

INDEX = "branch.json"


class Branch(nn.Module):
    """(z, t, text, hint, signal) → residuals for the frozen UNet's skips and middle block.

    hint (b, 3, h, w): the masked image, known pixels in [0, 1], −1 in the hole. signal (b, c, h', w'): what ACDA
    transforms, see `signal`; or the tokens made of it, when they serve several steps.
    """

    def __init__(self, controlnet: ControlNetModel, acda: Acda | None = None) -> None:
        super().__init__()
        self.controlnet, self.acda = controlnet, acda
        self.processors: list[AcdaProcessor] = acda.attach(controlnet) if acda else []

    def forward(self, z: Tensor, t: Tensor, text: Tensor, hint: Tensor, signal: Tensor | None = None,
                tokens: Tensor | None = None) -> Residuals:  # fmt: skip
        kwargs: dict[str, Any] = {}
        if self.acda is not None:
            if tokens is None and signal is None:
                raise ValueError("branch: found neither signal nor tokens, expected one of them for ACDA")
            kwargs["frequency_tokens"] = self.acda.tokens(signal) if tokens is None else tokens  # type: ignore[arg-type]
        down, middle = self.controlnet(z, t, text, hint, cross_attention_kwargs=kwargs or None, return_dict=False)
        return Residuals(tuple(down), middle)

    def groups(self, lr: float, acda_lr: float) -> list[dict[str, Any]]:
        """Optimiser groups: ControlNet and frequency encoder's body at `lr`; its last layer, k' and v' at `acda_lr`.

        The second term has to grow from zero. The body does not: at rates that are good for the others its
        activations drifted until the tokens of all images were alike.
        """
        trained = list(self.controlnet.parameters())
        if self.acda is None:
            return [{"params": trained, "lr": lr}]
        trained += self.acda.encoder.body.parameters()
        fast = nn.ModuleList([self.acda.encoder.last, self.acda.to_k, self.acda.to_v])
        return [{"params": trained, "lr": lr}, {"params": list(fast.parameters()), "lr": acda_lr}]

    def record(self, on: bool) -> None:
        """Switch the measuring of both attention terms on or off."""
        for processor in self.processors:
            processor.record = on

    def rms(self) -> tuple[float, float]:
        """Root mean square of the text and the frequency term in the last forward, mean over layers."""
        pairs = [processor.rms for processor in self.processors]
        return sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)

    def save(self, folder: Path) -> None:
        """Write safetensors folders: `controlnet`, a plain diffusers one, and `acda` where there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        self.controlnet.save_pretrained(folder / "controlnet")
        if self.acda is not None:
            self.acda.save(folder / "acda")
        text = json.dumps({"acda": self.acda is not None}, indent=2)
        (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def start_branch(components: Components, acda: AcdaParams | None, seed: int) -> Branch:
    """The branch before its first step: the foundation's inpainting ControlNet, and ACDA as the identity."""
    controlnet = copy.deepcopy(components.controlnet_inpaint).requires_grad_(True)
    if acda is None:
        return Branch(controlnet)
    image = acda.domain == "image"
    config = AcdaConfig(
        radius=acda.radius,
        window=acda.window,
        domain=acda.domain,
        amplitude=acda.amplitude,
        channels=3 if image else components.vae.config.latent_channels,
        width=components.unet.config.cross_attention_dim,
        downsamplings=4 if image else 1,
    )
    with torch.random.fork_rng(devices=[]):  # module constructors know no other generator
        torch.manual_seed(seed)
        module = Acda(config, controlnet)
    return Branch(controlnet, module.to(controlnet.device))


def load_branch(folder: Path) -> Branch:
    """Read what `Branch.save` wrote, frozen, in evaluation mode.

    Raises: FileNotFoundError naming a missing file, ACDA's included; ValueError naming an unreadable part.
    """
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{folder / INDEX}: no such file, expected a trained branch")
    try:
        with_acda = json.loads((folder / INDEX).read_text(encoding="utf-8"))["acda"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / INDEX}: cannot be read, expected whether the branch has ACDA: {error!r}"
        ) from error
    controlnet = load_network(folder / "controlnet", ControlNetModel)
    branch = Branch(controlnet, Acda.load(folder / "acda", controlnet) if with_acda else None)
    return branch.requires_grad_(False).eval()


def hint(images: Tensor, masks: Tensor) -> Tensor:
    """The branch's condition (b, 3, h, w): images in [0, 1] with −1 in the hole."""
    return masked_image(images, masks, fill=-1.0)


def signal(components: Components, branch: Branch, images: Tensor, masks: Tensor) -> Tensor | None:
    """What ACDA transforms: the masked image of eq. 6, or its latents; None without ACDA."""
    if branch.acda is None:
        return None
    known = masked_image(images, masks)
    if branch.acda.config.domain == "image":
        return known
    return components.latents(components.moments(known))
