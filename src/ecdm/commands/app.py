"""`ecdm app`: a page on this machine that inpaints with trained variants side by side."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecdm.serving.app import Example

HOST = "127.0.0.1"
EXAMPLES = {"photos": 5, "scenes": 5}
# Read by the libraries when they are imported: no usage reports, no look-ups.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def register(commands: Any) -> None:
    """Add the subcommand to the parser's."""
    parser = commands.add_parser("app", help="open a page that inpaints painted pictures, variants side by side")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="an exported folder, build/train/<run>, or models:/NAME@alias; may be repeated "
        "(default: all runs in build/train)",
    )
    parser.add_argument("--port", type=int, default=7860, help="on this machine (default: 7860)")
    parser.set_defaults(command=app)


def app(options: argparse.Namespace) -> int:
    """Serve the page on the loopback address until interrupted; returns the exit code."""
    if not 0 < options.port < 65536:
        raise ValueError(f"--port: found {options.port}, expected 1 to 65535")
    os.environ.update(QUIET)
    root = _project(options.model)
    models = _models(options.model, root)
    try:
        from ecdm.serving.app import CSS, build_app, theme
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("the page needs the package gradio: python -m pip install -e '.[app]'") from error
    with tempfile.TemporaryDirectory(prefix="ecdm-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_app(models, _examples(root), _settings(root))
        try:
            page.queue(max_size=16).launch(
                server_name=HOST, server_port=options.port, share=False, quiet=True, prevent_thread_lock=True,
                show_error=True, footer_links=[], max_file_size="100mb", ssr_mode=False, pwa=False, mcp_server=False,
                enable_monitoring=False, run_history=False, theme=theme(), css=CSS,
            )  # fmt: skip
        except OSError as error:
            raise ValueError(f"--port: found {options.port} on {HOST} in use, expected a free one") from error
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(f"Inpainting: http://{HOST}:{options.port}  (Ctrl-C ends it)", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)
    return 0


def _project(names: list[str]) -> Path:
    """The project that runs, examples and settings come from; models that are named need none of it."""
    from ecdm.root import find_root

    try:
        return find_root()
    except FileNotFoundError:
        if names:
            return Path.cwd()
        raise


def _models(names: list[str], root: Path) -> dict[str, Path]:
    """Name on the page → folder."""
    from ecdm.commands.inpaint import model_folder

    if names:
        folders = {_label(name): model_folder(name) for name in names}
        if len(folders) < len(names):
            raise ValueError("--model: found two models of one name, expected names that differ")
        return folders
    folder = root / "build" / "train"
    runs = [path.parents[1] for path in folder.glob("*/weights/branch.json")]
    if not runs:
        raise FileNotFoundError(f"{folder}: found no trained run; run `make repro` first, or give --model")
    return {run.name: run for run in sorted(runs, key=_rank)}


def _rank(run: Path) -> tuple[int, str]:
    """Runs stand in the order of the ablation's rows."""
    from ecdm.models.variants import VARIANTS

    order, variant = list(VARIANTS), run.name.rpartition("-")[0]
    return order.index(variant) if variant in order else len(order), run.name


def _label(name: str) -> str:
    from ecdm.commands.inpaint import REGISTRY

    return name.removeprefix(REGISTRY) if name.startswith(REGISTRY) else Path(name).resolve().name


def _examples(root: Path) -> list[Example]:
    """A few held-out pictures of the project, where it has them."""
    from ecdm.data.coco import captions_file, load_image, read_split
    from ecdm.serving.app import Example

    found = []
    for name, count in EXAMPLES.items():
        folder = root / "data" / name
        if captions_file(folder, "test").is_file():
            rows = read_split(folder, "test")[:count]
            found += [Example(load_image(folder / "test" / row.file_name), row.captions[0]) for row in rows]
    return found


def _settings(root: Path) -> Any:
    from ecdm.config import load_params
    from ecdm.serving.export import PARAMS
    from ecdm.serving.pipeline import DEFAULT

    return load_params(root / PARAMS).generate if (root / PARAMS).is_file() else DEFAULT
