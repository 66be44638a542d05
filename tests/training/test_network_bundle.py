"""The published methods' networks: trained by their stage one by one, go on after a kill, copied all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from network_case import NAMES
from safetensors.torch import load_file
from torch import Tensor

from ecdm.config import Params, load_params
from ecdm.models.networks import NETWORK_PARTS, load_clip, load_glide, load_inpainting_unet, load_pixel
from ecdm.stage import run
from ecdm.training import network_bundle, sources
from ecdm.training.network_bundle import NetworkBundle, copy_network

Digests = Callable[[Path], dict[str, str]]
FIT = {"steps": 2, "batch": 2}
FITS = {name: FIT for name in ("sd_inpaint", "glide_base", "glide_upsampler", "pixel", "clip")}
TRAIN = {"source": "train", "names": list(NAMES), "pretrain": FITS}
ORDER = ["glide_base", "glide_upsampler"]


class Killed(BaseException):
    """Stands for a kill."""


class Log:
    """The components that report a step, in order; raises at the second step of one."""

    def __init__(self, kill_at: str = "") -> None:
        self.names: list[str] = []
        self.kill_at = kill_at

    def __call__(self, name: str, step: int, values: dict[str, float]) -> None:
        if name not in self.names:
            self.names.append(name)
        if name == self.kill_at and step == 1:
            raise Killed


@contextmanager
def few_holes() -> Iterator[None]:
    """Eight holes instead of thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_bundle, "HOLES", 8)
        yield


def train(params: Params, foundation: Path, work: Path, name: str, kill_at: str = "") -> list[str]:
    """Train what is missing of a network in `work`; returns what was trained, a killed one included."""
    log = Log(kill_at)
    bundle = NetworkBundle(params.networks.pretrain, params.pretrain, params.data.size, 1, foundation, work, log)
    with few_holes():
        try:
            assert bundle.train(name) == work / name
        except Killed:
            assert kill_at
    return log.names


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    foundation_folder: Path,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
) -> Path:
    """A tree in which the stage has trained all four without a break; not to be written to."""
    place = tmp_path_factory.mktemp("networks")
    shutil.copytree(foundation_folder, place / "build/foundation")
    write_params(place, networks=TRAIN)
    with pytest.MonkeyPatch.context() as patch, few_holes():
        patch.chdir(place)
        for name in NAMES:
            load_stage("networks").main(name)
    return place


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    return load_params(root / "params.yaml")


@pytest.fixture
def work(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root / "build/pretrain_networks", tmp_path / "work"))


def test_the_stage_trains_every_network_in_half_precision(root: Path, digests: Digests, parts: Any) -> None:
    folder, trained = root / "build/networks", digests(root / "build/pretrain_networks")
    made = digests(folder)
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    assert made == {name: digest for name, digest in trained.items() if not name.endswith("key.json")}
    assert {Path(name).suffix for name in made} == {".json", ".safetensors"}
    assert not any("_name_or_path" in path.read_text() for path in folder.rglob("*.json"))
    weights = sorted(folder.rglob("*.safetensors"))
    assert len(weights) == 6
    assert {tensor.dtype for path in weights for tensor in load_file(path).values()} == {torch.float16}
    assert load_inpainting_unet(folder / "sd_inpaint", parts).config.in_channels == 9
    assert [network.size for network in (load_glide(folder / "glide").base, load_pixel(folder / "pixel"))] == [32, 64]
    assert load_clip(folder / "clip").mean.flatten().tolist() == [0.5] * 3


def test_the_pair_has_its_own_copy_of_the_text_encoder(root: Path, parts: Any) -> None:
    glide = load_glide(root / "build/networks/glide")
    text = ["a red striped circle on a gray wooden background"]
    assert glide.tokenizer(text).input_ids == parts.tokenizer(text).input_ids
    for name, tensor in parts.text_encoder.state_dict().items():
        torch.testing.assert_close(glide.text_encoder.state_dict()[name], tensor.half().float(), rtol=0, atol=0)


def test_a_network_is_trained_alone(root: Path, params: Params, tmp_path: Path, digests: Digests) -> None:
    torch.manual_seed(99)
    assert train(params, root / "build/foundation", tmp_path, "clip") == ["clip"]
    assert {path.name for path in tmp_path.iterdir()} == {"clip"}
    assert digests(tmp_path / "clip") == digests(root / "build/pretrain_networks/clip")


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(
    root: Path, params: Params, tmp_path: Path, digests: Digests
) -> None:
    """Killed once in each half of the pair."""
    torch.manual_seed(99)
    foundation = root / "build/foundation"
    assert train(params, foundation, tmp_path, "glide", "glide_base") == ["glide_base"]
    assert not (tmp_path / "glide/unet").exists()
    assert train(params, foundation, tmp_path, "glide", "glide_upsampler") == ["glide_base", "glide_upsampler"]
    assert train(params, foundation, tmp_path, "glide") == ["glide_upsampler"]
    assert digests(tmp_path / "glide") == digests(root / "build/pretrain_networks/glide")


def test_nothing_is_trained_again_without_need(root: Path, params: Params, work: Path, digests: Digests) -> None:
    before = digests(work)
    assert [train(params, root / "build/foundation", work, name) for name in NAMES] == [[]] * 4
    assert digests(work) == before


@pytest.mark.parametrize(
    ("name", "entry", "again"),
    [("glide", "glide_upsampler", ["glide_upsampler"]), ("clip", "clip", ["clip"]), ("clip", "pixel", [])],
)
def test_a_setting_retrains_its_component(
    root: Path, params: Params, work: Path, name: str, entry: str, again: list[str]
) -> None:
    fits = params.networks.pretrain
    longer = fits.model_copy(update={entry: getattr(fits, entry).model_copy(update={"steps": 3})})
    changed = params.model_copy(update={"networks": params.networks.model_copy(update={"pretrain": longer})})
    assert train(changed, root / "build/foundation", work, name) == again


