"""Optuna's dashboard on the storage of a search."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from search_toy import Toy, settings
from servers import free_port, serving

from ecdm.search.plan import phases, requeue
from ecdm.search.storage import open_storage


def test_the_dashboard_opens_the_same_storage(tmp_path: Path) -> None:
    params, tune = settings(tmp_path)
    toy = Toy(params, tune, open_storage(tune, tmp_path, requeue))
    toy.prepare()
    toy.work()
    port = free_port()
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(program), "--port", str(port), f"sqlite:///{tmp_path}/studies.db"]
    with serving(command, port, tmp_path / "log"):
        address = f"http://127.0.0.1:{port}/api/studies"
        studies = json.loads(urllib.request.urlopen(address).read())["study_summaries"]
        names = sorted(study["study_name"] for study in studies)
        assert names == sorted(study.study_name for study in phases(toy.studies))
        assert len(names) == 3
        (search,) = (study for study in studies if study["study_name"] == "lambda-radius")
        found = json.loads(urllib.request.urlopen(f"{address}/{search['study_id']}").read())
    states = [trial["state"] for trial in found["trials"]]
    assert states == ["Complete"] * 6
    assert {param["name"] for param in found["trials"][0]["params"]} == {"sail.lambda", "acda.radius"}
