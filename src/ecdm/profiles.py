"""Profiles: overlays on params.yaml that change values and nothing else, neither comments nor layout."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ecdm.config import yaml_text

KINDS = {MappingNode: "a section", SequenceNode: "a list", ScalarNode: "a value"}

# First and last position of a value in the text, and what is to stand there.
Edit = tuple[int, int, str]


@dataclass(frozen=True)
class Document:
    """A YAML file: path, text and the tree of nodes, which know where in the text they stand."""

    path: Path
    text: str
    root: MappingNode

    @classmethod
    def read(cls, path: Path) -> Document:
        """Raises FileNotFoundError, and ValueError where the file is not YAML with sections."""
        text, root = yaml_text(path, lambda text: (text, YAML().compose(text)))
        if not isinstance(root, MappingNode):
            found = "nothing" if root is None else KINDS[type(root)]
            raise ValueError(f"{path}: found {found}, expected sections")
        return cls(path, text, root)

    def source(self, value: Node) -> str:
        """A single value as it is written; raises ValueError for anything longer than a line."""
        text = self.text[value.start_mark.index : value.end_mark.index]
        if not isinstance(value, ScalarNode) or "\n" in text:
            line = value.start_mark.line + 1
            raise ValueError(f"{self.path}: line {line}: found more than one line, expected single values")
        return text


def find_profile(name: str, folder: Path) -> Path:
    """The file of a profile; raises ValueError that lists those there are."""
    known = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ValueError(f"profile {name!r}: not found in {folder}; known: {names}")
    return known[name]


def overlay(params: Path, profile: Path) -> str:
    """The text of `params` with the values of `profile`, every other character as it was.

    Sections are merged, lists replaced; list items that stay keep their comments. Raises ValueError naming a
    key that `params` does not have or that is of another kind there (section, list, value), and for a file
    that is not YAML.
    """
    base, change = Document.read(params), Document.read(profile)
    text = base.text
    # From the end, so that positions further up still hold.
    for start, end, new in sorted(_edits(base, base.root, change, change.root), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def difference(old: str, new: str, name: str) -> str:
    """The unified diff between two texts of one file; empty where they are equal."""
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}")
    return "".join(lines)


def _edits(
    base: Document, old: Node, change: Document, new: Node, keys: tuple[str, ...] = (), colon: int = 0
) -> Iterator[Edit]:
    """Edits of `old`, which stands at `keys` behind the colon at position `colon` - 1, that make it `new`."""
    if type(old) is not type(new):
        found, expected = KINDS[type(new)], f"{KINDS[type(old)]} as in {base.path.name}"
        raise ValueError(f"{change.path}: {'.'.join(keys)}: found {found}, expected {expected}")
    if isinstance(old, MappingNode):
        known = {key.value: (value, base.text.index(":", key.end_mark.index) + 1) for key, value in old.value}
        for key, value in new.value:
            inner = (*keys, str(key.value))
            if key.value not in known:
                raise ValueError(f"{change.path}: {'.'.join(inner)}: no such key in {base.path.name}")
            held, behind = known[key.value]
            yield from _edits(base, held, change, value, inner, behind)
    elif _plain(old) == _plain(new):
        return
    elif isinstance(old, SequenceNode) and isinstance(new, SequenceNode):
        yield _list(base, old, change, new)
    else:
        yield _value(base, old, change, new, colon)


def _plain(node: Node) -> object:
    """A value with its type, without its style: `a` and 'a' are equal, 1 and '1' are not."""
    if isinstance(node, ScalarNode):
        return str(node.tag), "" if str(node.tag).endswith(":null") else node.value
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.value]
    return [(key.value, _plain(value)) for key, value in node.value]


def _value(base: Document, old: Node, change: Document, new: Node, colon: int) -> Edit:
    text = change.source(new) or "null"
    if base.source(old):
        return old.start_mark.index, old.end_mark.index, text
    # `key:` alone is null; its node stands only where the next thing starts.
    return colon, colon, f" {text}"


def _list(base: Document, old: SequenceNode, change: Document, new: SequenceNode) -> Edit:
    texts = [change.source(item) for item in new.value]
    if old.flow_style:
        return old.start_mark.index, old.end_mark.index, f"[{', '.join(map(_inline, texts))}]"
    lines, end = _item_lines(base, old)
    indent = " " * old.start_mark.column
    kept = [lines.get(repr(_plain(item)), f"{indent}- {text}") for item, text in zip(new.value, texts, strict=True)]
    return old.start_mark.index, end, "\n".join(kept).lstrip() or "[]"


def _item_lines(base: Document, old: SequenceNode) -> tuple[dict[str, str], int]:
    """The lines of every item, comments above and beside it included, and where the last one ends."""
    lines: dict[str, str] = {}
    start = old.start_mark.index - old.start_mark.column
    for item in old.value:
        base.source(item)
        end = base.text.find("\n", item.end_mark.index)
        end = len(base.text) if end < 0 else end
        lines[repr(_plain(item))] = base.text[start:end]
        start = end + 1
    return lines, start - 1


def _inline(text: str) -> str:
    """A value as it may stand between brackets, where commas and brackets have a meaning."""
    return json.dumps(text) if re.search(r"[,\[\]{}]", text) and text[0] not in "'\"" else text
