"""The whole pipeline through real DVC: twice from nothing, then with one parameter changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from working_copy import copy_tree, run


def repro(copy: Path) -> str:
    """What `dvc repro` prints; a failure shows everything."""
    done = run(copy, "dvc", "repro", quiet=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def executed(output: str) -> set[str]:
    """Stages that DVC ran, as it names them."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


def set_param(copy: Path, section: str, key: str, value: float) -> None:
    yaml, path = YAML(), copy / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    params[section][key] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two copies at different paths, each with an empty cache of its own, both reproduced."""
    found = []
    for name in ("first", "second/deeper"):
        copy = copy_tree(tmp_path_factory.mktemp("copies") / name)
        assert run(copy, "ecdm", "profile", "micro", quiet=True).returncode == 0
        (copy / "dvc.lock").unlink(missing_ok=True)
        repro(copy)
        found.append(copy)
    return found[0], found[1]


def test_two_copies_end_with_the_same_hashes(copies: tuple[Path, Path]) -> None:
    first, second = ((copy / "dvc.lock").read_text(encoding="utf-8") for copy in copies)
    assert first == second
    for path in sorted((copies[0] / "reports").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (copies[1] / path.relative_to(copies[0])).read_bytes(), path


def test_nothing_to_do_does_nothing(copies: tuple[Path, Path]) -> None:
    assert not executed(repro(copies[0]))


@pytest.mark.parametrize(("section", "key", "value"), [("sail", "lambda", 0.3), ("acda", "radius", 6)])
def test_a_change_reruns_those_that_use_it_and_no_other(
    copies: tuple[Path, Path], section: str, key: str, value: float
) -> None:
    set_param(copies[0], section, key, value)
    ran = executed(repro(copies[0]))
    per_variant = {name for name in ran if "@" in name}
    assert per_variant == {"train@ours-0", "generate@ours-0", "evaluate@ours-0"}
    assert ran - per_variant == {"variants", "gates", "report"}


def test_a_mistyped_parameter_ends_the_pipeline_with_its_name(copies: tuple[Path, Path]) -> None:
    path = copies[1] / "params.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace("radius:", "radios:"), encoding="utf-8")
    done = run(copies[1], "dvc", "repro", quiet=True)
    path.write_text(before, encoding="utf-8")
    assert done.returncode != 0
    assert "acda.radius" in done.stdout + done.stderr
