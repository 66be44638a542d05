"""The foundation as a whole: trained from scratch by its stage, goes on after a kill, copied all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ecdm.config import Params, load_params
from ecdm.models.foundation import NETWORKS, PARTS, load_foundation
from ecdm.stage import run
from ecdm.training import bundle, sources
from ecdm.training.bundle import Bundle
from ecdm.training.pretrain import hole_hints

Digests = Callable[[Path], dict[str, str]]
ORDER = ["vae", "unet", "controlnet_canny", "controlnet_inpaint", "classifier"]


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
def few_masks() -> Iterator[None]:
    """Eight holes instead of thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "hole_hints", partial(hole_hints, masks=8))
        yield


def train(params: Params, work: Path, kill_at: str = "") -> list[str]:
    """Train what is missing in `work`; returns what was trained."""
    log = Log(kill_at)
    with few_masks():
        assert Bundle(params.pretrain, params.canny, params.data.size, 1, work, log).train() == work
    return log.names


@pytest.fixture(scope="module")
def params(made_tree: Path) -> Params:
    return load_params(made_tree / "params.yaml")


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
) -> Path:
    """A tree in which the stage has trained a foundation without a break; not to be written to."""
    place = tmp_path_factory.mktemp("bundle")
    write_params(place, foundation={"source": "train"})
    with pytest.MonkeyPatch.context() as patch, few_masks():
        patch.chdir(place)
        load_stage("foundation").main()
    return place


@pytest.fixture
def work(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root / "build/pretrain", tmp_path / "pretrain"))


def test_the_stage_trains_every_component_in_half_precision(root: Path, digests: Digests) -> None:
    folder = root / "build" / "foundation"
    assert {path.name for path in folder.iterdir()} == {*PARTS, "classifier"}
    made, trained = digests(folder), digests(root / "build" / "pretrain")
    assert made == {name: digest for name, digest in trained.items() if not name.endswith("key.json")}
    assert {Path(name).suffix for name in made} == {".json", ".safetensors"}
    for name in (*NETWORKS, "classifier"):
        (path,) = (folder / name).glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    parts = load_foundation(folder)
    assert parts.latents(parts.moments(torch.rand(1, 3, 32, 32))).shape == (1, 8, 4, 4)


def test_two_runs_give_the_same_bytes_and_a_killed_one_as_well(
    root: Path, params: Params, tmp_path: Path, digests: Digests
) -> None:
    """Killed once in every component: each time it goes on with that one, its predecessors untouched."""
    torch.manual_seed(99)
    expected, work, before = digests(root / "build/pretrain"), tmp_path / "work", ""
    for i, name in enumerate(ORDER):
        log = Log(kill_at=name)
        with few_masks(), pytest.raises(Killed):
            Bundle(params.pretrain, params.canny, params.data.size, 1, work, log).train()
        assert log.names == ([before] if before else []) + [name]
        assert f"{name}/key.json" not in digests(work)
        before = ORDER[i]
    assert train(params, work) == ["classifier"]
    assert digests(work) == expected


def test_nothing_is_trained_again_without_need(params: Params, work: Path, digests: Digests) -> None:
    before = digests(work)
    assert train(params, work) == []
    assert digests(work) == before


@pytest.mark.parametrize(
    ("section", "changes", "again"),
    [
        ("inpaint", {"steps": 3}, ["controlnet_inpaint"]),
        ("classifier", {"steps": 3}, ["classifier"]),
        ("unet", {"steps": 3}, ["unet", "controlnet_canny", "controlnet_inpaint"]),
    ],
)
def test_a_setting_retrains_what_depends_on_it(
    params: Params, work: Path, section: str, changes: dict[str, Any], again: list[str]
) -> None:
    fit = getattr(params.pretrain, section).model_copy(update=changes)
    pretrain = params.pretrain.model_copy(update={section: fit})
    assert train(params.model_copy(update={"pretrain": pretrain}), work) == again


def test_other_edges_retrain_the_teacher_alone(params: Params, work: Path) -> None:
    canny = params.canny.model_copy(update={"high": 150})
    assert train(params.model_copy(update={"canny": canny}), work) == ["controlnet_canny"]


