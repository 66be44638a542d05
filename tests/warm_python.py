"""Stages' processes forked from one that has the slow libraries imported already: a reproduction starts dozens.

`WarmPython` gives a folder whose `python` goes first on the PATH. It hands stages that need these libraries to the
process, with its arguments, environment, folder and standard streams, and becomes the true interpreter for all else.
The project's own code is imported anew by every stage. One process has one seed of Python's hashes, so that
reproductions that are compared take one each.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

SLOW = (
    "torch.utils.flop_counter",
    "torchvision.transforms.functional",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "transformers.models.clip.image_processing_clip",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.controlnets.controlnet",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers.scheduling_dpmsolver_multistep",
    "torchmetrics.image",
    "skimage.metrics",
    "lpips",
    "mlflow",
)
STAGES = (
    "audit", "compare", "compare_own", "compare_scores", "cost", "evaluate", "foundation", "gates", "generate",
    "latents", "network_audit", "networks", "reference", "train", "tune",
)  # fmt: skip
# It has to start within milliseconds: no site packages, and the standard library's smaller modules.
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
if sys.argv[1:2] and sys.argv[1] in {scripts!r}:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(request)
    # Nothing, where the stage's process was killed with the one that waits for it.
    sys.exit((connection.recv(1) or b"\\1")[0])
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


class Request(NamedTuple):
    """A stage's command line behind `python`, working directory, environment."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


class WarmPython:
    """A context in which `folder` holds such a `python`; the process behind it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> WarmPython:
        self.folder.mkdir()
        address = str(self.folder / "socket")
        scripts = tuple(f"stages/{name}.py" for name in STAGES)
        client = self.folder / "python"
        client.write_text(CLIENT.format(python=sys.executable, scripts=scripts, address=address), encoding="utf-8")
        client.chmod(0o755)
        self.process = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE, env=_plain())
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()


def _plain() -> dict[str, str]:
    """The environment without what would lead to the project's code; libraries read some of it when imported."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": ""}


def serve(address: str) -> Request:
    """Answer until the end; returns in the process that is to run a stage."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"ready\n")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> Request:
    """Wait for the stage and send its exit code; returns in the stage's process."""
    size, streams, *_ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as file:
        request = Request(*json.loads(file.read(int.from_bytes(size, "big"))))
    stage = os.fork()
    if stage == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        connection.close()
        return request
    code = os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1])
    connection.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def become(request: Request) -> None:
    """Run the stage as an interpreter of its own would."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv, sys.orig_argv = list(request.arguments), ["python", *request.arguments]
    script = Path(request.folder, request.arguments[0])
    package = request.environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [str(script.parent), *filter(None, package), *sys.path[1:]]
    with suppress(ModuleNotFoundError):
        import_module("sitecustomize")
    runpy.run_path(request.arguments[0], run_name="__main__")


if __name__ == "__main__":
    for name in SLOW:
        import_module(name)
    # What is shared with the stages stays shared: their searches for garbage leave it alone.
    gc.freeze()
    become(serve(sys.argv[1]))
