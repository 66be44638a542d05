"""The digest of the code: every version has its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ecdm.training import bundle, experiment, sources
from ecdm.training.sources import sources_digest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two folders and a file."""
    for name in ("data/a.py", "data/inner/b.py", "models/c.py", "config.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    return tmp_path


def _edit(package: Path) -> None:
    (package / "data/inner/b.py").write_text("# changed\n")


def _add(package: Path) -> None:
    (package / "data/new.py").write_text("")


def _rename(package: Path) -> None:
    (package / "data/a.py").rename(package / "data/z.py")


def _edit_file(package: Path) -> None:
    (package / "config.py").write_text("# changed\n")


@pytest.mark.parametrize("change", [_edit, _add, _rename, _edit_file])
def test_changed_sources_change_the_digest(package: Path, change: Callable[[Path], None]) -> None:
    before = sources_digest(["data", "config.py"])
    assert sources_digest(["data", "config.py"]) == before
    change(package)
    assert sources_digest(["data", "config.py"]) != before


def test_other_files_do_not_count(package: Path) -> None:
    before = sources_digest(["data", "config.py"])
    (package / "models/c.py").write_text("# changed\n")
    (package / "data/__pycache__").mkdir()
    (package / "data/__pycache__/a.pyc").write_bytes(b"x")
    assert sources_digest(["data", "config.py"]) == before


def test_an_entry_that_does_not_exist_is_named(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.py"):
        sources_digest(["data", "gone.py"])


def test_both_lists_are_those_of_the_package() -> None:
    """A training run counts the package's folders that its stage depends on."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = [Path(entry) for entry in stages["train"]["deps"] if entry.startswith("src/ecdm/")]
    assert list(experiment.SOURCES) == sorted(path.name for path in deps if not path.suffix)
    assert sources_digest(bundle.SOURCES) != sources_digest(experiment.SOURCES)
