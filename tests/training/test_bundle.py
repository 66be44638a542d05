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
from ecdm.training import bundle
from ecdm.training.bundle import Bundle, copy_foundation
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


def test_a_folder_need_not_hold_a_classifier(place: Path, load_stage: Callable[[str], ModuleType]) -> None:
    shutil.rmtree(place / "given" / "classifier")
    load_stage("foundation").main()
    assert {path.name for path in (place / "build" / "foundation").iterdir()} == set(PARTS)


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
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    name: str,
) -> None:
    stage = load_stage("foundation")
    stage.main()
    before = digests(place / "build")
    spoil(place / "given" / name)
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run("foundation", stage.main)
    assert caught.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("foundation: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"foundation: given/{name}: ")
    assert digests(place / "build") == before


@pytest.mark.parametrize("existing", [True, False])
def test_copying_is_all_or_nothing(
    foundation_folder: Path, tmp_path: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    target = tmp_path / "build" / "foundation"
    if existing:
        copy_foundation(foundation_folder, target)
    before, copytree = digests(tmp_path), shutil.copytree
    copied: list[str] = []

    def full_disk(source: Path, place: Path, **options: Any) -> Any:
        if len(copied) == 3:
            raise OSError("no space left on device")
        copied.append(source.name)
        return copytree(source, place, **options)

    monkeypatch.setattr(shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="no space left"):
        copy_foundation(foundation_folder, target)
    assert len(copied) == 3
    assert digests(tmp_path) == before
    assert target.exists() is existing


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_component_is_named_before_anything_is_copied(
    foundation_folder: Path, tmp_path: Path, name: str
) -> None:
    given = tmp_path / "given"
    shutil.copytree(foundation_folder, given)
    shutil.rmtree(given / name)
    with pytest.raises(FileNotFoundError, match=f"{given / name}: missing component"):
        copy_foundation(given, tmp_path / "new" / "foundation")
    assert not (tmp_path / "new").exists()


def test_an_old_foundation_is_replaced_whole(foundation_folder: Path, tmp_path: Path, digests: Digests) -> None:
    target = tmp_path / "foundation"
    (target / "old").mkdir(parents=True)
    copy_foundation(foundation_folder, target)
    assert digests(target) == digests(foundation_folder)
