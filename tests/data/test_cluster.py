"""The engine `ray` on a cluster of two processes here: what `local` gives, also when a process is killed on the way."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cluster_case
import pytest
import torch
from cluster_case import failing, killed_at, make_killed
from coco_case import noise
from PIL import Image
from source_case import settings

from ecdm.data import cluster, scene_folder, selection
from ecdm.data.coco import read_split
from ecdm.data.edges import _write_edges, write_edges
from ecdm.data.engine import Engine
from ecdm.data.masks import write_masks
from ecdm.data.scene_folder import write_scenes
from ecdm.data.sources import write_source
from ecdm.training.latents import write_moments

LOCAL, RAY = Engine("local", 1), Engine("ray", 2)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """That of the engine itself, for all tests here."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # As nice as this process: on a busy machine Ray's usual workers, the nicest of all, get no turn.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(Path(cluster_case.__file__).parent))
        assert RAY.map(abs, [-1], "test") == [1]
        assert ray.cluster_resources()["CPU"] == 2
    yield
    ray.shutdown()


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_keep_the_order_of_the_jobs() -> None:
    results = RAY.map(failing, range(12), "test", weight=8)
    assert [job for job, _ in results] == list(range(12))
    assert os.getpid() not in {process for _, process in results}
    assert RAY.map(failing, [], "test") == []


def test_the_first_error_arrives_as_itself_and_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^job 13 is bad$"):
        RAY.map(failing, range(40), "test", weight=8)
    with pytest.raises(ValueError, match=r"^job 13 is bad$"):
        list(RAY.stream(partial(make_killed, Path(), -1), range(12, 15), "test"))
    assert capfd.readouterr() == ("", "")


def test_a_killed_process_leaves_the_same_files(
    made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]
) -> None:
    images = read_split(made_tree / "data/scenes", "train")
    write = partial(_write_edges, made_tree / "data/scenes/train", tmp_path / "edges", 100, 200)
    RAY.map(partial(killed_at, tmp_path / "mark", images[3], write), images, "test")
    assert (tmp_path / "mark").is_file()
    assert digests(tmp_path / "edges") == digests(made_tree / "build/edges/scenes/train")


def test_a_killed_actor_gives_the_same_results(tmp_path: Path) -> None:
    found = list(RAY.stream(partial(make_killed, tmp_path / "mark", 2), range(4), "test"))
    assert [job for job, _ in found] == [0, 1, 2, 3]
    # The one that was killed at job 2 may have done job 3 before.
    assert (tmp_path / "mark").read_text() != str(found[2][1])


@pytest.mark.usefixtures("_two_threads")
def test_data_masks_edges_and_latents_are_those_of_the_local_engine(
    tmp_path: Path, foundation_folder: Path, monkeypatch: pytest.MonkeyPatch, digests: Callable[[Path], dict[str, str]]
) -> None:
    monkeypatch.setattr(scene_folder, "PER_SHARD", 3)
    # Stages name files relative to where they run.
    for engine in (LOCAL, RAY):
        (tmp_path / engine.kind).mkdir()
        monkeypatch.chdir(tmp_path / engine.kind)
        write_scenes(Path("data"), 0, 32, {"train": 5, "test": 3}, engine, shards=True)
        for split in ("train", "test"):
            write_edges(Path("data"), split, Path("edges"), 100, 200, engine)
        write_masks(Path("data"), "test", "scenes", ["10-20", "wide"], Path("masks"), 0, engine)
        write_moments(Path("data"), "train", foundation_folder, Path("train.safetensors"), 2, engine)
    local, ray = digests(tmp_path / "local"), digests(tmp_path / "ray")
    assert {"data/train-000000.tar", "edges/train-000001.tar", "edges/test/000300000002.png"} - set(local) == set()
    assert len(local) == 2 + 3 + 4 + 2 + 3 + 6 + 1
    assert ray == local


@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_of_ones_own_gives_the_files_of_the_local_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: Callable[[Path], dict[str, str]], shards: bool
) -> None:
    monkeypatch.setattr(selection, "PER_JOB", 2)
    monkeypatch.setattr(selection, "PER_SHARD", 2)
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    for number in range(9):
        Image.fromarray(noise(number)).save(f"own/{number}.png")
        Path(f"own/{number}.txt").write_text(f"image {number}\n")
    Path("own/cut.png").write_bytes(Path("own/0.png").read_bytes()[:60])
    Path("own/cut.txt").write_text("cut short\n")
    data = settings("folder", Path("own"), train=None, validation=2, test=2, rejects=0.2, shards=shards)
    for engine in (LOCAL, RAY):
        # A relative folder, as the stage gives it.
        Path(engine.kind).mkdir()
        write_source(Path(engine.kind), data, 0, engine)
    local = digests(tmp_path / "local")
    assert len([name for name in local if name.startswith("train")]) == (3 if shards else 5)
    assert (tmp_path / "ray/annotations/rejects.csv").read_text().count("cut.png") == 1
    assert digests(tmp_path / "ray") == local


def test_an_address_without_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        ConnectionError, match=f"RAY_ADDRESS: found '{address}', where no cluster lets this process in: .*refused"
    ):
        cluster._join(1)
