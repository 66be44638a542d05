"""The page of a search for people, in Markdown: the verdict first, then the numbers it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from ecdm.search.captions import CAPTIONS, drawable
from ecdm.search.findings import Findings, Repeats, slot_of
from ecdm.search.labels import number, setting, title, unit
from ecdm.search.space import Values, applied
from ecdm.search.verdict import Verdict

# Rows of the tables of the best trials, and of a Pareto front.
SHOWN, FRONT = 5, 12
BIASED = (
    "The values in the search are those of one training seed, and the best of many noisy trials looks better than it "
    "is; what counts are the means over other seeds."
)


def summary_text(found: Findings, judged: Verdict) -> str:
    """summary.md; its pictures lie beside it."""
    parts = [
        f"# Search {found.search.study_name}",
        f"**{judged.sentence}**",
        progress(found),
        _noise(found, judged),
        *_section("The paper's values and the best", _compared(found)),
        BIASED if found.best is not None and not found.several else "",
        *_section("Importances", _importances(found)),
        *_section("Pareto front" if found.several else "Best trials", _leaders(found)),
    ]
    figures = drawable(found)
    parts += ["## Figures"] if figures else []
    for caption in figures:
        parts += [f"**{caption.title}.** {caption.read}", f"![{caption.title}]({caption.file})"]
    return "\n\n".join(part for part in parts if part) + "\n"


def progress(found: Findings) -> str:
    """How many trials are done, and how they ended."""
    complete, pruned = len(found.complete), len(found.results) - len(found.complete)
    failed = sum(trial.state == TrialState.FAIL for trial in found.search.get_trials(deepcopy=False))
    broken = len(found.complete) - len(found.allowed)
    text = f"{len(found.results)} of {found.slots} trials are done: {complete} complete, {pruned} pruned."
    text += f" Given up, for they ended every worker: {found.given_up}." if found.given_up else ""
    text += f" Of the complete ones, {broken} broke a constraint." if broken else ""
    return text + (f" Attempts that were lost and made again: {failed}." if failed else "")


def _noise(found: Findings, judged: Verdict) -> str:
    if judged.noise_sd is None:
        return ""
    name = found.names[0]
    spread = f"{number(name, judged.noise_sd)}{unit(name)}"
    return (
        f"Noise: with the paper's values, {name} has a standard deviation of {spread} over {judged.noise_seeds} seeds."
    )


def _section(heading: str, table: str) -> list[str]:
    return [f"## {heading}", table] if table else []


def _compared(found: Findings) -> str:
    if found.best is None and found.paper is None:
        return ""
    over = len(found.noise.values)
    header = ["", *map(title, found.keys)]
    for name in found.names:
        header += [f"{name}, in the search"] + ([f"mean over {over} seeds"] if over else [])
    rows = [_line(found, "paper's values", found.noise.params, found.paper, found.noise)]
    if found.best is not None and slot_of(found.best) != 0:
        label = f"best on {found.names[0]}" if found.several else "best values"
        used = applied(found.best.params)
        repeats = found.confirm if found.confirm.params == used else Repeats(used, {})
        rows.append(_line(found, f"{label} (trial {slot_of(found.best)})", used, found.best, repeats))
    return _table(header, rows)


def _line(found: Findings, label: str, used: Values, trial: FrozenTrial | None, repeats: Repeats) -> list[str]:
    cells = [label, *(setting(used.get(key, "")) for key in found.keys)]
    for place, name in enumerate(found.names):
        cells.append(f"{number(name, trial.values[place])}{unit(name)}" if trial else "–")
        if found.noise.values:
            mean = repeats.mean(place)
            cells.append("–" if mean is None else f"{number(name, mean)}{unit(name)}")
    return cells


def _importances(found: Findings) -> str:
    rows = [[title(key), f"{share:.2f}"] for key, share in found.importances.items()]
    table = _table(["parameter", "share"], rows)
    told = f"{CAPTIONS['importances'].read} From {len(found.complete)} complete trials."
    return f"{told}\n\n{table}" if table else ""


def _leaders(found: Findings) -> str:
    sign = -1 if found.higher[0] else 1
    chosen = found.front if found.several else found.allowed
    ordered = sorted(chosen, key=lambda trial: (sign * trial.values[0], slot_of(trial)))
    rows = [
        [
            str(slot_of(trial)),
            *(setting(applied(trial.params)[key]) for key in found.keys),
            *(number(name, value) for name, value in zip(found.names, trial.values, strict=True)),
        ]
        for trial in ordered[: FRONT if found.several else SHOWN]
    ]
    table = _table(["trial", *map(title, found.keys), *(name + _in(name) for name in found.names)], rows)
    more = len(ordered) - FRONT
    return f"{table}\n\nThe other {more} are in pareto.csv." if table and found.several and more > 0 else table


def _in(name: str) -> str:
    return f" [{unit(name).strip()}]" if unit(name) else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in pipe syntax, its first column flush left; nothing without rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|".join([":--", *["--:"] * (len(header) - 1)])
    return "\n".join([f"| {' | '.join(header)} |", f"|{rule}|", *body]) if body else ""
