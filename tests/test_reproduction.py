"""The whole pipeline through real DVC: twice from nothing, then by make, then with single parameters changed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from warm_python import WarmPython
from working_copy import copy_tree, opened_files, run

# Two whole reproductions and some partial ones.
pytestmark = pytest.mark.timeout(3600)

STAGES = ("train", "generate", "evaluate")
# What reads variant ours for the comparison with published methods.
COMPARED = {f"{stage}@{name}" for stage in ("compare_own", "compare_own_scores") for name in ("scenes", "shifted")}
COMPARED |= {"comparison"}
# The first two have all code between them: nothing of SAIL and ACDA, and both.
PAIR, ALL = ["baseline", "ours"], ["baseline", "sail", "acda", "ours"]
# The package's own file holds a sentence alone; the others are where DVC, git, MLflow and records live.
READ = ("params.yaml", "dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".git", "src/ecdm/__init__.py")
KEPT = (".dvc", "runs", "build/checkpoints", "mlflow.db.lock", "mlartifacts")


def repro(copy: Path, *targets: str, opened: Path | None = None) -> str:
    """What `dvc repro` prints; a failure shows everything."""
    done = run(copy, "dvc", "repro", *targets, quiet=True, opened=opened, python=warm(copy))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def warm(copy: Path) -> Path:
    """Where the copy's own WarmPython lies."""
    return copy.with_name("python")


def make_repro(copy: Path) -> subprocess.CompletedProcess[str]:
    """`make repro` in a copy that uses the environment of the tests."""
    (copy / ".venv").mkdir(exist_ok=True)
    (copy / ".venv" / ".ready").touch()
    return run(copy, "make", "repro", quiet=True, python=warm(copy))


def executed(output: str) -> set[str]:
    """Stages that DVC ran, as it names them."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


def set_params(copy: Path, changes: Mapping[str, Any]) -> None:
    """Change values of params.yaml, keys such as sail.lambda or seeds."""
    yaml, path = YAML(), copy / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (params[section] if section else params)[key] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def locked(copy: Path) -> dict[str, Any]:
    stages: dict[str, Any] = YAML(typ="safe").load((copy / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return stages


def below(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of the places or lies in one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def reads(entry: Mapping[str, Any], outs: set[str]) -> bool:
    """Whether a stage depends on one of the outputs, on a part of one or on a folder that has one."""
    deps = {item["path"] for item in entry.get("deps", [])}
    return any(below(dep, outs) for dep in deps) or any(below(out, deps) for out in outs)


def followers(stages: Mapping[str, Any], names: set[str]) -> set[str]:
    """Stages that read, directly or through others, what stages of these names write."""
    found, last = set(names), set(names)
    while last:
        outs = {item["path"] for name in last for item in stages[name].get("outs", [])}
        last = {name for name, entry in stages.items() if reads(entry, outs)} - found
        found |= last
    return found - names


def undeclared(stages: Mapping[str, Any], opened: Mapping[str, set[tuple[str, str]]]) -> set[tuple[str, str, str]]:
    """Stage, r or w and path of every opened file that no dependency and no output of the stage covers."""
    found: set[tuple[str, str, str]] = set()
    for name, entry in stages.items():
        deps, outs = (tuple(item["path"] for item in entry.get(kind, [])) for kind in ("deps", "outs"))
        allowed = {"r": deps + outs + READ + KEPT, "w": outs + KEPT}
        found |= {(name, kind, path) for kind, path in opened[entry["cmd"]] if not below(path, allowed[kind])}
    return found


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two copies at different paths, each with an empty cache of its own, both reproduced at once.

    The first has all variants, and its stages list the files that they open in a folder `opened` beside it; the second
    has two.
    """
    base = tmp_path_factory.mktemp("copies")
    first, second = (copy_tree(base / name) for name in ("first", "second/deeper"))
    opened = first.with_name("opened")
    opened.mkdir()
    for copy, variants in ((first, ALL), (second, PAIR)):
        assert run(copy, "ecdm", "profile", "micro", quiet=True).returncode == 0
        set_params(copy, {"variants": variants})
        (copy / "dvc.lock").unlink(missing_ok=True)
    with WarmPython(warm(first)), WarmPython(warm(second)):
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(repro, first, opened=opened), pool.submit(repro, second)]:
                done.result()
        yield first, second


