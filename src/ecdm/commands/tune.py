"""`ecdm tune`: search for better hyperparameters, alone or with other workers, and accept what was found."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from ecdm.commands.parsers import add_command
from ecdm.commands.settings import write_values
from ecdm.root import PARAMS, find_root

REPORT, SHORT_REPORT = Path("reports/search"), Path("build/search/short")
INTERRUPTED = 130


def register(commands: Any) -> None:
    """Add `tune prepare|worker|run|report|accept|status|remove` to the parsers of `commands`."""
    tune = add_command(commands, "tune", "search over hyperparameters (the section tune of params.yaml)")
    actions = tune.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, text: str, command: Any) -> argparse.ArgumentParser:
        parser = add_command(actions, name, text)
        parser.add_argument("--short", action="store_true", help="the short form, a study of its own (tune.short)")
        parser.set_defaults(command=command)
        return parser

    prepare = add("prepare", "make the study; more trials than before extend it", _prepare)
    prepare.add_argument("--trials", type=_positive, help="in all (default: tune.trials)")
    worker = add("worker", "join the study and work until it is done", _worker)
    run = add("run", "prepare, work, report", _run)
    for parser in (worker, run):
        parser.add_argument("--timeout", type=_minutes, metavar="MINUTES", help="after which it ends")
    report = add("report", "write tables and figures, and what MLflow lacks", _report)
    for parser in (run, report):
        parser.add_argument("--out", type=Path, help=f"(default: {REPORT}, of the short form {SHORT_REPORT})")
    accept = add("accept", f"write the best values into {PARAMS}", _accept)
    accept.add_argument("--from", dest="source", type=Path, help=f"(default: {REPORT}, or {SHORT_REPORT})")
    accept.add_argument("--dry-run", action="store_true", help="write nothing; show what would change")
    add("status", "how far the search is", _status)
    remove = add("remove", "delete the study; reports and MLflow keep what they have", _remove)
    remove.add_argument("--yes", action="store_true", help="also where trials are done already")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected 1 or more")
    return value


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}, expected minutes above 0")
    return value


def _say(line: str) -> None:
    print(line, flush=True)


def _folder(options: argparse.Namespace, given: Path | None) -> Path:
    return given or find_root() / (SHORT_REPORT if options.short else REPORT)


def _prepare(options: argparse.Namespace) -> int:
    from ecdm.tuning.session import Session

    session = Session.open(find_root(), options.short)
    studies = session.prepare(options.trials)
    count = studies.search.user_attrs["slots"]
    seeds = f" and {session.tune.noise} seeds of the paper's values" if session.tune.noise else ""
    print(f"study {session.tune.study}: {count} trials{seeds}, in {session.where}")
    return 0


def _worker(options: argparse.Namespace) -> int:
    from ecdm.tuning.session import Session

    return _ended(Session.open(find_root(), options.short).work(_say, options.timeout))


def _run(options: argparse.Namespace) -> int:
    from ecdm.tuning.session import run_search

    folder = _folder(options, options.out)
    ended = run_search(find_root(), options.short, folder, _say, options.timeout)
    _say(f"report: {folder}/summary.md")
    return _ended(ended)


def _ended(why: str | None) -> int:
    """A worker whose runner is reclaimed or whose time is over has done its part."""
    if why:
        _say(f"ended before the search was done: {why}")
    return INTERRUPTED if why == "Ctrl-C" else 0


def _report(options: argparse.Namespace) -> int:
    from ecdm.tuning.session import Session

    folder = _folder(options, options.out)
    verdict = Session.open(find_root(), options.short).report(folder)
    print(f"{verdict.sentence}\nreport: {folder}/summary.md")
    return 0


def _accept(options: argparse.Namespace) -> int:
    source = _folder(options, options.source)
    best = source / "best.yaml"
    if not best.is_file():
        raise ValueError(f"{best}: no such file, expected the best values of a search; `ecdm tune report` writes them")
    print(json.loads((source / "summary.json").read_text(encoding="utf-8"))["sentence"])
    write_values(find_root() / PARAMS, best, f"{PARAMS} has these values already", options.dry_run)
    return 0


def _status(options: argparse.Namespace) -> int:
    from ecdm.search.plan import load, phases
    from ecdm.search.verdict import verdict
    from ecdm.tuning.mirror_trial import counts
    from ecdm.tuning.session import Session

    session = Session.open(find_root(), options.short)
    studies = load(session.storage, session.tune)
    for study in phases(studies):
        found = ", ".join(f"{count} {state}" for state, count in counts(study).items() if count)
        print(f"{study.study_name}: {found}")
    print(verdict(studies).sentence)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from ecdm.search.plan import finished, remove
    from ecdm.tuning.session import Session

    session = Session.open(find_root(), options.short)
    if not options.yes and (done := finished(session.storage, session.tune)):
        raise ValueError(f"study {session.tune.study}: found {done} trials that are done; delete them with --yes")
    names = remove(session.storage, session.tune)
    print(f"deleted: {', '.join(names)}" if names else f"{session.where}: no study {session.tune.study}")
    return 0
