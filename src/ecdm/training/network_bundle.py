"""The embedded networks of the published methods: each trained alone, kept when complete, saved as fp16 safetensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecdm.config import Pretrain
from ecdm.data.files import fresh_folder
from ecdm.models.foundation import PARTS, load_part, token_ids
from ecdm.models.networks import NETWORK_PARTS, check_network
from ecdm.models.tiny_networks import (
    BASE_SIZE,
    CLIP_SIZE,
    PIXEL_SIZE,
    UPSAMPLER_SIZE,
    tiny_base_scheduler,
    tiny_clip_processor,
    tiny_pixel_scheduler,
)
from ecdm.sections.compare import NetworkFits
from ecdm.training.bundle import TRAINING
from ecdm.training.fitting import Fit, Report, fit_here
from ecdm.training.kept import KEY, folder_digest, keep
from ecdm.training.pretrain import draw_holes
from ecdm.training.pretrain_networks import (
    Texts,
    resized,
    resized_holes,
    train_clip,
    train_glide_base,
    train_glide_upsampler,
    train_inpainting,
    train_pixel,
)
from ecdm.training.scene_set import SceneSet
from ecdm.training.sources import sources_digest

SOURCES = ("data", "models", "numerics", "training/network_bundle.py", "training/pretrain_networks.py", *TRAINING)
TEXT = ("text_encoder", "tokenizer")
HOLES = 4096
# Each costs two passes of the autoencoder, a fifth of a training step; the network has learned them all already.
INPAINTED = 4096


class NetworkBundle:
    """Trains what is missing of a network in `work`, on scenes and the embedded foundation in the folder `foundation`.

    A component is kept as long as the settings and the parts of the foundation that it depends on, the code and torch's
    threads stay as they were; a killed run goes on with the component it was at, and ends with the same files.
    """

    def __init__(
        self,
        fits: NetworkFits,
        pretrain: Pretrain,
        size: int,
        workers: int,
        foundation: Path,
        work: Path,
        report: Report,
    ) -> None:
        self.fits, self.pretrain, self.foundation, self.work, self.report = fits, pretrain, foundation, work, report
        self.seed, self.code = pretrain.seed, sources_digest(SOURCES)
        self.data = SceneSet(pretrain.seed, pretrain.scenes, size, workers)

    def train(self, name: str) -> Path:
        """Train what is missing of the network `name`; returns its folder."""
        torch.use_deterministic_algorithms(True)
        {"sd_inpaint": self._inpainting, "glide": self._glide, "pixel": self._pixel, "clip": self._clip}[name]()
        return self.work / name

    def _inpainting(self) -> None:
        def unet() -> Any:
            vae, first, fit = self._part("vae"), self._part("unet"), self._fit("sd_inpaint")
            scenes = self.data.pixels[:INPAINTED]
            return train_inpainting(vae, first, scenes, self._holes, self._texts, fit, self.seed, self.report)

        self._keep("sd_inpaint/unet", "sd_inpaint", ("vae", "unet", *TEXT), unet)

    def _glide(self) -> None:
        def base() -> Any:
            scenes, holes = self._scenes(BASE_SIZE), resized_holes(self._holes, BASE_SIZE)
            return train_glide_base(scenes, holes, self._texts, self._fit("glide_base"), self.seed, self.report)

        def upsampler() -> Any:
            scenes, small, fit = self._scenes(UPSAMPLER_SIZE), self._scenes(BASE_SIZE), self._fit("glide_upsampler")
            holes = resized_holes(self._holes, UPSAMPLER_SIZE)
            return train_glide_upsampler(scenes, small, holes, self._texts, fit, self.seed, self.report)

        self._keep("glide/text_encoder", None, TEXT, lambda: self._part("text_encoder"))
        self._keep("glide/tokenizer", None, TEXT, lambda: self._part("tokenizer"))
        self._keep("glide/scheduler", None, (), tiny_base_scheduler)
        self._keep("glide/upsampler_scheduler", None, (), tiny_pixel_scheduler)
        self._keep("glide/unet", "glide_base", TEXT, base)
        self._keep("glide/upsampler", "glide_upsampler", TEXT, upsampler)

    def _pixel(self) -> None:
        self._keep("pixel/scheduler", None, (), tiny_pixel_scheduler)
        scenes, fit = self._scenes, self._fit("pixel")
        self._keep("pixel/unet", "pixel", (), lambda: train_pixel(scenes(PIXEL_SIZE), fit, self.seed, self.report))

    def _clip(self) -> None:
        def parts() -> Any:
            scenes, texts, fit = self._scenes(CLIP_SIZE), self._texts, self._fit("clip")
            model = train_clip(scenes, texts, fit, self.seed, self.report)
            return model, self._part("tokenizer"), tiny_clip_processor()

        self._keep("clip", "clip", TEXT, parts)

    @cached_property
    def _texts(self) -> Texts:
        tokenizer = self._part("tokenizer")
        empty = token_ids(tokenizer, [""])[0]
        return Texts(self.data.tokens(tokenizer), empty, self._part("text_encoder"))

    @cached_property
    def _holes(self) -> Tensor:
        return draw_holes(self.seed, HOLES, self.data.size, self.data.size)

    def _scenes(self, size: int) -> Tensor:
        return resized(self.data.pixels, size)

    def _part(self, name: str) -> Any:
        return load_part(self.foundation / name, PARTS[name])

    def _fit(self, name: str) -> Fit:
        return fit_here(getattr(self.fits, name), self.pretrain.precision)

    def _keep(self, place: str, fit: str | None, uses: tuple[str, ...], make: Callable[[], Any]) -> None:
        """Keep the component at `place`, trained as the entry `fit` says, on the foundation's parts `uses`."""
        s = self.pretrain
        made_from: dict[str, Any] = {
            "seed": s.seed,
            "scenes": s.scenes,
            "precision": s.precision,
            "size": self.data.size,
            "fit": getattr(self.fits, fit).model_dump() if fit else None,
            "foundation": {name: folder_digest(self.foundation / name) for name in uses},
            "code": self.code,
            "threads": torch.get_num_threads(),
        }
        keep(self.work / place, made_from, make)


def copy_network(name: str, source: Path, target: Path, foundation: Path) -> None:
    """Check a network's folder, against the foundation where it has to fit it, and copy its components, all or nothing.

    Raises: FileNotFoundError naming a missing component; ValueError naming one that cannot be read or does not fit.
    """
    check_network(name, source, foundation)
    with fresh_folder(target) as folder:
        for below in sorted({below for below, _ in NETWORK_PARTS[name].values()}):
            shutil.copytree(source / below, folder / below, ignore=shutil.ignore_patterns(KEY), dirs_exist_ok=True)
