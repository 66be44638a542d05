"""Pretrained networks from the Hugging Face hub, from folders or single files: found, read, made a foundation."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ecdm.config import Foundation, Networks, Weights
from ecdm.data.files import fresh_folder
from ecdm.models.foundation import PARTS, check_fit, load_network, quiet
from ecdm.models.network_fit import check_parts
from ecdm.models.networks import NETWORK_PARTS, fitted_by, read_parts
from ecdm.models.outline import outline_part, weight_files, weights_name
from ecdm.models.single_file import file_dtype, load_published, load_single_file

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
CONTROLNETS = ("controlnet_canny", "controlnet_inpaint")


@dataclass(frozen=True)
class Place:
    """Where a component is: its folder or the single file it is in; `label` names it in errors."""

    path: Path
    label: str
    hub: bool = False


def read_pretrained(weights: Weights, part: Any, component: str, download: bool, key: str) -> Any:
    """Read one component of class `part`, a network in float32, frozen and in evaluation mode.

    `component`: its folder below what `weights` names, "" where that is the component itself. `key`: of `weights` in
    params.yaml, for errors. Any scheduler is read as the training scheduler of the same noise schedule.
    Raises: FileNotFoundError where nothing is found; ValueError for pickled weights, an id without a revision, and
    what is unreadable, missing or of another shape; each names the id or path, the component, the first key at fault.
    """
    place = find(weights, part, component, download, key)
    with _labelled(place):
        if place.path.is_file():
            return load_single_file(place.path, part, component, torch.float32)
        if issubclass(part, torch.nn.Module):
            return load_network(place.path, part).requires_grad_(False).eval()
        return load_published(place.path, part)


def write_pretrained(settings: Foundation, target: Path) -> None:
    """Put the networks of source `pretrained` together as a foundation folder, all or nothing.

    One component at a time is in memory, and none whose headers tell that it fits. Weights of the hub's cache, which
    are never changed in place, are hard links where the file system has them; a team's own files are copied.
    Raises: as `read_pretrained`; ValueError where components do not fit each other.
    """
    labels = {}
    with fresh_folder(target) as folder:
        for name, part in PARTS.items():
            entry = name if name in CONTROLNETS else "base"
            component = "" if name in CONTROLNETS else name
            key, weights = f"foundation.pretrained.{entry}", getattr(settings.pretrained, entry)
            place = find(weights, part, component, settings.download, key)
            labels[name] = _label(place, name)
            _bring(place, part, component, folder / name)
        check_fit({name: outline_part(folder / name, part) for name, part in PARTS.items()}, labels)


def write_network(settings: Networks, name: str, foundation: Path, target: Path) -> None:
    """Bring a published method's network of source `pretrained` into a folder, all or nothing; weights as above.

    `foundation`: the folder of the one that Stable Diffusion inpainting's UNet has to fit.
    Raises: as `read_pretrained`; ValueError for a single file in place of several components, and where components do
    not fit each other or the foundation.
    """
    key, weights, labels = f"networks.pretrained.{name}", getattr(settings.pretrained, name), {}
    with fresh_folder(target) as folder:
        for role, (component, part) in NETWORK_PARTS[name].items():
            place = find(weights, part, component, settings.download, key)
            if place.path.is_file() and len(NETWORK_PARTS[name]) > 1:
                wanted = f"expected a hub id or a folder of {', '.join(NETWORK_PARTS[name])}"
                raise ValueError(f"{place.path}: found a single file ({key}.from), {wanted}")
            labels[role] = _label(place, role)
            _bring(place, part, component, folder / component)
        parts, _ = read_parts(name, folder, outline_part)
        check_parts(name, parts, labels, fitted_by(name, foundation))


def find(weights: Weights, part: Any, component: str, download: bool, key: str) -> Place:
    """Find a component and check that its weights are no pickles; parameters and errors as for `read_pretrained`."""
    origin = weights.origin or ""
    path = Path(origin).expanduser()
    if origin and path.is_dir():
        place = Place(path / component, str(path / component))
    elif path.suffix in (*PICKLED, ".safetensors"):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file ({key}.from), expected a .safetensors file")
        if path.suffix in PICKLED:
            raise ValueError(
                f"{path}: found a pickle ({key}.from), expected safetensors; convert: {_file_recipe(path)}"
            )
        return Place(path, str(path))
    elif HUB_ID.fullmatch(origin):
        place = _on_hub(weights, part, component, download, key)
    else:
        raise FileNotFoundError(f"{key}.from: found {origin!r}, expected a hub id, a folder or a .safetensors file")
    if not place.path.is_dir():
        raise FileNotFoundError(f"{place.label}: missing component ({key}), expected a folder of class {part.__name__}")
    if issubclass(part, torch.nn.Module) and not weight_files(place.path, part):
        raise ValueError(_no_weights(place, weights, part, component))
    return place


def _on_hub(weights: Weights, part: Any, component: str, download: bool, key: str) -> Place:
    origin, revision = str(weights.origin), weights.revision
    if revision is None:
        raise ValueError(f"{key}.revision: found null, expected the commit of {origin}, 40 hexadecimal digits")
    name = f"{origin}@{revision}"
    try:
        with _online(download):
            snapshot = huggingface_hub.snapshot_download(
                origin, revision=revision, allow_patterns=_patterns(part, component), local_files_only=not download
            )
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        cache, section = huggingface_hub.constants.HF_HUB_CACHE, key.partition(".")[0]
        if download:
            reason = " ".join(str(error).split()).partition(". ")[0]
            raise FileNotFoundError(f"{name}: cannot be fetched ({key}): {reason}") from error
        raise FileNotFoundError(
            f"{name}: not in the cache {cache} ({key}), and no folder here; {section}.download: true fetches it"
        ) from error
    folder = Path(snapshot) / component
    return Place(folder, f"{name}/{component}".rstrip("/"), hub=True)


def _patterns(part: Any, component: str) -> list[str]:
    """The files of a component that are of use: configuration and weights in safetensors, no other variants."""
    start = f"{component}/" if component else ""
    if not issubclass(part, torch.nn.Module):
        return [f"{start}*.json", f"{start}*.txt"]
    weights = weights_name(part)
    shards = f"{weights.removesuffix('.safetensors')}-*-of-*.safetensors"
    return [start + name for name in ("config.json", weights, f"{weights}.index.json", shards)]


@contextmanager
def _online(download: bool) -> Iterator[None]:
    """Lift HF_HUB_OFFLINE where a download is asked for; the pipeline sets it so that nothing is fetched unasked."""
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before and not download
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _labelled(place: Place) -> Iterator[None]:
    """Errors about a snapshot name the id and its revision instead of the cache's folder."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(place.path), place.label)) from error


