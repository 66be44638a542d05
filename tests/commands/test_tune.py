"""`ecdm tune` as one types it: what it asks back and refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from search_toy import Toy, settings

from ecdm.cli import main
from ecdm.search.plan import requeue
from ecdm.search.storage import open_storage


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A search that is done, in the project that is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECDM_TUNE_STORAGE", raising=False)
    params, tune = settings(tmp_path)
    toy = Toy(params, tune, open_storage(tune, tmp_path, requeue))
    toy.prepare()
    toy.work()
    return toy


def test_what_is_done_is_deleted_only_when_one_says_so(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "remove"]) == 2
    shown = capsys.readouterr().err
    assert shown == "error: study lambda-radius: found 10 trials that are done; delete them with --yes\n"
    assert main(["tune", "remove", "--short"]) == 0
    assert "no study lambda-radius-short" in capsys.readouterr().out
    assert len(toy.studies.search.get_trials()) == 6
    assert main(["tune", "remove", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("deleted: lambda-radius")
    assert toy.storage.get_all_studies() == []


def test_how_far_it_is(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["lambda-radius-noise: 2 complete", "lambda-radius: 6 complete"]
    assert lines[-1].startswith("The best values (λ ")


@pytest.mark.parametrize("value", ["0", "-1", "inf", "x"])
def test_minutes_are_above_zero(toy: Toy, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "worker", f"--timeout={value}"])
    assert "--timeout" in capsys.readouterr().err


def test_states_reports_and_removals_wait_for_no_networks() -> None:
    script = "import sys, ecdm.tuning.session; print({'torch', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
