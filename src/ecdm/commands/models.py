"""`ecdm register` and `ecdm promote`: trained variants in MLflow's model registry, and which of them is in use."""

from __future__ import annotations

import argparse
from typing import Any

from ecdm.commands.parsers import add_command


def register(commands: Any) -> None:
    """Add `register` and `promote` to the parsers of `commands`."""
    add = add_command(commands, "register", "put the trained variants into MLflow's model registry")
    add.add_argument("variants", nargs="*", metavar="VARIANT", help="(default: all of the last reproduction)")
    add.set_defaults(command=_register)

    move = add_command(commands, "promote", "make the challenger champion, if it is better on the same images")
    move.add_argument("--metric", default="psnr", help="of the score files (default: psnr)")
    move.add_argument("--bucket", default="50-60", help="hole share in percent (default: 50-60)")
    move.add_argument("--dataset", help="whose test images count (default: data.source of params.yaml)")
    move.add_argument("--raw", action="store_true", help="compare outputs before the known pixels are put back")
    move.set_defaults(command=_promote)


def _register(options: argparse.Namespace) -> int:
    from ecdm.mirror.state import reproduction
    from ecdm.root import find_root
    from ecdm.serving.registry import register
    from ecdm.serving.versions import NAME

    root = find_root()
    state = reproduction(root)
    moved = {*state.stale, *state.changed}
    entries = {stage: entry for stage, entry in state.entries.items() if stage not in moved}
    found = register(root, entries, options.variants)
    width = max(map(len, found.versions))
    print(f"{NAME}:")
    for run, (version, new) in found.versions.items():
        held = sorted(alias for alias, number in found.aliases.items() if number == version)
        print("  ".join([f"  version {version}", f"{run:{width}}", "new  " if new else "known", *held]).rstrip())
    for alias, version in sorted(found.aliases.items()):
        if version not in [number for number, _ in found.versions.values()]:
            print(f"{alias} is version {version}")
    for line in found.skipped:
        print(f"not registered: {line}")
    return 0


def _promote(options: argparse.Namespace) -> int:
    from ecdm.config import load_params
    from ecdm.root import PARAMS, find_root
    from ecdm.serving.comparison import Measure
    from ecdm.serving.registry import promote

    root = find_root()
    params = load_params(root / PARAMS)
    dataset = options.dataset or params.data.source
    measure = Measure(dataset, options.metric, options.bucket, "raw" if options.raw else "pasted")
    decision = promote(root, measure)
    found, level = decision.found, params.evaluate.level
    gap, width = found.difference, max(len(decision.champion), len(decision.challenger))
    rows = [
        ("champion", decision.champion, f"{found.champion:9.5f}"),
        ("challenger", decision.challenger, f"{found.challenger:9.5f}"),
        ("difference", "", f"{gap.mean:+9.5f}"),
        (f"{level:.0%} interval", "", f"{gap.low:+9.5f} to {gap.high:+.5f} ({gap.n} images)"),
    ]
    print(measure)
    for title, version, numbers in rows:
        print(f"  {title:12}  {version:{width}}  {numbers}")
    print(f"{'promoted' if found.wins else 'refused'}: {found.reason}")
    return 0 if found.wins else 1
