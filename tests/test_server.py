"""docs/tracking-server.md against a real MLflow server on a real PostgreSQL: every command as it stands there."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from servers import end, free_port, postgresql, program, serving
from tiny_project import PARAMS, make_project

GUIDE = Path(__file__).parents[1] / "docs" / "tracking-server.md"
# Three stages and one variant, its three stages, the parent.
RUNS = 8


@dataclass
class Place:
    """What the guide's example values stand for here."""

    folder: Path
    database: dict[str, str]
    port: int = field(default_factory=free_port)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a terminal: the database's administrator, and the programs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(program("psql")).parent), kept["PATH"]])
        # Of the server's processes, of which it would start four; several they have to be.
        few = {"MLFLOW_WORKERS": "2"}
        return {**kept, **self.database, **few, "PATH": path, "DVC_SITE_CACHE_DIR": str(self.folder / "site")}

    def blocks(self, language: str) -> list[str]:
        """The guide's blocks in a language, with this place's values."""
        text = GUIDE.read_text(encoding="utf-8")
        values = {
            "tracking.example:5000": f"127.0.0.1:{self.port}",
            "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {self.port}",
            "127.0.0.1:5432": f"127.0.0.1:{self.database['PGPORT']}",
            "/etc/mlflow/": f"{self.folder}/",
            "/srv/mlflow": f"{self.folder}/artifacts",
        }
        for given, ours in values.items():
            assert given in text
            text = text.replace(given, ours)
        return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)

    def shell(self, script: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a block as one would paste it."""
        # The project's command as this source tree has it, whatever is installed.
        named = 'ecdm() { python -m ecdm.cli "$@"; }\n'
        command = ["bash", "-e", "-c", named + script]
        return subprocess.run(command, cwd=cwd or self.folder, env=self.variables, capture_output=True, text=True)

    def server(self, script: str) -> ExitStack:
        """The guide's server, once it answers."""
        stack = ExitStack()
        command = ["bash", "-e", "-c", script.replace("mlflow server", f"exec {sys.executable} -m mlflow server")]
        self.process = stack.enter_context(serving(command, self.port, self.folder / "server.log", self.variables))
        return stack

    def status(self, host: str | None = None, login: str | None = None) -> int:
        """The status with which the server answers a request for the experiments."""
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/experiments/search?max_results=1")
        if host:
            request.add_header("Host", host)
        if login:
            request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with postgresql() as database:
        place = Place(tmp_path_factory.mktemp("server"), database)
        (settings,) = place.blocks("ini")
        (place.folder / "auth.ini").write_text(settings)
        make, serve, user, _ = place.blocks("sh")
        made = place.shell(make)
        assert made.returncode == 0, made.stderr
        with place.server(serve) as stack:
            created = place.shell(user)
            assert created.returncode == 0, created
            yield place
            stack.close()


@pytest.fixture(scope="module")
def project(place: Place) -> Path:
    root = place.folder / "project"
    make_project(root, PARAMS.replace("baseline, ours", "ours").replace("0, 1", "0"))
    return root


def query(place: Place, statement: str) -> str:
    """What the server's database answers, a line per row."""
    done = place.shell(f'psql --dbname mlflow --tuples-only --no-align --command "{statement}"')
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(place: Place) -> str:
    """How many rows every table of the database has."""
    return query(
        place,
        "SELECT table_name, (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM ' || table_name, "
        "false, true, '')))[1] FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
    )


def test_everybody_else(place: Place, project: Path) -> None:
    client = place.blocks("sh")[3]
    done = place.shell(client, project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": new run") == RUNS
    links = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("http")]
    assert links[0].startswith(f"{place.uri}/#/experiments/")
    assert "compareRunsMode=CHART" in links[0]
    assert len(list((place.folder / "artifacts").rglob("scores.json"))) == 2
    assert not (project / "mlflow.db").exists()
    assert not (project / "mlartifacts").exists()

    before = rows(place)
    assert f"runs|{RUNS}\n" in before
    again = place.shell(client, project)
    assert f"{RUNS} of {RUNS} runs: complete already" in again.stdout
    assert rows(place) == before


def test_only_with_a_password_and_under_a_known_name(place: Place, project: Path) -> None:
    assert place.status() == 401
    assert place.status(login="anna:change-me-44") == 200
    assert place.status(host="evil.example", login="anna:change-me-44") == 403
    wrong = place.blocks("sh")[3].replace("change-me-44", "not-her-password")
    done = place.shell(wrong, project)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: MLflow at {place.uri}: ")
    assert "not-her-password" not in done.stdout + done.stderr


KILLING = """\
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from ecdm.cli import main
whole = MlflowClient.log_image
def last(*arguments, **more):
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
    return whole(*arguments, **more)
MlflowClient.log_image = last
sys.exit(main(["sync"]))
"""


def test_a_server_killed_in_the_middle_of_a_sync(place: Place, project: Path) -> None:
    serve, client = place.blocks("sh")[1], place.blocks("sh")[3]
    named = client.replace("dvc repro\n", "").replace(
        "export MLFLOW_TRACKING_URI", "export MLFLOW_EXPERIMENT_NAME=two\nexport MLFLOW_TRACKING_URI"
    )
    killer = project / "killer.py"
    killer.write_text(KILLING)
    done = place.shell(named.replace("ecdm sync\necdm ui", f"python killer.py {place.process.pid}"), project)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: MLflow: ")
    end(place.process)
    with place.server(serve):
        filled = place.shell(named, project)
        assert filled.returncode == 0, filled.stderr
        assert "images" in filled.stdout
        again = place.shell(named, project)
        assert f"{RUNS} of {RUNS} runs: complete already" in again.stdout
    count = "SELECT count(*) FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = 'two'"
    assert query(place, count) == f"{RUNS}\n"
