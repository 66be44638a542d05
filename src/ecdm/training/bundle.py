"""The embedded foundation as a whole: each component trained once, kept when complete, saved as fp16 safetensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ecdm.config import Canny, Pretrain
from ecdm.config import Fit as FitParams
from ecdm.data.files import fresh_folder
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.foundation import PARTS, embed, load_network, token_ids
from ecdm.models.outline import check_foundation
from ecdm.models.tiny import tiny_scheduler, tiny_text_encoder, train_tokenizer
from ecdm.training.fitting import Report, fit_here
from ecdm.training.kept import KEY, keep, key_of, save_part
from ecdm.training.pretrain import (
    draw_scenes,
    edge_hints,
    encode,
    hole_hints,
    train_branch,
    train_classifier,
    train_unet,
    train_vae,
)
from ecdm.training.scene_set import SceneSet
from ecdm.training.sources import sources_digest

# Of this package's own folder: what a training of components runs through.
TRAINING = ("training/fitting.py", "training/kept.py", "training/pretrain.py", "training/scene_set.py")
SOURCES = ("data", "models", "numerics", "training/bundle.py", *TRAINING)


class Bundle:
    """Trains what is missing in `work`, in order; later components see the earlier ones as saved, in fp16.

    A component is kept as long as the settings it depends on, the code and torch's threads stay as they were, so a
    run that was killed goes on with the component it was at, and ends with the same files.
    """

    def __init__(self, settings: Pretrain, canny: Canny, size: int, workers: int, work: Path, report: Report) -> None:
        self.settings, self.canny, self.size = settings, canny, size
        self.workers, self.work, self.report = workers, work, report
        self.code = sources_digest(SOURCES)
        # What everything but the classifier is trained on.
        self.data = SceneSet(settings.seed, settings.scenes, size, workers)

    @cached_property
    def latents(self) -> Tensor:
        """The scenes' scaled mean latents."""
        return encode(self.vae, self.data.pixels)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer part."""
        self._part("tokenizer", None, [], lambda: train_tokenizer(self.data.captions))
        return CLIPTokenizer.from_pretrained(self.work / "tokenizer")

    @cached_property
    def vae(self) -> Any:
        """The autoencoder part."""
        self._part("vae", self.settings.vae, [], self._train_vae)
        return _frozen("vae", self.work)

    def _train_vae(self) -> Any:
        s = self.settings
        return train_vae(self.data.pixels, fit_here(s.vae, s.precision), s.vae.crop, s.seed, self.report, s.width)

    @cached_property
    def unet(self) -> Any:
        """The denoiser part; the text encoder is trained and saved with it."""
        self.tokenizer, self.vae  # noqa: B018  both come before it
        self._part("unet", self.settings.unet, ["tokenizer", "vae"], self._train_unet)
        return _frozen("unet", self.work)

    def _train_unet(self) -> Any:
        torch.manual_seed(self.settings.seed)  # weight initialisation reads the global generator
        text_encoder = tiny_text_encoder(self.tokenizer, self.settings.width)
        tokens, empty = self.data.tokens(self.tokenizer), token_ids(self.tokenizer, [""])[0]
        fit, seed = fit_here(self.settings.unet, self.settings.precision), self.settings.seed
        unet = train_unet(self.latents, tokens, empty, text_encoder, fit, seed, self.report)
        save_part(text_encoder, self.work / "text_encoder")
        return unet

    @cached_property
    def _text(self) -> tuple[Tensor, Tensor]:
        """Embeddings of all captions (n, k, length, width) and of the empty one (length, width)."""
        encoder, captions = _frozen("text_encoder", self.work), self.data.captions
        with torch.no_grad():
            parts = [embed(self.tokenizer, encoder, captions[i : i + 512]) for i in range(0, len(captions), 512)]
            empty = embed(self.tokenizer, encoder, [""])[0]
        return torch.cat(parts).unflatten(0, (len(self.data.scenes), -1)), empty

    def _branch(self, name: str, fit: FitParams, hints: Callable[[], Any]) -> None:
        def train() -> Any:
            text, empty = self._text
            unet, seed, settings = self.unet, self.settings.seed, fit_here(fit, self.settings.precision)
            return train_branch(name, hints(), unet, self.latents, text, empty, settings, seed, self.report)

        self._part(name, fit, ["unet"], train)

    def train(self) -> Path:
        """Train all that is missing; returns the folder with every component."""
        s = self.settings
        torch.use_deterministic_algorithms(True)
        self.unet  # noqa: B018
        low, high = self.canny.low, self.canny.high
        self._branch("controlnet_canny", s.teacher, lambda: edge_hints(self.data.pixels, low, high))
        self._branch("controlnet_inpaint", s.inpaint, lambda: hole_hints(self.data.pixels, s.seed))
        self._part("classifier", s.classifier, [], self._train_classifier)
        self._part("scheduler", None, [], tiny_scheduler)
        return self.work

    def _train_classifier(self) -> AttributeClassifier:
        s = self.settings
        scenes = draw_scenes(s.seed + 1, s.scenes // 2, self.size, self.workers, items=1)
        return train_classifier(scenes, fit_here(s.classifier, s.precision), s.seed, self.report)

    def _part(self, name: str, fit: FitParams | None, before: list[str], train: Callable[[], Any]) -> None:
        """Train and save one component unless the same settings and code have made it already."""
        s = self.settings
        known: dict[str, Any] = {"seed": s.seed, "scenes": s.scenes, "precision": s.precision, "size": self.size}
        known |= {"width": s.width}
        known |= {
            "fit": fit.model_dump() if fit else None,
            "before": [key_of(self.work / part) for part in before],
        }
        known |= {"code": self.code, "threads": torch.get_num_threads()}
        known |= {"canny": self.canny.model_dump()} if name == "controlnet_canny" else {}
        keep(self.work / name, known, train)


def copy_foundation(source: Path, target: Path) -> None:
    """Check a foundation folder and copy its components, all or nothing.

    Raises: FileNotFoundError naming a missing component, the gates' classifier included; ValueError naming one that
    cannot be read or does not fit.
    """
    check_foundation(source)
    AttributeClassifier.load(source / "classifier")
    with fresh_folder(target) as folder:
        for name in (*PARTS, "classifier"):
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns(KEY))


def _frozen(name: str, work: Path) -> Any:
    return load_network(work / name, PARTS[name]).requires_grad_(False).eval()
