"""A study of a few tiny pictures, its server as a real process, and a participant that speaks HTTP."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ecdm.data.coco import CaptionedImage, write_split
from ecdm.data.files import png_name
from ecdm.study.page import build_study
from ecdm.study.plan import Plan, Settings, make_settings
from ecdm.study.votes import BUSY_SECONDS

METHODS = ("baseline", "sail", "acda", "ours")
SIDE, IMAGES = 16, 8
SCRIPT = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script> </legend> & a \"cat\""
SERVE = """
import sys
from pathlib import Path
from ecdm.study import server, votes
votes.BUSY_SECONDS = float(sys.argv[3])
server.serve(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]))
"""


def make_project(root: Path) -> Path:
    """Data, masks and outputs of four methods under `root`, the outputs' files full of names that must not leak."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(1, IMAGES + 1):
        save(root / "data/scenes/test" / png_name(number), rng.integers(0, 255, (SIDE, SIDE, 3)), "truth")
        hole = np.zeros((SIDE, SIDE), dtype=np.uint8)
        hole[4:12, 4:12] = 255
        save(root / "build/masks/scenes/50-60" / png_name(number), hole, "mask")
        for method in METHODS:
            folder = root / f"build/generate/{method}-0/scenes/50-60/pasted"
            save(folder / png_name(number), rng.integers(0, 255, (SIDE, SIDE, 3)), method)
        images.append(CaptionedImage(number, png_name(number), (f"caption {number} {SCRIPT}", "another")))
    write_split(root / "data/scenes", "test", images)
    return root


def save(path: Path, pixels: Any, method: str) -> None:
    """A PNG with its method's name in a text chunk and in EXIF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info, exif = PngInfo(), Image.Exif()
    info.add_text("Software", f"method {method}")
    exif[0x010E] = f"made by {method}"
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, pnginfo=info, exif=exif)


def settings(**changes: Any) -> Settings:
    """The settings of a small study of the project's pictures."""
    known = {"methods": METHODS, "count": 6, "dataset": "scenes", "bucket": "50-60", "training_seed": 0, "seed": 7}
    return make_settings(**{**known, **changes})


def build(root: Path, **changes: Any) -> tuple[Path, Plan]:
    """A project with a study in `root`/study."""
    make_project(root)
    return root / "study", rebuild(root, **changes)


def rebuild(root: Path, folder: str = "study", **changes: Any) -> Plan:
    """A study of the project at `root`, in one of its folders."""
    return build_study(settings(**changes), root / "data", root / "build", root / folder)


class Server:
    """The server of a study as a process of its own; `busy`: seconds that it waits for a locked database."""

    def __init__(self, folder: Path, port: int = 0, busy: float = BUSY_SECONDS) -> None:
        command = [sys.executable, "-c", SERVE, str(folder), str(port), str(busy)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert match, f"the server did not start: {line!r}"
        self.url, self.port = match[0], int(match[1])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal and wait."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def serving(folder: Path, port: int = 0, busy: float = BUSY_SECONDS) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(folder, port, busy)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


class Answer:
    """A response: status, headers, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One HTTP request; the path goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Participant:
    """A browser's part of the protocol: a cookie, votes."""

    def __init__(self, port: int, cookie: str | None = None) -> None:
        self.port = port
        self.cookie = cookie or ask(port, "GET", "/").headers["Set-Cookie"].split(";")[0]

    def get(self, path: str) -> Answer:
        """GET with the cookie."""
        return ask(self.port, "GET", path, headers={"Cookie": self.cookie})

    def post(self, content: Any, **headers: str) -> Answer:
        """POST to /votes; bytes go out as they are, anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        known = {"Cookie": self.cookie, "Content-Type": "application/json"}
        return ask(self.port, "POST", "/votes", body, {**known, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def vote(self, question: str, option: str) -> Answer:
        """Choose an option."""
        return self.post({"question": question, "option": option})

    def votes(self) -> dict[str, str]:
        """What the server has of this participant."""
        found: dict[str, str] = self.get("/votes").json()["votes"]
        return found
