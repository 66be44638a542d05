"""Servers on this machine for as long as a test needs them: MLflow's, a PostgreSQL of its own, and S3 in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecdm.address import unreachable

# Where Debian keeps the programs of PostgreSQL, one folder per version.
DEBIAN = Path("/usr/lib/postgresql")
ADMIN = "postgres"


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], port: int, log: Path, variables: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A web server on a port of this machine, once it answers; with all its processes gone at the end."""
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **quiet, **(variables or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            while unreachable(f"http://127.0.0.1:{port}", 60):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a server with all its processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def s3_server(log: Path, bucket: str) -> Iterator[str]:
    """The address of an S3 server on this machine that has one empty bucket and keeps everything in memory."""
    port = free_port()
    with serving([str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)], port, log):
        address = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{address}/{bucket}", method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            yield address


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """An empty PostgreSQL on loopback with passwords; yields the variables that its client programs read."""
    folder, port = Path(tempfile.mkdtemp(prefix="ecdm-postgresql-")), free_port()
    data, secret = folder / "data", folder / "password"
    secret.write_text("admins-secret")
    try:
        if os.geteuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, ADMIN)
        _as_user(program("initdb"), "-D", str(data), "-U", ADMIN, "-A", "scram-sha-256", "--pwfile", str(secret), "-N")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        _as_user(program("pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start")
        yield {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": ADMIN, "PGPASSWORD": "admins-secret"}
    finally:
        if (data / "postmaster.pid").exists():
            _as_user(program("pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def program(name: str) -> str:
    """The path of a program of PostgreSQL; the test fails where there is none."""
    versions = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = shutil.which(name) or (str(versions[-1]) if versions else None)
    if found is None:
        pytest.fail(f"{name}: not found in PATH or below {DEBIAN}; install PostgreSQL (Debian: package postgresql)")
    return found


def _as_user(*command: str) -> None:
    """Run a command that refuses root as the system's user of PostgreSQL."""
    who = ["runuser", "-u", ADMIN, "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*who, *command], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
