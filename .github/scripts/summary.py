"""Two results of `make smoke` as Markdown: what differs in metrics and parameters, and where the images are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

NONE = "–"
# Below what a job's summary and a comment may hold.
LIMIT = 50_000


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value; lists are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON or YAML file below `folder` with dotted keys. Raises ValueError where it is no mapping."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: found {error}, expected {path.suffix[1:].upper()}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: found {type(values).__name__}, expected sections")
    return flat(values)


def shown(value: Any) -> str:
    """A value for a cell of a table."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def change(old: Any, new: Any) -> str:
    """The difference of two numbers with its sign; nothing for anything else."""
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (old, new))
    return f"{new - old:+.6g}" if numbers else ""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines of a table of what differs, or one sentence."""
    names = [*old, *(name for name in new if name not in old)]
    rows = [
        f"| `{name}` | {shown(old.get(name, NONE))} | {shown(new.get(name, NONE))} | "
        f"{change(old.get(name), new.get(name))} |"
        for name in names
        if name not in old or name not in new or old[name] != new[name]
    ]
    if not rows:
        return [f"The same as the base branch: all {len(names)}."]
    same = len(names) - len(rows)
    table = ["| | base | here | change |", "| :-- | --: | --: | --: |", *rows]
    return [*table, "", f"{same} more are the same." if same else "No other."]


def section(title: str, base: Path | None, head: Path, name: str) -> list[str]:
    """Title and differences, or the values alone where there is no base to compare with."""
    new = read(head, name)
    if base is not None:
        return [f"## {title}", "", *differences(read(base, name), new), ""]
    rows = [f"| `{key}` | {shown(value)} |" for key, value in new.items()]
    return [f"## {title}", "", "| | here |", "| :-- | --: |", *rows, ""]


def summary(base: Path | None, head: Path, grid: str, everything: str) -> str:
    """The whole text, at most LIMIT bytes; the ablation's tables are left out where they do not fit.

    `base`, `head`: folders of `make smoke`; `grid`, `everything`: addresses of the image and of all files. Raises
    ValueError and OSError for files that are missing or broken.
    """
    lines = ["# Smoke run", "", "The pipeline in its smallest form: whether everything runs, not what is better.", ""]
    if base is None:
        lines += ["There is no smoke run of the base branch to compare with.", ""]
    lines += section("Metrics", base, head, "reports/metrics.json")
    lines += section("Parameters", base, head, "params.yaml") if base else []
    lines += ["## Ablation grid", "", f"[Open the image]({grid}) or [get all reports]({everything}).", ""]
    tables = (head / "reports" / "ablation.md").read_text(encoding="utf-8")
    # The heading would be a second title of the page.
    tables = tables.split("\n", 1)[1].strip() if tables.startswith("# ") else tables.strip()
    text = "\n".join(lines)
    full = f"{text}\n<details><summary>Tables of the ablation</summary>\n\n{tables}\n\n</details>\n"
    for candidate in (full, text):
        if len(candidate.encode()) <= LIMIT:
            return candidate
    raise ValueError(f"{head}: found {len(text.encode())} bytes of differences, expected at most {LIMIT}")


def main() -> int:
    """0, or 2 where a file is missing or broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="the base branch's results; left out or no folder: none")
    parser.add_argument("--head", type=Path, required=True, help="the results to describe")
    parser.add_argument("--grid", required=True, help="address of the image")
    parser.add_argument("--everything", required=True, help="address of all files")
    options = parser.parse_args()
    base = options.base if options.base and options.base.is_dir() else None
    try:
        print(summary(base, options.head, options.grid, options.everything))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
