"""Where studies are kept, by address: SQLite, a journal file, PostgreSQL, or a gRPC proxy in front of one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from optuna import Study
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from ecdm.address import SQLITE, project_of, sqlite_file, unreachable
from ecdm.search.settings import Tune

# The address may hold a password: a runner gets it as a secret, not from params.yaml.
VARIABLE = "ECDM_TUNE_STORAGE"
JOURNAL, GRPC, POSTGRESQL = "journal:///", "grpc", "postgresql://"
# Seconds that a writer waits for others on SQLite.
PATIENCE = 60
KINDS = "sqlite:///FILE, journal:///FILE, postgresql://HOST/DATABASE or grpc://HOST:PORT"

# Up to the last @, for passwords may hold one; an address that was cut short has lost it.
LOGIN = re.compile(r"(?<=://)(?:[^\s'\"]*@|[^/\s'\"]*\.\.\.$)")
PASSWORD = re.compile(r"(password=)[^&;\s'\"]+", re.IGNORECASE)

Stale = Callable[[Study, FrozenTrial], object]


def hidden(text: str) -> str:
    """The text, its addresses without user and password."""
    return PASSWORD.sub(r"\1…", LOGIN.sub("", text))


def storage_uri(tune: Tune, root: Path) -> str:
    """$ECDM_TUNE_STORAGE, else `tune.storage`; relative files count from the project."""
    given = os.environ.get(VARIABLE, "").strip() or tune.storage
    if given.startswith(POSTGRESQL):
        # Without it SQLAlchemy takes a driver by its own default, which changed from one version to the next.
        return f"postgresql+psycopg2://{given.removeprefix(POSTGRESQL)}"
    for scheme in (SQLITE, JOURNAL):
        if given.startswith(scheme):
            return f"{scheme}{project_of(root) / given.removeprefix(scheme)}"
    return given


def open_storage(tune: Tune, root: Path, stale: Stale | None = None) -> BaseStorage:
    """The storage that `storage_uri` names; `stale` is told of each trial whose worker's heartbeat stopped.

    Raises: ValueError without the address's password, for a scheme that is not known and a storage that does not
    answer.
    """
    uri = storage_uri(tune, root)
    where = hidden(uri)
    try:
        if uri.startswith(JOURNAL):
            path = Path(uri.removeprefix(JOURNAL))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        if not _readable(uri):
            raise ValueError(f"found no address, expected {KINDS}, with # / and @ in passwords as %23 %2F and %40")
        proxy = _proxy_of(uri)
        if problem := unreachable(uri):
            raise ValueError(problem)
        return _proxy(*proxy) if proxy else _database(uri, tune, stale)
    except Exception as error:
        raise ValueError(f"search storage {where}: {_said(error, uri, where)}") from error


def _readable(uri: str) -> bool:
    """Whether it has parts; the error of one that has not would show pieces of the password."""
    try:
        _ = urlsplit(uri).port
    except ValueError:
        return False
    return True


def _proxy_of(uri: str) -> tuple[str, int] | None:
    """Host and port of a gRPC proxy's address; None for every other one."""
    parts = urlsplit(uri)
    if parts.scheme != GRPC:
        return None
    if not parts.hostname or not parts.port:
        raise ValueError("found no port, expected grpc://HOST:PORT")
    return parts.hostname, parts.port


def _proxy(host: str, port: int) -> BaseStorage:
    proxy = GrpcStorageProxy(host=host, port=port)
    proxy.wait_server_ready(timeout=30)
    return proxy


def _database(uri: str, tune: Tune, stale: Stale | None) -> BaseStorage:
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "mysql"):
        raise ValueError(f"found scheme {scheme!r}, expected {KINDS}")

    def told(study: Study, trial: FrozenTrial) -> None:
        if stale is not None:
            stale(study, trial)

    options: dict[str, object] = {"pool_pre_ping": True}
    if file := sqlite_file(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": PATIENCE}}
    return RDBStorage(
        uri,
        engine_kwargs=options,
        heartbeat_interval=tune.heartbeat,
        grace_period=tune.grace,
        heartbeat_stale_trial_callback=told if stale else None,
    )


def _said(error: Exception, uri: str, where: str) -> str:
    """The error without the address's password; a missing driver tells what to install."""
    if isinstance(error, ModuleNotFoundError | ImportError):
        return f"found no driver for it, expected the extra `server` (pip install -e '.[server]'): {error}"
    return hidden(str(error).replace(uri, where))
