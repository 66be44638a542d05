"""Where the frozen networks come from, and how the embedded ones are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ecdm.sections.base import Count, Positive, Precision, Section

BUNDLED = "assets/foundation"


class Weights(Section):
    """One pretrained network: a Hugging Face id, a folder or a .safetensors file, and the commit of an id."""

    origin: Annotated[str | None, Field(alias="from")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None


class Pretrained(Section):
    """The networks that source `pretrained` puts together: a Stable Diffusion 1.x and its two ControlNets."""

    base: Weights
    controlnet_canny: Weights
    controlnet_inpaint: Weights


class Foundation(Section):
    """Where the frozen networks come from; `path` names the folder of source `folder`."""

    source: Literal["bundled", "train", "folder", "pretrained"]
    path: str
    download: bool
    pretrained: Pretrained

    @field_validator("path")
    @classmethod
    def _named(cls, path: str) -> str:
        if not path.strip():
            raise ValueError(f"found {path!r}, expected a folder such as {BUNDLED}")
        return path

    @model_validator(mode="after")
    def _watched(self) -> Foundation:
        if self.source == "bundled" and self.path != BUNDLED:
            raise ValueError(f"found path {self.path!r} with source bundled, expected {BUNDLED}, or source folder")
        if self.source == "pretrained":
            for name, weights in self.pretrained:
                if not (weights.origin or "").strip():
                    found = weights.origin
                    raise ValueError(f"pretrained.{name}.from: found {found!r}, expected an id, a folder or a file")
        return self


class Fit(Section):
    """How long and how fast one component of the embedded foundation is trained."""

    steps: Count
    batch: Count
    lr: Positive


class VaeFit(Fit):
    """The autoencoder's training, on windows of `crop`² pixels."""

    crop: Annotated[int, Field(ge=16, multiple_of=8)]


class Pretrain(Section):
    """The embedded foundation's own training (foundation.source: train)."""

    seed: Annotated[int, Field(ge=0)]
    scenes: Count
    width: Count
    precision: Precision
    vae: VaeFit
    unet: Fit
    teacher: Fit
    inpaint: Fit
    classifier: Fit
