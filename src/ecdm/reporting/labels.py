"""Names under which variants, references, methods, metrics and buckets appear in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ecdm.data.scores import LOWER_IS_BETTER

VARIANTS = {"baseline": "Baseline", "sail": "w/ SAIL", "acda": "w/ ACDA", "ours": "Ours"}
REFERENCES = {
    "mean_fill": "Mean fill",
    "telea": "Telea",
    "navier_stokes": "Navier–Stokes",
    "vae": "VAE ceiling",
}
# In the order of the paper's Table 1.
METHODS = {
    "glide": "GLIDE",
    "blended": "Blended Diff.",
    "sd_inpaint": "Stable Inpaint",
    "controlnet_inpaint": "Control Inpaint",
    "unipaint": "Uni-paint",
    "copaint": "CoPaint",
}

# Data set → heading, and what it consists of.
DATASETS = {
    "scenes": ("Scenes", "embedded scenes"),
    "photos": ("Photos", "photographs"),
    "coco": ("MS-COCO", "MS-COCO images"),
    "openimages": ("Open Images", "Open Images"),
    "folder": ("Own images", "own images"),
    "shifted": ("Shifted scenes", "scenes of another distribution"),
    "objects": ("Objects", "scenes of one item, which the hole hides"),
    "custom": ("Custom", "images with masks and prompts made by hand"),
}
# Masks that are neither of a hole share nor strokes.
MASKS = {"object": "whole items", "custom": "custom masks"}


@dataclass(frozen=True)
class Metric:
    """A column: name in the score files, title, decimals that differences need."""

    name: str
    title: str
    decimals: int

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.name not in LOWER_IS_BETTER

    @property
    def hole(self) -> bool:
        """Whether only the hole's pixels enter."""
        return self.name.endswith("_hole")

    @property
    def heading(self) -> str:
        """Title with the arrow that points to better, in Markdown; a bare name is set as code."""
        title = f"`{self.title}`" if self.title == self.name else self.title
        return f"{title} {'↑' if self.higher else '↓'}"


METRICS = (
    Metric("psnr", "PSNR", 3),
    Metric("ssim", "SSIM", 5),
    Metric("l1", "Mean ℓ1", 5),
    Metric("lpips", "LPIPS", 5),
    Metric("lpips_random", "lpips_random", 5),
    Metric("psnr_hole", "Hole PSNR", 3),
    Metric("l1_hole", "Hole ℓ1", 5),
    Metric("clip_score", "CLIP score", 3),
    Metric("shape", "Shape", 4),
    Metric("colour", "Colour", 4),
    Metric("texture", "Texture", 4),
)


def model_title(name: str) -> str:
    """Title of a variant, reference or method; a name without one stands for itself."""
    return VARIANTS.get(name) or REFERENCES.get(name) or METHODS.get(name) or name


def data_heading(dataset: str) -> str:
    """Title of a data set; a name without one stands for itself."""
    return DATASETS[dataset][0] if dataset in DATASETS else dataset


def data_title(dataset: str) -> str:
    """What a data set consists of, within a sentence."""
    return DATASETS[dataset][1] if dataset in DATASETS else f"images of {dataset}"


def is_share(bucket: str) -> bool:
    """Whether a bucket is one of hole shares, such as `10-20`, and not a stroke set."""
    return bucket[:1].isdigit()


def bucket_title(name: str) -> str:
    """`10-20` as `10–20 %`, a stroke set as `wide strokes`, other masks by what they hide or are."""
    return f"{name.replace('-', '–')} %" if is_share(name) else MASKS.get(name, f"{name} strokes")


def bucket_heading(name: str) -> str:
    """The same as a heading: `Holes of 10–20 %`, `Wide strokes`."""
    title = bucket_title(name)
    return f"Holes of {title}" if is_share(name) else title.capitalize()


def shown_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics among `names` that tables show, in the order of their columns."""
    present = set(names)
    return tuple(metric for metric in METRICS if metric.name in present)


def whole(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """The metrics of whole images: a pasted output's known pixels are exact, so its hole columns say the same again."""
    return tuple(metric for metric in metrics if not metric.hole)
