"""`ecdm inpaint`: fill the hole of one picture, or of all pictures of a manifest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecdm.commands.device import add_device, find_device
from ecdm.commands.parsers import add_command

if TYPE_CHECKING:
    from ecdm.serving.manifest import Task


def register(commands: Any) -> None:
    """Add the subcommand to the parser's."""
    parser = add_command(commands, "inpaint", "fill the hole of a picture, or of a folder's pictures, by a model")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a picture; with --manifest the pictures' folder")
    parser.add_argument("mask", type=Path, metavar="MASK", help="white is hole; with --manifest the masks' folder")
    parser.add_argument("--prompt", help="what to fill in")
    parser.add_argument(
        "--model",
        required=True,
        help="an exported folder, build/train/<run>, or models:/NAME@ALIAS of MLflow's registry",
    )
    parser.add_argument("--out", required=True, type=Path, help="the PNG to write; with --manifest a folder")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal pictures (default: 0)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the model's)")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="JSON Lines: image, mask, prompt, seed")
    add_device(parser)
    parser.set_defaults(command=inpaint)


def inpaint(options: argparse.Namespace) -> int:
    """Run the command on its parsed options; returns the exit code."""
    tasks, folder = _tasks(options), options.out if options.manifest else options.out.parent
    _check_outputs(tasks, folder)
    from tqdm import tqdm

    from ecdm.serving.download import model_folder
    from ecdm.serving.export import open_model
    from ecdm.serving.picture import inpaint_picture, load_hole, load_picture, save_picture

    # Everything that can be at fault is looked at before the first picture is written.
    for task in tasks:
        load_hole(task.mask, load_picture(task.image))
    pipeline = open_model(model_folder(options.model), find_device(options.device))
    pipeline.sampling(options.steps, options.guidance)
    with tqdm(tasks, desc="inpaint", unit="picture", disable=None) as bar:
        for task in bar:
            picture = load_picture(task.image)
            hole = load_hole(task.mask, picture)
            if not hole.any():
                bar.write(f"{task.mask}: the mask is empty: {task.output} is {task.image.name} unchanged")

            def show(done: int, crops: int) -> None:
                bar.set_postfix_str(f"part {done}/{crops}")

            filled = inpaint_picture(
                pipeline, picture, hole, task.prompt, task.seed, options.steps, options.guidance, show
            )
            save_picture(folder / task.output, filled)
    print(f"wrote {len(tasks)} pictures to {folder}" if options.manifest else f"wrote {options.out}")
    return 0


def _tasks(options: argparse.Namespace) -> list[Task]:
    from ecdm.serving.manifest import LARGEST_SEED, Task, read_manifest

    if not 0 <= options.seed <= LARGEST_SEED:
        raise ValueError(f"--seed: found {options.seed}, expected 0 to {LARGEST_SEED}")
    if options.manifest:
        if options.prompt is not None:
            raise ValueError("--prompt: found together with --manifest, whose lines have prompts of their own")
        return read_manifest(options.manifest, options.image, options.mask, options.seed)
    if options.prompt is None:
        raise ValueError("--prompt: missing; it says what to fill in")
    if options.out.suffix.lower() != ".png":
        raise ValueError(f"--out: found {options.out}, expected the name of a PNG file, such as filled.png")
    return [Task(options.image, options.mask, options.prompt, options.seed, options.out.name)]


def _check_outputs(tasks: Sequence[Task], folder: Path) -> None:
    """ValueError where the outputs cannot be written to `folder`, or would replace what is read."""
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise ValueError(f"--out: {above}: found a file, expected a folder")
    inputs = {path.resolve() for task in tasks for path in (task.image, task.mask)}
    for output in (folder / task.output for task in tasks):
        if output.is_dir():
            raise ValueError(f"--out: {output}: found a folder, expected a file or nothing")
        if output.resolve() in inputs:
            raise ValueError(f"--out: {output}: found a picture or mask to read, expected another place")
