"""Run the whole pipeline in its smallest useful form on a copy of the working tree, and keep its reports.

$ECDM_SMOKE_CACHE names a DVC cache that outlives the copy, so that a later run does only what changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from warm_python import WarmPython
from working_copy import ROOT, copy_tree, run

KEPT = ("reports", "runs", "dvc.lock", "params.yaml")


def main() -> int:
    """Exit code of the first command that fails, else 0; reports land in build/smoke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "smoke")
    arguments = parser.parse_args()
    # Half of a cold run are imports, of the same libraries by three stages in four.
    with tempfile.TemporaryDirectory(prefix="ecdm-smoke-") as folder, WarmPython(Path(folder) / "python") as warm:
        copy = copy_tree(Path(folder) / "copy")
        cache = os.environ.get("ECDM_SMOKE_CACHE")
        for command in (
            *([("dvc", "cache", "dir", "--local", str(Path(cache).absolute()))] if cache else []),
            ("ecdm", "profile", arguments.profile),
            ("dvc", "repro"),
            ("ecdm", "sync"),
            ("ecdm", "timing"),
        ):
            code = run(copy, *command, python=warm.folder).returncode
            if code:
                return code
        shutil.rmtree(arguments.out, ignore_errors=True)
        arguments.out.mkdir(parents=True)
        for name in KEPT:
            shutil.move(copy / name, arguments.out / name)
    print(f"reports: {arguments.out / 'reports'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