@pytest.mark.parametrize(
    ("part", "again"),
    [
        ("text_encoder", {"sd_inpaint": ["sd_inpaint"], "glide": ORDER, "pixel": [], "clip": ["clip"]}),
        ("unet", {"sd_inpaint": ["sd_inpaint"], "glide": [], "pixel": [], "clip": []}),
        ("controlnet_inpaint", {name: [] for name in NAMES}),
    ],
)
def test_another_foundation_retrains_what_builds_on_it(
    root: Path, params: Params, work: Path, tmp_path: Path, part: str, again: dict[str, list[str]]
) -> None:
    foundation = Path(shutil.copytree(root / "build/foundation", tmp_path / "foundation"))
    with (foundation / part / "config.json").open("a") as file:
        file.write("\n")
    assert {name: train(params, foundation, work, name) for name in NAMES} == again


def test_other_code_and_threads_retrain(
    root: Path, params: Params, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(shutil.copytree(sources.PACKAGE, tmp_path / "package"))
    monkeypatch.setattr(sources, "PACKAGE", package)
    foundation = root / "build/foundation"
    for name, again in (
        ("training/loop.py", []),
        ("training/bundle.py", []),
        ("training/fitting.py", ["clip"]),
        ("training/pretrain_networks.py", ["clip"]),
        ("models/tiny_networks.py", ["clip"]),
    ):
        with (package / name).open("a") as file:
            file.write("# another version\n")
        assert train(params, foundation, work, "clip") == again
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert train(params, foundation, work, "clip") == ["clip"]


def test_each_network_gets_scenes_of_its_size(
    root: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[int]]] = {}

    class Stop(Exception):
        """Instead of a training."""

    def watched(name: str) -> Callable[..., Any]:
        def watch(*given: Any) -> Any:
            seen[name] = [list(one.shape) for one in given if isinstance(one, Tensor)]
            raise Stop

        return watch

    monkeypatch.setattr(network_bundle, "INPAINTED", 4)
    for name in ("inpainting", "glide_base", "pixel", "clip"):
        monkeypatch.setattr(network_bundle, f"train_{name}", watched(name))
    for name in NAMES:
        with pytest.raises(Stop):
            train(params, root / "build/foundation", tmp_path, name)
    assert seen == {
        "inpainting": [[4, 3, 32, 32], [8, 1, 32, 32]],
        "glide_base": [[6, 3, 32, 32], [8, 1, 32, 32]],
        "pixel": [[6, 3, 64, 64]],
        "clip": [[6, 3, 128, 128]],
    }


@pytest.fixture
def place(root: Path, tmp_path: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a foundation whose params ask for the bundled networks, which are there."""
    shutil.copytree(root / "build/networks", tmp_path / "assets/networks")
    shutil.copytree(root / "build/foundation", tmp_path / "build/foundation")
    write_params(tmp_path, networks={"source": "bundled", "names": list(NAMES)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_bundled_networks_are_copied(
    place: Path, load_stage: Callable[[str], ModuleType], digests: Digests, name: str
) -> None:
    below = next(iter(NETWORK_PARTS[name].values()))[0]
    (place / "assets/networks" / name / below / "key.json").write_text("{}")
    (place / "assets/networks/README.md").write_text("What they are.")
    load_stage("networks").main(name)
    expected = digests(place / "assets/networks" / name)
    del expected[f"{below}/key.json".lstrip("/")]
    assert digests(place / "build/networks" / name) == expected
    assert {path.name for path in (place / "build/networks").iterdir()} == {name}


def _pickled(folder: Path) -> None:
    (path,) = folder.glob("*.safetensors")
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


@pytest.mark.parametrize(
    ("name", "below", "spoil", "message"),
    [
        ("glide", "upsampler", shutil.rmtree, "missing component of network glide, expected a folder of class UNet2D"),
        ("pixel", "unet", _pickled, "found no *.safetensors, expected a folder of class UNet2DModel"),
        ("clip", "", shutil.rmtree, "missing component of network clip, expected a folder of class CLIPModel"),
    ],
)
def test_a_bad_bundle_is_one_line_and_the_old_network_stays(
    place: Path,
    load_stage: Callable[[str], ModuleType],
    digests: Digests,
    capfd: pytest.CaptureFixture[str],
    name: str,
    below: str,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    stage = load_stage("networks")
    stage.main(name)
    before = digests(place / "build")
    spoil(place / "assets/networks" / name / below)
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"networks@{name}", lambda: stage.main(name))
    assert caught.value.code == 1
    folder = f"assets/networks/{name}/{below}".rstrip("/")
    assert capfd.readouterr().err.startswith(f"networks@{name}: {folder}: {message}")
    assert digests(place / "build") == before


def test_an_unknown_network_is_refused(place: Path, load_stage: Callable[[str], ModuleType]) -> None:
    message = "network: found 'dalle', expected one of networks.names, sd_inpaint, glide, pixel, clip"
    with pytest.raises(ValueError, match=message):
        load_stage("networks").main("dalle")


def test_copying_is_all_or_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    copytree = shutil.copytree

    def full_disk(source: Path, place: Path, **options: Any) -> Any:
        if len(copied) == 3:
            raise OSError("no space left on device")
        copied.append(source.name)
        return copytree(source, place, **options)

    monkeypatch.setattr(shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="no space left"):
        copy_network("glide", root / "build/networks/glide", tmp_path / "new/glide", root / "build/foundation")
    assert len(copied) == 3
    assert not list((tmp_path / "new").iterdir())
