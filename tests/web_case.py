"""A web server of this machine with files that may break off, fail or be asked for in parts, as real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """Files by path and how they are served; `asked` lists each request's path and range.

    `cuts`: after how many bytes the answers of a path break off, one after the other; `codes`: errors likewise.
    `ranges`: whether parts of files are given. `tag`: the version of the files.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    codes: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    tag: str = '"one"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def _answer(request: BaseHTTPRequestHandler, web: Web) -> None:
    wanted = request.headers.get("Range")
    web.asked.append((request.path, wanted))
    code = web.codes[request.path].pop(0) if web.codes.get(request.path) else None
    body = web.files.get(request.path)
    if code or body is None:
        request.send_error(code or 404)
        return
    start = 0
    if wanted and web.ranges and request.headers.get("If-Range", web.tag) == web.tag:
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start and start >= len(body):
        request.send_error(416)
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    request.send_header("ETag", web.tag)
    request.send_header("Content-Length", str(len(body) - start))
    request.end_headers()
    cut = web.cuts[request.path].pop(0) if web.cuts.get(request.path) else len(body)
    request.wfile.write(body[start : start + cut])
    request.close_connection = True


@contextmanager
def web() -> Iterator[Web]:
    """A server on the loopback address for as long as the block lasts."""
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, state)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
