"""`ecdm sync` and `ecdm ui`: fill MLflow from the files, and look at it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecdm.commands.parsers import add_command
from ecdm.commands.ports import HOST, require_free

if TYPE_CHECKING:
    from ecdm.tracking import Store

START_SECONDS = 180.0


def register(commands: Any) -> None:
    """Add `sync` and `ui` to the parsers of `commands`."""
    sync = add_command(commands, "sync", "fill MLflow from the files of the last reproduction")
    sync.set_defaults(command=_sync)

    ui = add_command(commands, "ui", "show the runs in MLflow's user interface")
    ui.add_argument("--port", type=int, default=5000, help="of the server on this machine (default: 5000)")
    ui.set_defaults(command=_ui)


def _sync(options: argparse.Namespace) -> int:
    from ecdm.mirror.sync import sync
    from ecdm.root import find_root

    outcome = sync(find_root())
    for run in outcome.runs:
        counts = [f"{count} {kind}" for kind, count in sorted(run.written.items()) if count and kind != "runs"]
        found = (["new run"] if run.written.get("runs") else []) + counts
        if found or run.name.startswith("reproduction "):
            print(f"{run.name}: {', '.join(found) or 'complete already'}")
    complete = sum(1 for run in outcome.runs if not any(run.written.values()))
    if complete:
        print(f"{complete} of {len(outcome.runs)} runs: complete already")
    for line in outcome.skipped:
        print(f"not mirrored: {line}")
    if outcome.skipped:
        print(
            "No run has the whole reproduction: `dvc repro` or, on a new clone, `dvc pull --allow-missing`, then sync."
        )
    return 0


def _ui(options: argparse.Namespace) -> int:
    from ecdm.address import shown, sqlite_file, store_uri
    from ecdm.root import find_root
    from ecdm.tracking import Store

    root = find_root()
    uri = store_uri(root)
    remote = uri.startswith(("http://", "https://"))
    if not remote:
        require_free(options.port)
    store = Store.connect(root)
    if remote:
        print(f"MLFLOW_TRACKING_URI names a server: {shown(uri)}")
        print(_links(store, shown(uri)))
        return 0
    database = sqlite_file(uri)
    artifacts = (database.parent if database else root) / "mlartifacts"
    return _serve(uri, artifacts, options.port, _links(store, f"http://{HOST}:{options.port}"))


def _links(store: Store, server: str) -> str:
    """The experiment's page and its prepared views, one a line."""
    from ecdm.mirror.views import links

    page = f"{server}/#/experiments/{store.experiment_id}"
    lines = [f"{address}  {title}" for title, address in links(page, store.tags())]
    return "\n".join(lines or [f"{page}  no reproduction yet: run `ecdm sync` after `dvc repro`"])


def _serve(uri: str, artifacts: Path, port: int, links: str) -> int:
    """Run MLflow's server until it ends or is interrupted; print the links as soon as it answers."""
    from ecdm.address import unreachable

    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", artifacts.as_uri(), "--uvicorn-opts", "--log-level warning"]
    # Job runners serve language-model features and would cost processes of their own.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # The address may hold a password, and everybody on the machine can read command lines.
    environment |= {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_REGISTRY_STORE_URI": uri}
    # A session of its own, so that the server's workers can be ended with it.
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        deadline = time.monotonic() + START_SECONDS
        while unreachable(f"http://{HOST}:{port}"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise ValueError(f"the MLflow server on port {port} did not start; see its messages above")
            time.sleep(0.2)
        print(f"MLflow (Ctrl-C ends it):\n{links}", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
