"""Where the MLflow store is, and whether it answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ecdm.address import shown, sqlite_file, store_uri, unreachable


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "sqlite:///{root}/mlflow.db"),
        (" ", "sqlite:///{root}/mlflow.db"),
        ("sqlite:///other/a.db?timeout=9", "sqlite:///{root}/other/a.db?timeout=9"),
        ("sqlite:////srv/a.db", "sqlite:////srv/a.db"),
        ("mlruns", "file://{root}/mlruns"),
        ("http://host:5000/", "http://host:5000"),
        ("postgresql+psycopg://u:p@host/db", "postgresql+psycopg://u:p@host/db"),
    ],
)
@pytest.mark.parametrize("inside", ["", ".dvc/tmp/exps/standalone/tmpabc", ".dvc/tmp/exps/tmpabc"])
def test_addresses_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str, inside: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if given is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert store_uri(tmp_path / inside) == expected.format(root=tmp_path)


def test_parts_of_an_address() -> None:
    assert sqlite_file("sqlite:////a/b.db?x=1") == Path("/a/b.db")
    assert sqlite_file("http://host") is None
    assert shown("http://me:secret@host:1/x") == "http://host:1/x"


@contextmanager
def _answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "problem"), [(200, None), (401, None), (503, "HTTP status 503")])
def test_a_server_that_answers(status: int, problem: str | None) -> None:
    with _answering(status) as port:
        assert unreachable(f"http://me:secret@127.0.0.1:{port}", 60) == problem
        assert unreachable(f"postgresql://127.0.0.1:{port}/db", 60) is None


def test_a_server_that_hangs_or_is_not_there() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert "refused" in str(unreachable(f"http://127.0.0.1:{port}", 60))
        assert "refused" in str(unreachable(f"postgresql://127.0.0.1:{port}/db", 60))
        silent.listen()
        assert str(unreachable(f"http://127.0.0.1:{port}", 0.05)).startswith("no answer within 0.05 s")


def test_files_need_no_server() -> None:
    assert unreachable("sqlite:////nowhere/a.db") is None
    assert unreachable("file:///nowhere") is None
