"""The `ecdm` command."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from ecdm.commands import app, inpaint, models, report, settings, study, tracking, tune


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done. 1: `profile --check` found a difference, `promote` a challenger that is not better. 2: bad input or a file
    that cannot be read or written, told in one line. 130: interrupted.
    """
    options = _parser().parse_args(argv)
    try:
        return int(options.command(options))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(_text(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _text(error: ValueError | OSError) -> str:
    if not isinstance(error, OSError) or not error.filename:
        return str(error)
    return f"{error.filename}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecdm",
        description="Text-guided image inpainting: settings, tracking and timing of the pipeline, and its models.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('ecdm')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (settings, tracking, report, tune, models, inpaint, app, study):
        module.register(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