def test_stages_open_what_they_declare_and_nothing_else(copies: tuple[Path, Path]) -> None:
    stages, opened = locked(copies[0]), opened_files(copies[0], copies[0].with_name("opened"))
    assert set(opened) == {entry["cmd"].removeprefix("python ") for entry in stages.values()}
    opened = {f"python {command}": files for command, files in opened.items()}
    assert undeclared(stages, opened) == set()
    entry = stages["train@ours-0"]
    entry["deps"] = [item for item in entry["deps"] if item["path"] != "build/edges"]
    entry["outs"] = [item for item in entry["outs"] if not item["path"].startswith("build/probe")]
    missed = undeclared(stages, opened)
    assert {(name, kind, "/".join(path.split("/")[:2])) for name, kind, path in missed} == {
        ("train@ours-0", "r", "build/edges"),
        ("train@ours-0", "w", "build/probe"),
    }


def test_nothing_to_do_does_nothing(copies: tuple[Path, Path]) -> None:
    assert not executed(repro(copies[0]))


def test_the_hashes_hang_neither_on_the_place_nor_on_what_was_reproduced_before(
    copies: tuple[Path, Path], digests: Callable[[Path], dict[str, str]]
) -> None:
    """The first copy, cut down to the variants that the second one has had from the start, and back."""
    first = copies[0]
    states = [(locked(copy), digests(copy / "reports")) for copy in copies]
    others = {f"{stage}@{variant}-0" for stage in STAGES for variant in ALL if variant not in PAIR}
    assert states[0][0].keys() == states[1][0].keys() | others
    assert states[0][1] != states[1][1]
    for variants, (stages, reports) in ((PAIR, states[1]), (ALL, states[0])):
        set_params(first, {"variants": variants})
        done = make_repro(first)
        assert done.returncode == 0, done.stderr
        # Restored ones are restored; the clearing itself must run every time.
        assert not {name for name in executed(done.stdout) if "@" in name}
        assert "variants" in executed(done.stdout)
        assert re.search(r"^reproduction \w+: ", done.stdout, re.MULTILINE)
        timed = set(re.findall(r"^(\S+)  +\d{4}-", done.stdout, re.MULTILINE))
        assert timed == executed(done.stdout)
        assert {path.name for path in (first / "build" / "train").iterdir()} == {f"{name}-0" for name in variants}
        # DVC keeps the entries of stages that it no longer has.
        assert {name: entry for name, entry in locked(first).items() if name in stages} == stages
        assert digests(first / "reports") == reports


def test_lambda_reruns_those_that_use_it_and_no_other(copies: tuple[Path, Path]) -> None:
    set_params(copies[0], {"sail.lambda": 0.3})
    expected = {f"{stage}@{variant}-0" for stage in STAGES for variant in ("sail", "ours")}
    assert executed(repro(copies[0])) == expected | COMPARED | {"variants", "cost", "gates", "report"}


def test_the_radius_would_rerun_those_that_use_it_and_no_other(copies: tuple[Path, Path]) -> None:
    """What DVC finds changed, and what reads that: the same run as for λ would take as long again."""
    copy, users = copies[0], {f"{name}-0" for name in ("acda", "ours")}
    set_params(copy, {"acda.radius": 6})
    assert executed(repro(copy, "variants")) == {"variants"}
    status = run(copy, "dvc", "status", "--json", "dvc.yaml", quiet=True)
    trained = {f"train@{name}" for name in users}
    assert json.loads(status.stdout).keys() == trained | {"cost", "report"}, status.stderr
    rest = {f"{stage}@{name}" for stage in STAGES[1:] for name in users}
    assert followers(locked(copy), trained) == rest | COMPARED | {"gates", "report"}


def test_a_mistyped_parameter_ends_the_pipeline_with_its_name(copies: tuple[Path, Path]) -> None:
    path = copies[1] / "params.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace("radius:", "radios:"), encoding="utf-8")
    done = run(copies[1], "dvc", "repro", quiet=True)
    path.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert "acda.radius" in done.stdout + done.stderr


def test_make_refuses_an_unknown_key_that_no_stage_watches(copies: tuple[Path, Path]) -> None:
    path = copies[1] / "params.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}surprise: 1\n", encoding="utf-8")
    done = make_repro(copies[1])
    path.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert "params.yaml: surprise: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_leaves_alone_what_is_up_to_date(copies: tuple[Path, Path]) -> None:
    done = make_repro(copies[1])
    assert done.returncode == 0, done.stderr
    assert not executed(done.stdout)
    assert "reproduction " not in done.stdout
    assert "seconds" not in done.stdout


def test_make_mirrors_what_ran_before_a_gate_failed(copies: tuple[Path, Path]) -> None:
    # A store of its own, so that what this run mirrors is not there already.
    (copies[1] / "mlflow.db").unlink()
    set_params(copies[1], {"gates.enforce": True})
    done = make_repro(copies[1])
    assert "gates.enforce is true" in done.stderr
    assert re.search(r"repro\] \w+ 255", done.stderr)
    assert "baseline-0: " in done.stdout
    assert re.search(r"^gates .* failed$", done.stdout, re.MULTILINE)
