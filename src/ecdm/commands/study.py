"""`ecdm study`: build the blinded page, collect votes, report."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ecdm.commands.parsers import add_command

FOLDER, REPORT, HOST, PORT = Path("study"), Path("reports/study"), "127.0.0.1", 8600
# 12 answers each: what the paper's 348 answers of 29 participants come to.
QUESTIONS = 12


def register(commands: Any) -> None:
    """Add `study build|serve|report` to the parsers of `commands`."""
    study = add_command(commands, "study", "ask people which inpainting they prefer (Figure 7)")
    actions = study.add_subparsers(required=True, metavar="ACTION")

    build = add_command(actions, "build", "make the blinded page from generated images")
    build.add_argument("--out", type=Path, default=FOLDER, help="new folder of the study (default: study)")
    build.add_argument("--questions", type=int, default=QUESTIONS, help="in all, even (default: 12)")
    build.add_argument("--mode", choices=("choice", "pairwise"), default="choice", help="all at once, or two at a time")
    build.add_argument(
        "--methods", nargs="+", help="variants, published methods (default: the variants of params.yaml)"
    )
    build.add_argument("--dataset", help="whose test images are shown (default: data.source of params.yaml)")
    build.add_argument("--bucket", default="50-60", help="hole share in percent (default: 50-60)")
    build.add_argument("--training-seed", type=int, help="of the outputs (default: the first of params.yaml)")
    build.add_argument("--seed", type=int, help="of the plan, secret (default: a random one, kept in plan.json)")
    build.set_defaults(command=_build)

    serve = add_command(actions, "serve", "show the page and collect votes")
    serve.add_argument("study", type=Path, nargs="?", default=FOLDER, help="folder of the study (default: study)")
    serve.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST}, this machine alone)")
    serve.add_argument("--port", type=int, default=PORT, help=f"0 for any free one (default: {PORT})")
    serve.add_argument("--allow-host", nargs="+", default=[], metavar="NAME", help="host names in participants' links")
    serve.set_defaults(command=_serve)

    report = add_command(actions, "report", "count the votes, draw Figure 7, log both to MLflow")
    report.add_argument("study", type=Path, nargs="?", default=FOLDER, help="folder of the study (default: study)")
    report.add_argument("--out", type=Path, default=REPORT, help=f"(default: {REPORT})")
    report.set_defaults(command=_report)


def _build(options: argparse.Namespace) -> int:
    from ecdm.config import load_params
    from ecdm.root import PARAMS, find_root
    from ecdm.study.page import build_study
    from ecdm.study.plan import make_settings

    root = find_root()
    params = load_params(root / PARAMS)
    settings = make_settings(
        mode=options.mode,
        methods=tuple(options.methods or params.variants),
        count=options.questions,
        dataset=options.dataset or params.data.source,
        bucket=options.bucket,
        training_seed=params.seeds[0] if options.training_seed is None else options.training_seed,
        seed=secrets.randbits(128) if options.seed is None else options.seed,
    )
    plan = build_study(settings, root / "data", root / "build", options.out)
    print(f"{options.out}: {len(plan.questions)} questions on {', '.join(settings.methods)}")
    print(f"Keep {options.out}/plan.json from participants; next: ecdm study serve {options.out}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from ecdm.study.server import serve

    # The server stops in good order at either signal, then raises it again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        serve(options.study, options.host, options.port, options.allow_host)
    return 0


def _report(options: argparse.Namespace) -> int:
    from ecdm.study.report import TABLES, report_study

    report = report_study(options.study, options.out)
    found = report.found
    print(f"{options.out / TABLES}: {found.votes} answers of {found.participants} participants")
    try:
        _track(report)
    except (ValueError, FileNotFoundError) as error:
        print(f"The report is not in MLflow: {' '.join(str(error).split())}", file=sys.stderr)
    return 0


def _track(report: Any) -> None:
    from ecdm.root import find_root
    from ecdm.study.report import track
    from ecdm.tracking import Store

    key = f"study-{report.plan.digest}"
    tracker = Store.connect(find_root()).run(key, "user study", {}, {}, strict=True)
    track(tracker, report)
    tracker.close()
