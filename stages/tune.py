"""Search over hyperparameters in this process; other workers may join the study meanwhile."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecdm.stage import run
from ecdm.tuning.session import run_search

FORMS = ("short", "full")


def main(form: str) -> None:
    """data/<source>, build/{masks,edges,foundation,latents} → build/search/<form>: tables, figures, best.yaml."""
    ended = run_search(Path.cwd(), form == "short", Path("build/search") / form, lambda line: print(line, flush=True))
    if ended:
        raise ValueError(f"ended before the search was done: {ended}; the next start goes on with it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=FORMS)
    arguments = parser.parse_args()
    run(f"tune@{arguments.form}", lambda: main(arguments.form))
