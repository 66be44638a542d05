"""The section `tune` of params.yaml: what a search varies, what it judges by, how long it is.

It is read here and not with the rest of the file, so that no stage of the pipeline depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ecdm.config import PARAMS, Params, load_params, validated
from ecdm.sections.base import Count, Positive, Section, Several, VariantName, distinct


class Range(Section):
    """Numbers that a search may take: from `low` to `high`, evenly or in logarithms, or in steps."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]
    scale: Literal["linear", "log"] = "linear"
    step: Positive | None = None

    @model_validator(mode="after")
    def _spans(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"found low {self.low} and high {self.high}, expected low below high")
        if self.scale == "log" and (self.step is not None or self.low == 0):
            raise ValueError("found scale log with a step or low 0, expected neither")
        return self


class Space(Section):
    """What a search varies; None is left as params.yaml has it."""

    lam: Annotated[Range | None, Field(alias="lambda")] = None
    radius: Range | None = None
    lr: Range | None = None
    features: Annotated[list[Literal["decoder", "residuals"]], AfterValidator(distinct)] | None = None
    domain: Annotated[list[Literal["image", "latent"]], AfterValidator(distinct)] | None = None
    window: Annotated[list[Literal["circle", "square"]], AfterValidator(distinct)] | None = None

    @model_validator(mode="after")
    def _filled(self) -> Space:
        lists = {name: getattr(self, name) for name in ("features", "domain", "window")}
        if self.lam is None and self.radius is None and self.lr is None and not any(lists.values()):
            raise ValueError(
                "found an empty space, expected at least one of lambda, radius, lr, features, domain, window"
            )
        for name, values in lists.items():
            if values is not None and len(values) < 2:
                raise ValueError(f"{name}: found {values}, expected at least two values, or null")
        return self


# Counted from the modules: they need no bucket, and no image.
COUNTED = ("sampling_flops", "training_flops")


class Goal(Section):
    """One objective: a metric of the pasted outputs, and the bucket of the validation masks it is measured on."""

    metric: str
    bucket: str | None = None

    @model_validator(mode="after")
    def _measured(self) -> Goal:
        if (self.metric in COUNTED) != (self.bucket is None):
            wanted = "no bucket" if self.metric in COUNTED else "a bucket of masks.buckets"
            raise ValueError(f"found metric {self.metric} with bucket {self.bucket}, expected {wanted}")
        return self


class TuneLength(Section):
    """How long a search is; in the short form in place of the section's own values."""

    trials: Several
    startup: Annotated[int, Field(ge=0)]
    noise: Annotated[int, Field(ge=0)]
    steps: Count
    report_every: Count
    prune_after: Annotated[int, Field(ge=0)]
    images: Several


SHORT = "-short"


class Tune(TuneLength):
    """The search over hyperparameters: space, objectives, how trials are chosen and how long they are."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    storage: str
    variant: VariantName
    space: Space
    objectives: list[Goal]
    sampler: Literal["tpe", "gp", "cmaes"]
    pruner: Literal["none", "median", "hyperband"]
    memory_gib: Positive | None
    seed: Annotated[int, Field(ge=0)]
    heartbeat: Count
    grace: Count
    short: TuneLength

    @model_validator(mode="after")
    def _served(self) -> Tune:
        for problem in _unserved(self):
            raise ValueError(problem)
        return self

    @property
    def option(self) -> str:
        """What commands on this form are given behind their name."""
        return " --short" if self.study.endswith(SHORT) else ""

    def shortened(self) -> Tune:
        """The short form: a study of its own."""
        return self.model_copy(update={"study": f"{self.study}{SHORT}", **self.short.model_dump()})


def _unserved(tune: Tune) -> Iterator[str]:
    """What Optuna cannot do in the combination asked for, or the variant does not use."""
    space, several = tune.space, len(tune.objectives) > 1
    if tune.study.endswith(SHORT):
        yield f"study: found {tune.study}, expected a name without {SHORT}, which the short form adds"
    if not tune.objectives:
        yield "objectives: found an empty list, expected at least one"
    if len({(goal.metric, goal.bucket) for goal in tune.objectives}) < len(tune.objectives):
        yield "objectives: found one twice, expected each once"
    if several and tune.pruner != "none":
        yield f"pruner: found {tune.pruner} with several objectives, which Optuna cannot prune; expected none"
    if tune.sampler == "cmaes":
        listed = [name for name in ("features", "domain", "window") if getattr(space, name)]
        numbers = [value for value in (space.lam, space.radius, space.lr) if value]
        if several:
            yield "sampler: found cmaes with several objectives, expected one, or sampler tpe or gp"
        if listed:
            yield f"sampler: found cmaes with the list {listed[0]} in the space, expected ranges only, or tpe or gp"
        if len(numbers) < 2:
            yield "sampler: found cmaes with one range in the space, expected two or more, or tpe or gp"
        if tune.memory_gib is not None:
            yield "sampler: found cmaes with memory_gib, expected null (it takes no constraints), or tpe or gp"
    uses = {"lambda": ("sail", "ours"), "features": ("sail", "ours")}
    uses |= dict.fromkeys(("radius", "domain", "window"), ("acda", "ours"))
    for name, value in space.model_dump(by_alias=True).items():
        if value is not None and name in uses and tune.variant not in uses[name]:
            expected = " or ".join(uses[name])
            yield f"space.{name}: found with variant {tune.variant}, which has no such part; expected {expected}"


METRICS = ("psnr", "ssim", "l1", "psnr_hole", "l1_hole")


def load_tune(path: Path = PARAMS) -> tuple[Params, Tune]:
    """Read and validate params.yaml with its section `tune`.

    Raises: FileNotFoundError without the file; ValueError that names the first key at fault, what was found
    and what was expected.
    """
    params = load_params(path)
    tune = validated(params.tune, path, Tune, "tune")
    for problem in _unknown(params, tune):
        raise ValueError(f"{path}: tune.{problem}")
    return params, tune


def _unknown(params: Params, tune: Tune) -> Iterator[str]:
    """What the section names that the rest of the file does not have."""
    known = (*METRICS, params.evaluate.perceptual, *COUNTED)
    buckets = params.masks.buckets
    for number, goal in enumerate(tune.objectives):
        if goal.metric not in known:
            yield f"objectives.{number}.metric: found {goal.metric!r}, expected one of {', '.join(known)}"
        if goal.bucket is not None and goal.bucket not in buckets:
            yield f"objectives.{number}.bucket: found {goal.bucket!r}, expected one of {', '.join(buckets)}"
    for name, length in (("", tune), ("short.", tune.short)):
        if length.images > params.data.validation:
            yield f"{name}images: found {length.images}, expected at most data.validation, {params.data.validation}"
        if length.report_every > length.steps:
            yield f"{name}report_every: found {length.report_every}, expected at most steps, {length.steps}"
    radius, domains = tune.space.radius, tune.space.domain or [params.acda.domain]
    side = params.data.size // 8 if "latent" in domains else params.data.size
    if radius and radius.high >= side // 2:
        expected = f"below {side // 2}, the last frequency of {side} samples"
        yield f"space.radius.high: found {radius.high:g}, expected {expected}"
