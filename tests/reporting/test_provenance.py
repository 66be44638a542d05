"""Hashes of inputs are DVC's own; versions and settings as text."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny_project import dvc

from ecdm.reporting.provenance import LIBRARIES, read_inputs, settings, versions


def test_hashes_are_those_that_dvc_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    for name in ("b.txt", "a/z.txt", "a.txt", "ä/1.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (tmp_path / "one.csv").write_text("1,2\r\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    dvc(tmp_path, "init", "-q")
    dvc(
        tmp_path,
        "stage",
        "add",
        "-q",
        "-n",
        "s",
        "-d",
        "folder",
        "-d",
        "one.csv",
        "-O",
        "out",
        f"{sys.executable} -c \"open('out', 'w')\"",
    )
    dvc(tmp_path, "repro", "-q")
    lock = YAML(typ="safe").load((tmp_path / "dvc.lock").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    found = read_inputs([Path("folder"), Path("one.csv")])
    expected = lock["stages"]["s"]["deps"]
    assert [(one.path, one.md5, one.size) for one in found] == [(d["path"], d["md5"], d["size"]) for d in expected]
    assert found[0].files == expected[0]["nfiles"] == 4


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder"):
        read_inputs([tmp_path / "gone"])


def test_every_library_of_the_page_is_one_that_the_project_installs() -> None:
    assert list(versions()) == list(LIBRARIES)


def test_versions_are_public_ones_of_what_is_installed() -> None:
    found = versions(("torch", "numpy", "not-a-distribution"))
    assert list(found) == ["torch", "numpy"]
    assert "+" not in found["torch"]


def test_settings_under_dotted_keys() -> None:
    nested = {"seed": 0, "seeds": [0, 1], "train": {"lr": 1e-4, "path": None, "deep": {"name": "no"}}}
    expected = {"seed": "0", "seeds": "0, 1", "train.lr": "0.0001", "train.path": "off", "train.deep.name": "no"}
    assert settings(nested) == expected
