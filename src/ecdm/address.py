"""Where the MLflow store is, and whether it answers; found out without importing MLflow."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SQLITE = "sqlite:///"
EXPERIMENTS = (".dvc", "tmp", "exps")
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def project_of(root: Path) -> Path:
    """The project that `root` belongs to: of a temporary experiment of DVC the one that started it."""
    root = root.resolve()
    for folder in root.parents:
        if folder.parts[-3:] == EXPERIMENTS:
            return folder.parents[2]
    return root


def store_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, else SQLite's mlflow.db in the project; always absolute.

    Relative paths count from the project, so that every stage of every experiment means the same store.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{SQLITE}mlflow.db"
    if given.startswith(SQLITE):
        path, mark, options = given.removeprefix(SQLITE).partition("?")
        return f"{SQLITE}{project_of(root) / path}{mark}{options}"
    if "://" in given or given.startswith("file:"):
        return given.rstrip("/")
    return (project_of(root) / given).as_uri()


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for every other address."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def shown(uri: str) -> str:
    """An address without its user and password."""
    parts = urlsplit(uri)
    if not parts.netloc:
        # Of a file's address `urlunsplit` would drop slashes.
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def unreachable(uri: str, seconds: float = 2.0) -> str | None:
    """Why a server does not answer within `seconds` for connecting and as many for replying; None if it does.

    A file or SQLite address has no server and gives None. MLflow itself would try for minutes.
    """
    parts = urlsplit(uri)
    if not parts.hostname:
        return None
    scheme = parts.scheme.partition("+")[0]
    try:
        if scheme not in ("http", "https"):
            socket.create_connection((parts.hostname, parts.port or PORTS.get(scheme, 0)), seconds).close()
            return None
        request = urllib.request.Request(f"{shown(uri)}/health")
        urllib.request.urlopen(request, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        # A refusal (401, 403) is an answer too; what needs a password gets it from MLflow.
        return f"HTTP status {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return f"no answer within {seconds:g} s ({getattr(error, 'reason', None) or error})"
    return None
