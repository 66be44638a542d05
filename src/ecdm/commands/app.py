"""`ecdm app`: a page on this machine that inpaints with trained variants side by side."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecdm.commands.device import add_device, find_device
from ecdm.commands.parsers import add_command
from ecdm.commands.ports import HOST, require_free

if TYPE_CHECKING:
    from ecdm.serving.app import Example

EXAMPLES = 5
# Read by the libraries when they are imported: no usage reports, no look-ups.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def register(commands: Any) -> None:
    """Add the subcommand to the parser's."""
    parser = add_command(commands, "app", "open a page that inpaints painted pictures, variants side by side")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="an exported folder, build/train/<run>, or models:/NAME@ALIAS of MLflow's registry; may be repeated "
        "(default: all runs in build/train)",
    )
    parser.add_argument("--port", type=int, default=7860, help="on this machine (default: 7860)")
    add_device(parser)
    parser.set_defaults(command=app)


def app(options: argparse.Namespace) -> int:
    """Serve the page on the loopback address until interrupted; returns the exit code."""
    require_free(options.port)
    os.environ.update(QUIET)
    root = _project(options.model)
    models, device = _models(options.model, root), find_device(options.device)
    try:
        from ecdm.serving.app import CSS, build_app, theme
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("the page needs the package gradio: python -m pip install -e '.[app]'") from error
    with tempfile.TemporaryDirectory(prefix="ecdm-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_app(models, _examples(root), device)
        page.queue(max_size=16).launch(
            server_name=HOST, server_port=options.port, share=False, quiet=True, prevent_thread_lock=True,
            show_error=True, footer_links=[], max_file_size="100mb", ssr_mode=False, pwa=False, mcp_server=False,
            enable_monitoring=False, run_history=False, theme=theme(), css=CSS,
        )  # fmt: skip
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(f"Inpainting: http://{HOST}:{options.port}  (Ctrl-C ends it)", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)
    return 0


def _project(named: list[str]) -> Path:
    """The project that runs and examples come from; models that are named need none of it."""
    from ecdm.root import find_root

    try:
        return find_root()
    except FileNotFoundError:
        if named:
            return Path.cwd()
        raise


def _models(named: list[str], root: Path) -> dict[str, Path]:
    """Name on the page → folder; models whose folders are called the same have the whole path for a name."""
    if named:
        from ecdm.serving.download import SCHEME, model_folder
        from ecdm.serving.export import find_weights

        folders = [model_folder(given) for given in named]
        for folder in folders:
            find_weights(folder)
        places = [folder.resolve() for folder in folders]
        if len(set(places)) < len(places):
            raise ValueError("--model: found one model twice, expected models that differ")
        short = [
            given.removeprefix(f"{SCHEME}/") if given.startswith(SCHEME) else place.name
            for given, place in zip(named, places, strict=True)
        ]
        counts = Counter(short)
        titles = [name if counts[name] == 1 else given for name, given in zip(short, named, strict=True)]
        return dict(zip(titles, folders, strict=True))
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


def _examples(root: Path) -> list[Example]:
    """A few held-out pictures of the project, where it has them."""
    from ecdm.data.coco import captions_file, load_image, read_split
    from ecdm.serving.app import Example

    found = []
    # The photographs first.
    for folder in sorted((root / "data").glob("*"), key=lambda path: (path.name != "photos", path.name)):
        if captions_file(folder, "test").is_file():
            rows = read_split(folder, "test")[:EXAMPLES]
            found += [Example(load_image(folder / "test" / row.file_name), row.captions[0]) for row in rows]
    return found