def _no_weights(place: Place, weights: Weights, part: Any, component: str) -> str:
    expected = weights_name(part)
    others = sorted(path.name for path in place.path.glob("*.safetensors"))
    if others:
        return f"{place.label}: found {', '.join(others)}, expected {expected}"
    library = "transformers" if issubclass(part, PreTrainedModel) else "diffusers"
    source, options, target = str(place.path), "", str(place.path)
    if place.hub:
        source, target = str(weights.origin), str(Path(str(weights.origin).replace("/", "--"), component))
        options = f", revision='{weights.revision}'" + (f", subfolder='{component}'" if component else "")
    recipe = (
        f'python -c "from {library} import {part.__name__} as N; '
        f"N.from_pretrained('{source}'{options}, use_safetensors=False).save_pretrained('{target}')\""
    )
    return f"{place.label}: found no {expected}, and pickled weights are not read; convert those you trust: {recipe}"


def _file_recipe(path: Path) -> str:
    return (
        'python -c "import torch; from safetensors.torch import save_file; '
        f"d = torch.load('{path}', map_location='cpu', weights_only=True); d = d.get('state_dict', d); "
        "save_file({k: v.clone(memory_format=torch.contiguous_format) for k, v in d.items() "
        f"if isinstance(v, torch.Tensor)}}, '{path.with_suffix('.safetensors')}')\""
    )


def _label(place: Place, name: str) -> str:
    return f"{place.label}: {name}" if place.path.is_file() else place.label


def _bring(place: Place, part: Any, component: str, target: Path) -> None:
    """Check a component and put it into a folder."""
    with _labelled(place):
        if place.path.is_file():
            loaded = load_single_file(place.path, part, component, file_dtype(place.path))
        elif issubclass(part, PreTrainedTokenizerBase):
            shutil.copytree(place.path, target, ignore=_all_but_text, dirs_exist_ok=True)
            return
        elif issubclass(part, torch.nn.Module):
            outline_part(place.path, part)
            _bring_weights(place, part, target)
            return
        else:
            loaded = load_published(place.path, part)
    with quiet():
        loaded.save_pretrained(target)


def _bring_weights(place: Place, part: Any, target: Path) -> None:
    target.mkdir(exist_ok=True)
    index = place.path / f"{weights_name(part)}.index.json"
    for path in (place.path / "config.json", *([index] if index.is_file() else [])):
        shutil.copyfile(path, target / path.name)
    for path in weight_files(place.path, part):
        (_link if place.hub else shutil.copyfile)(path, target / path.name)


def _all_but_text(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(name).suffix not in (".json", ".txt")}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
