"""How the parser of a subcommand is made."""

from __future__ import annotations

import argparse
from typing import Any


def add_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    """Add a subcommand, which the list of commands and its own help describe by the same `text`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser
