"""How test images are inpainted and scored, and the quality gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ecdm.sections.base import Count, Precision, Section, Several, Share, Steps


class Generate(Section):
    """How test images are inpainted."""

    sampler: Literal["ddim", "dpmsolver++"]
    steps: Steps
    guidance: Annotated[float, Field(ge=0)]
    eta: Share
    precision: Precision
    batch: Count


class Evaluate(Section):
    """How outputs are scored: perceptual distance, bootstrap intervals."""

    batch: Count
    perceptual: Literal["lpips", "lpips_random"]
    resamples: Count
    level: Annotated[float, Field(gt=0, lt=1)]


class Gates(Section):
    """The quality gates: whether a failed one stops the pipeline, and on how many scenes of one item.

    On those it is judged whether samples show what their captions ask for; all other gates look at the held-out
    images of the data themselves.
    """

    enforce: bool
    held_out: Several
    images: Several
    batch: Count
