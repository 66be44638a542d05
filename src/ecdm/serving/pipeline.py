"""A trained variant as a diffusers pipeline; it samples with the code of the stage `generate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ecdm.config import Generate
from ecdm.data.coco import read_json
from ecdm.data.dataset import Batch
from ecdm.data.files import fresh_folder
from ecdm.methods.ours import variant
from ecdm.models.acda import Acda
from ecdm.models.branch import Branch
from ecdm.models.foundation import LOCAL, PARTS, Components, load_network, load_part, quiet
from ecdm.numerics.metrics import to_uint8
from ecdm.numerics.samplers import paste
from ecdm.serving.inputs import image_batch, mask_batch

INDEX = "model_index.json"
FROZEN = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
# diffusers looks for another name, so that no ControlNetModel is made of a branch without its ACDA.
ACDA_BRANCH = "needs_acda.safetensors"
ORIGIN = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
SAMPLING = ("sampler", "eta", "steps", "guidance", "precision")
OUTPUTS = ("pil", "np", "pt")


class InpaintPipeline(DiffusionPipeline):
    """Text-guided inpainting by a variant of the ablation; with `acda` it is `acda` or `ours`.

    `sampler`, `eta`, `steps`, `guidance`, `precision`: how it samples unless a call says otherwise; ValueError without
    them.
    """

    _optional_components = ("acda",)

    # diffusers takes each parameter without a default for a component.
    def __init__(self, vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer,
                 unet: UNet2DConditionModel, scheduler: DDPMScheduler, controlnet: ControlNetModel,
                 acda: Acda | None = None, sampler: Any = None, eta: Any = None, steps: Any = None,
                 guidance: Any = None, precision: Any = None) -> None:  # fmt: skip
        super().__init__()
        settings = Generate(sampler=sampler, eta=eta, steps=steps, guidance=guidance, precision=precision, batch=1)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            controlnet=controlnet,
            acda=acda,
        )
        self.register_to_config(**settings.model_dump(exclude={"batch"}))
        self.branch = Branch(controlnet, acda).requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    def to(self, device: str | torch.device) -> InpaintPipeline:
        """Move the networks; returns the pipeline itself. ValueError for a dtype: weights stay float32."""
        if isinstance(device, torch.dtype):
            raise ValueError(f"dtype: found {device}, expected torch.float32, which the pipeline has already")
        for name in ("vae", "text_encoder", "unet"):
            getattr(self, name).to(device)
        self.branch.to(device)
        return self

    @property
    def frozen(self) -> Components:
        """What sampling uses of the foundation; it asks for neither of its ControlNets."""
        parts = {name: getattr(self, name) for name in FROZEN}
        return Components(**parts, controlnet_canny=None, controlnet_inpaint=None)

    @property
    def size(self) -> int:
        """The side of the images that the UNet was trained on, pixels."""
        return self.unet.config.sample_size * self.frozen.factor

    @torch.no_grad()
    def __call__(self, prompt: str | Sequence[str], image: Any, mask_image: Any,
                 num_inference_steps: int | None = None, guidance_scale: float | None = None,
                 generator: torch.Generator | Sequence[torch.Generator] | None = None,
                 output_type: str = "pil", return_dict: bool = True) -> Any:  # fmt: skip
        """Fill the holes; every known pixel comes back as it was.

        `image`: PIL, uint8 or [0, 1] arrays (h, w, 3), tensors (3, h, w) in [0, 1]; one, a list or a batch.
        `mask_image`: likewise, of one channel; hole where brighter than half. A single prompt, image or mask serves
        all. `generator`: one for each image, or one that all draw from in turn. Gives `ImagePipelineOutput`, or its
        tuple: PIL images, an array (b, h, w, 3) or a tensor (b, 3, h, w) in [0, 1].
        Raises: ValueError naming the argument for sizes that differ or that the autoencoder's factor does not divide.
        """
        if output_type not in OUTPUTS:
            raise ValueError(f"output_type: found {output_type!r}, expected one of {', '.join(OUTPUTS)}")
        batch = self._batch(prompt, image_batch(image), mask_batch(mask_image))
        settings = self.sampling(num_inference_steps, guidance_scale, len(batch.ids))
        method = variant("inpaint", self.frozen, self.branch, settings)
        raw = method.inpaint(batch, _generators(generator, len(batch.ids)))
        output = paste(to_uint8(raw), to_uint8(batch.images), batch.masks).cpu()
        images = _as_type(output, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _batch(self, prompt: str | Sequence[str], images: Tensor, masks: Tensor) -> Batch:
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        lengths = {"prompt": len(prompts), "image": len(images), "mask_image": len(masks)}
        count = max(lengths.values())
        for name, found in lengths.items():
            if found not in (1, count):
                raise ValueError(f"{name}: found {found}, expected 1 or {count}, one for each image")
        height, width = images.shape[-2:]
        if masks.shape[-2:] != images.shape[-2:]:
            found_size = "x".join(map(str, reversed(masks.shape[-2:])))
            raise ValueError(f"mask_image: found {found_size} px, expected {width}x{height} px as the image has")
        factor = self.frozen.factor
        if height % factor or width % factor:
            raise ValueError(f"image: found {width}x{height} px, expected sides divisible by {factor}")
        images = images.expand(count, -1, -1, -1).to(self.device)
        masks = masks.expand(count, -1, -1, -1).to(self.device)
        return Batch(images, masks, prompts * (count // len(prompts)), list(range(count)))

    def sampling(self, steps: int | None, guidance: float | None, count: int = 1) -> Generate:
        """How a call samples `count` images; ValueError for steps or a guidance that the model cannot do."""
        config = self.config
        steps, guidance = (
            config.steps if steps is None else steps,
            config.guidance if guidance is None else guidance,
        )
        limit = self.scheduler.config.num_train_timesteps
        if not 1 <= steps <= limit:
            raise ValueError(f"num_inference_steps: found {steps}, expected 1 to {limit}")
        if not 0 <= guidance < float("inf"):
            raise ValueError(f"guidance_scale: found {guidance}, expected 0 or more")
        fixed = {name: config[name] for name in ("sampler", "eta", "precision")}
        return Generate(**fixed, steps=steps, guidance=guidance, batch=count)

    def save_pretrained(self, save_directory: str | Path, safe_serialization: bool = True) -> None:
        """Write the folder in one step, in place of an earlier export.

        Raises: ValueError where other files stand, and for weights that are not safetensors.
        """
        if not safe_serialization:
            raise ValueError("safe_serialization: found False, expected True: weights are safetensors only")
        target = Path(save_directory).resolve()
        if target.exists() and not (target / INDEX).is_file() and (not target.is_dir() or any(target.iterdir())):
            raise ValueError(f"{save_directory}: found other files, expected no folder, an empty one or an export")
        # A call leaves its padding and truncation behind, which would be saved too.
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.backend_tokenizer.no_truncation()
        with fresh_folder(target) as folder, quiet():
            for name in FROZEN:
                getattr(self, name).save_pretrained(folder / name)
            if self.acda is None:
                self.controlnet.save_pretrained(folder / "controlnet")
            else:
                self.controlnet.save_config(folder / "controlnet")
                weights = {key: value.contiguous() for key, value in self.controlnet.state_dict().items()}
                save_file(weights, folder / "controlnet" / ACDA_BRANCH)
                self.acda.save(folder / "acda")
            self.save_config(folder)
            _forget_origin(folder)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> InpaintPipeline:
        """Read an exported folder, in float32 on the CPU; nothing is looked up anywhere else.

        Raises: FileNotFoundError naming a missing file, ACDA's included where the index says that it belongs to the
        model; ValueError naming what cannot be read or does not fit.
        """
        folder = Path(pretrained_model_name_or_path)
        index = _read_index(folder)
        with torch.random.fork_rng(devices=[]):  # new modules draw weights before they get theirs
            parts = {name: load_part(folder / name, PARTS[name]) for name in FROZEN}
            if index["acda"][0] is None:
                controlnet, acda = load_network(folder / "controlnet", ControlNetModel), None
            else:
                controlnet = _load_acda_branch(folder / "controlnet")
                acda = Acda.load(folder / "acda", controlnet)
        settings = {key: index[key] for key in SAMPLING}
        return cls(**parts, controlnet=controlnet, acda=acda, **settings)


def _forget_origin(folder: Path) -> None:
    """Take out where the libraries read the parts from, so that equal models have equal folders anywhere."""
    for path in folder.glob("*/*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in config.items() if key not in ORIGIN}
        if kept != config:
            path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    index: dict[str, Any] = read_json(path)
    try:
        found = index["_class_name"]
        Generate(batch=1, **{key: index[key] for key in SAMPLING})
        index["acda"][0]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: expected the index of an inpainting pipeline: {error!r}") from error
    if found != InpaintPipeline.__name__:
        raise ValueError(f"{path}: _class_name: found {found}, expected {InpaintPipeline.__name__}")
    return index


def _load_acda_branch(folder: Path) -> ControlNetModel:
    path = folder / ACDA_BRANCH
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; the model's index says that it was trained with ACDA")
    try:
        network = ControlNetModel.from_config(ControlNetModel.load_config(folder, **LOCAL))
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as the branch's weights: {error}") from error
    return network


def _generators(given: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[torch.Generator]:
    if given is None:
        seed = int(torch.randint(2**62, (1,)))  # so that torch.manual_seed makes calls repeatable
        given = torch.Generator().manual_seed(seed)
    found = [given] * count if isinstance(given, torch.Generator) else list(given)
    if len(found) != count:
        raise ValueError(f"generator: found {len(found)}, expected 1 or {count}, one for each image")
    return found


def _as_type(images: Tensor, kind: str) -> Any:
    """uint8 (b, 3, h, w) in the form that `output_type` names."""
    if kind == "pt":
        return images.float() / 255
    arrays = images.permute(0, 2, 3, 1).numpy()
    return arrays.astype("float32") / 255 if kind == "np" else [Image.fromarray(array) for array in arrays]
