"""The `ecdm` command."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ecdm import runs

PARAMS, PROFILES, HOST = "params.yaml", "profiles", "127.0.0.1"
START_SECONDS = 180.0


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done. 1: `profile --check` found a difference. 2: bad input or a missing file, told in one line.
    """
    options = _parser().parse_args(argv)
    try:
        return int(options.command(options))
    except (ValueError, FileNotFoundError) as error:
        missing = error.filename if isinstance(error, FileNotFoundError) else None
        text = f"{missing}: no such file" if missing else str(error)
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecdm",
        description="Text-guided image inpainting: settings, tracking and timing of the pipeline.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    profile = commands.add_parser("profile", help="write a profile's settings into params.yaml")
    profile.add_argument("name", help="a file of profiles/, without .yaml")
    profile.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it would change")
    profile.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    profile.set_defaults(command=_profile)

    sync = commands.add_parser("sync", help="fill MLflow from the files of the last reproduction")
    sync.set_defaults(command=_sync)

    check = commands.add_parser("check", help="check the settings in params.yaml")
    check.set_defaults(command=_check)

    timing = commands.add_parser("timing", help="show time and memory of every stage's last run")
    timing.add_argument("--since", type=Path, metavar="FILE", help="only stages that ended after FILE was changed")
    timing.set_defaults(command=_timing)

    ui = commands.add_parser("ui", help="show the runs in MLflow's user interface")
    ui.add_argument("--port", type=int, default=5000, help="of the server on this machine (default: 5000)")
    ui.set_defaults(command=_ui)
    return parser


def find_root() -> Path:
    """The project: the nearest folder with a params.yaml, from the working directory upwards."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PARAMS).is_file():
            return folder
    raise FileNotFoundError(f"{PARAMS}: found neither in {here} nor above it; run `ecdm` inside the project")


def _profile(options: argparse.Namespace) -> int:
    from ecdm.profiles import difference, find_profile, overlay

    root = find_root()
    path, profile = root / PARAMS, find_profile(options.name, root / PROFILES)
    old, new = path.read_text(encoding="utf-8"), overlay(path, profile)
    changes = difference(old, new, PARAMS)
    if not changes:
        print(f"{PARAMS} has the settings of profile {options.name} already")
        return 0
    _validate(new, profile)
    print(changes, end="")
    if options.check:
        return 1
    if not options.dry_run:
        runs.write_text(path, new)
    return 0


def _validate(text: str, profile: Path) -> None:
    from ecdm.config import load_params

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            load_params(path)
        except ValueError as error:
            raise ValueError(f"{profile}: {str(error).removeprefix(f'{path}: ')}") from error


def _check(options: argparse.Namespace) -> int:
    from ecdm.config import load_params

    load_params(find_root() / PARAMS)
    print(f"{PARAMS} is valid")
    return 0


def _sync(options: argparse.Namespace) -> int:
    from ecdm.sync import sync

    outcome = sync(find_root())
    for run in outcome.runs:
        counts = [f"{count} {kind}" for kind, count in sorted(run.written.items()) if count and kind != "runs"]
        new = "new run, " if run.written.get("runs") else ""
        print(f"{run.name}: {new}{', '.join(counts) or 'complete already'}")
    for line in outcome.skipped:
        print(f"not mirrored: {line}")
    if outcome.skipped:
        print("No run stands for the whole reproduction: `dvc repro` or, on a new clone, `dvc pull`, then sync.")
    return 0


def _timing(options: argparse.Namespace) -> int:
    print(timing_table(find_root() / runs.RUNS, options.since))
    return 0


def timing_table(folder: Path, since: Path | None = None) -> str:
    """Stage, start, seconds and peak memory of the last run of every stage, oldest first, and their sum.

    `since`: a file; only stages whose record is younger than it are listed, and one line where there is none.
    Raises: FileNotFoundError where no stage has run or `since` is missing; ValueError naming a file that is no
    record.
    """
    paths, started = sorted(folder.glob("*.json")), since.stat().st_mtime_ns if since else 0
    if not paths and not since:
        raise FileNotFoundError(f"{folder}: found no record of a stage run; run `make repro` first")
    found = sorted((_record(path) for path in paths if path.stat().st_mtime_ns > started), key=lambda row: row[0])
    if not found:
        return "no stage had to run: what changed came from DVC's cache"
    width = max(len(row[1]) for row in found)
    lines = [f"{'stage':<{width}}  {'started (UTC)':<16}  {'seconds':>9}  {'peak MB':>7}"]
    lines += [f"{name:<{width}}  {at[:16]:<16}  {s:>9.1f}  {mb:>7.0f}{note}" for at, name, s, mb, note in found]
    seconds, memory = sum(row[2] for row in found), max(row[3] for row in found)
    rule = "-" * len(lines[0])
    return "\n".join([*lines, rule, f"{'total':<{width}}  {'':<16}  {seconds:>9.1f}  {memory:>7.0f}"])


def _record(path: Path) -> tuple[str, str, float, float, str]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        numbers = float(record["seconds"]), float(record["peak_memory_mb"])
        note = "" if record["completed"] else "  failed"
        return str(record["started"]).replace("T", " "), str(record["stage"]), *numbers, note
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of a stage run: {error!r}") from error


def _ui(options: argparse.Namespace) -> int:
    from ecdm.address import shown, sqlite_file, store_uri

    root = find_root()
    uri = store_uri(root)
    database = sqlite_file(uri)
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI names a server: {shown(uri)}")
        return 0
    _require_free(options.port)
    from ecdm.tracking import Store

    experiment = Store.connect(root).experiment_id
    link = f"http://{HOST}:{options.port}/#/experiments/{experiment}"
    artifacts = (database.parent if database else root) / "mlartifacts"
    return _serve(uri, artifacts, options.port, link)


def _require_free(port: int) -> None:
    if not 0 < port < 65536:
        raise ValueError(f"--port: found {port}, expected 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ValueError(
                f"--port: found {port} on {HOST} in use, expected a free one ({error.strerror})"
            ) from error


def _serve(uri: str, artifacts: Path, port: int, link: str) -> int:
    """Run MLflow's server until it ends or is interrupted; print the link as soon as it answers."""
    from ecdm.address import unreachable

    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--registry-store-uri", uri]
    command += ["--default-artifact-root", artifacts.as_uri(), "--uvicorn-opts", "--log-level warning"]
    # Job runners serve language-model features and would cost processes of their own.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # A session of its own, so that the server's workers can be ended with it.
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        deadline = time.monotonic() + START_SECONDS
        while unreachable(f"http://{HOST}:{port}"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise ValueError(f"the MLflow server on port {port} did not start; see its messages above")
            time.sleep(0.2)
        print(f"MLflow: {link}  (Ctrl-C ends it)", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    raise SystemExit(main())