def test_other_code_retrains_everything(
    params: Params, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(shutil.copytree(sources.PACKAGE, tmp_path / "package"))
    monkeypatch.setattr(sources, "PACKAGE", package)
    assert train(params, work) == []
    for name, again in (("evaluation/score.py", []), ("data/textures.py", ORDER)):
        with (package / name).open("a") as file:
            file.write("# another version\n")
        assert train(params, work) == again


def test_another_number_of_threads_retrains_everything(
    params: Params, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert train(params, work) == ORDER


def test_a_component_without_its_key_is_made_again(params: Params, work: Path, root: Path, digests: Digests) -> None:
    """As a kill between a component and its key leaves it."""
    (work / "controlnet_canny" / "key.json").unlink()
    (work / "controlnet_canny" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    assert train(params, work) == ["controlnet_canny"]
    assert digests(work) == digests(root / "build/pretrain")


@pytest.fixture
def place(
    tmp_path: Path, foundation_folder: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory whose params ask for the foundation in the folder `given`."""
    shutil.copytree(foundation_folder, tmp_path / "given")
    write_params(tmp_path, foundation={"source": "folder", "path": "given"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_copied_as_it_is(place: Path, load_stage: Callable[[str], ModuleType], digests: Digests) -> None:
    (place / "given" / "vae" / "key.json").write_text("{}")
    (place / "given" / "notes").mkdir()
    load_stage("foundation").main()
    expected = digests(place / "given")
    del expected["vae/key.json"]
    assert digests(place / "build" / "foundation") == expected
    assert {path.name for path in (place / "build").iterdir()} == {"foundation"}


def _no_width(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize("source", ["folder", "bundled"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, ": missing component of the foundation, expected the attribute classifier of the gates"),
        (_no_width, "/config.json: width: found None, expected a multiple of 8"),
    ],
)
def test_every_source_needs_the_gates_classifier(
    place: Path,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    source: str,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    folder = Path("given" if source == "folder" else "assets/foundation")
    shutil.copytree(place / "given", place / "assets" / "foundation")
    write_params(place, foundation={"source": source, "path": str(folder)})
    spoil(place / folder / "classifier")
    capfd.readouterr()
    with pytest.raises(SystemExit):
        run("foundation", load_stage("foundation").main)
    assert capfd.readouterr().err == f"foundation: {folder}/classifier{message}\n"
    assert not (place / "build").exists()


def test_the_bundled_foundation_is_looked_for_in_assets(
    place: Path, load_stage: Callable[[str], ModuleType], write_params: Callable[..., None], digests: Digests
) -> None:
    write_params(place, foundation={"source": "bundled"})
    with pytest.raises(FileNotFoundError, match=r"assets/foundation/vae: missing component"):
        load_stage("foundation").main()
    shutil.copytree(place / "given", place / "assets" / "foundation")
    load_stage("foundation").main()
    assert digests(place / "build" / "foundation") == digests(place / "given")


def _pickles(folder: Path) -> None:
    path = folder / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), folder / "diffusion_pytorch_model.bin")
    path.unlink()


@pytest.mark.parametrize("spoil", [shutil.rmtree, _pickles], ids=["missing", "pickle"])
@pytest.mark.parametrize("name", ["unet", "controlnet_inpaint"])
def test_a_bad_folder_is_one_line_and_the_old_foundation_stays(
    place: Path,
    load_stage: Callable[[str], ModuleType],
    digests: Digests,
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    name: str,
) -> None:
    stage = load_stage("foundation")
    stage.main()
    before = digests(place / "build")
    spoil(place / "given" / name)
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        run("foundation", stage.main)
    assert caught.value.code == 1
    found = "missing component of the foundation" if spoil is shutil.rmtree else "found no *.safetensors"
    expected = f"expected a folder of class {PARTS[name].__name__}"
    assert capfd.readouterr().err == f"foundation: given/{name}: {found}, {expected}\n"
    assert digests(place / "build") == before
