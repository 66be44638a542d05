"""A model hub on this machine's loopback, of folders, as far as downloads of a commit need one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest


class _Hub(BaseHTTPRequestHandler):
    def __init__(self, folders: Mapping[str, Path], revision: str, asked: set[str], *arguments: Any) -> None:
        self.folders, self.revision, self.asked = folders, revision, asked
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        for name, folder in self.folders.items():
            if path.rstrip("/") == f"/api/models/{name}/tree/{self.revision}":
                self._answer(json.dumps(self._listing(folder)).encode(), "application/json")
                return
            if path == f"/api/models/{name}/revision/{self.revision}":
                listed = [{"rfilename": entry["path"]} for entry in self._listing(folder)]
                answer = {"id": name, "modelId": name, "sha": self.revision, "siblings": listed}
                self._answer(json.dumps(answer).encode(), "application/json")
                return
            start = f"/{name}/resolve/{self.revision}/"
            if path.startswith(start):
                file = path.removeprefix(start)
                if self.command == "GET":
                    self.asked.add(f"{name.partition('/')[2]}/{file}")
                self._answer((folder / file).read_bytes(), "application/octet-stream")
                return
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _listing(self, folder: Path) -> list[dict[str, Any]]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [
            {
                "type": "file",
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.revision)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def serve(folders: Mapping[str, Path], revision: str, patch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Serve folders by their ids and send the hub's library there; gives the files fetched, as `name/path`."""
    asked: set[str] = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, folders, revision, asked))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
    ending = template.removeprefix(huggingface_hub.constants.ENDPOINT)
    patch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + ending)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
