"""The published methods beside ours: which run, on how many images, how each samples, and their networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ecdm.sections.base import Count, Positive, Section, Several, Share, Steps, VariantName, distinct
from ecdm.sections.foundation import Fit, Weights

MethodName = Literal["glide", "blended", "sd_inpaint", "controlnet_inpaint", "unipaint", "copaint"]
NetworkName = Literal["sd_inpaint", "glide", "pixel", "clip"]
# What a method needs beside the foundation.
NEEDS: dict[str, tuple[NetworkName, ...]] = {
    "glide": ("glide",),
    "blended": ("pixel", "clip"),
    "sd_inpaint": ("sd_inpaint",),
    "controlnet_inpaint": (),
    "unipaint": (),
    "copaint": ("pixel",),
}
Scale = Annotated[float, Field(ge=0)]


class Work(Section):
    """How much a method does: the first test images of each bucket, and how many at once."""

    images: Several
    batch: Count


class Own(Work):
    """The variant that stands in the table as ours, under the first of `seeds`; it samples as under `generate`."""

    name: VariantName


class Glide(Work):
    """GLIDE (Nichol et al. 2022): steps and guidance of the base, steps and first noise of the upsampler.

    Of the upsampler's steps so many at the start are left out: it goes on from the base's image with noise.
    """

    steps: Steps
    guidance: Scale
    upsampler_steps: Steps
    upsampler_skipped: Annotated[int, Field(ge=0)]
    upsampler_noise: Share

    @model_validator(mode="after")
    def _goes_on(self) -> Glide:
        if self.upsampler_skipped >= self.upsampler_steps:
            raise ValueError(
                f"upsampler_skipped: found {self.upsampler_skipped}, expected below upsampler_steps, "
                f"{self.upsampler_steps}"
            )
        return self


class Blended(Work):
    """Blended Diffusion (Avrahami et al. 2022): respaced steps, those left out at the start, weights of its guidance.

    Of `candidates` samples the one is kept that CLIP finds nearest to the caption.
    """

    steps: Steps
    skipped: Annotated[int, Field(ge=0)]
    clip_weight: Scale
    range_weight: Scale
    views: Count
    candidates: Count

    @model_validator(mode="after")
    def _goes_on(self) -> Blended:
        if self.skipped >= self.steps:
            raise ValueError(f"skipped: found {self.skipped}, expected below steps, {self.steps}")
        return self


class Ddim(Work):
    """A latent method sampled by DDIM (Song et al. 2021)."""

    steps: Steps
    guidance: Scale
    eta: Share


class Unipaint(Work):
    """Uni-paint (Yang et al. 2023): iterations and learning rate of the tuning on each image, then DDIM."""

    iterations: Count
    lr: Positive
    steps: Steps
    guidance: Scale


class Copaint(Work):
    """CoPaint (Zhang et al. 2023): DDIM whose every step first descends on the error of what is known.

    `weight` is c, `lr` the first step's length, which grows by `growth` each step and shrinks by `shrink` while the
    objective rises; every `jump` steps the sampler goes back by as many, so that each is taken `passes` times.
    """

    steps: Steps
    gradient_steps: Count
    lr: Positive
    growth: Positive
    shrink: Annotated[float, Field(gt=0, lt=1)]
    weight: Scale
    jump: Count
    passes: Count


class Compare(Section):
    """Table 1: the methods that run beside ours; images of Figures 4 and 5."""

    methods: Annotated[list[MethodName], AfterValidator(distinct)]
    objects: Several
    strokes: Several
    custom: str
    variant: Own
    glide: Glide
    blended: Blended
    sd_inpaint: Ddim
    controlnet_inpaint: Ddim
    unipaint: Unipaint
    copaint: Copaint

    def of(self, run: str) -> Work:
        """The settings of a run: of one of `methods`, or of the variant that stands for ours.

        Raises: ValueError for another name, listing the known ones.
        """
        known = (self.variant.name, *self.methods)
        if run not in known:
            raise ValueError(f"run: found {run!r}, expected one of {', '.join(known)}")
        work: Work = self.variant if run == self.variant.name else getattr(self, run)
        return work


class NetworkWeights(Section):
    """Where each network comes from with source `pretrained`."""

    sd_inpaint: Weights
    glide: Weights
    pixel: Weights
    clip: Weights


class NetworkFits(Section):
    """How the embedded networks are trained."""

    sd_inpaint: Fit
    glide_base: Fit
    glide_upsampler: Fit
    pixel: Fit
    clip: Fit


class Networks(Section):
    """The networks that the published methods need beside the foundation, and the CLIP of the CLIP score."""

    names: Annotated[list[NetworkName], AfterValidator(distinct)]
    source: Literal["bundled", "train", "pretrained"]
    download: bool
    pretrained: NetworkWeights
    pretrain: NetworkFits

    @model_validator(mode="after")
    def _found(self) -> Networks:
        if "clip" not in self.names:
            raise ValueError(f"names: found {self.names}, expected clip among them, for the CLIP score")
        for name in self.names if self.source == "pretrained" else ():
            weights: Weights = getattr(self.pretrained, name)
            if not (weights.origin or "").strip():
                raise ValueError(
                    f"pretrained.{name}.from: found {weights.origin!r}, expected an id, a folder or a file"
                )
        return self
