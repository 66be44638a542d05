"""GitHub's expressions, as far as the workflows use them; anything else is refused, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
TOKEN = re.compile(r"\s*('(?:[^']|'')*'|\d+(?:\.\d+)?|[A-Za-z_][\w-]*|==|!=|&&|\|\||[!().,])")
STATUS = ("success", "failure", "cancelled", "always")
LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}


class ExpressionError(ValueError):
    """An expression that this evaluator does not know, or a name that its context lacks."""


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match:
            raise ExpressionError(f"{text.strip()!r}: found {text[at:].strip()!r}, expected what the evaluator knows")
        found.append(match.group(1))
        at = match.end()
    return found


class _Parser:
    """Recursive descent: or, and, comparison, not, then names, calls, literals and parentheses."""

    def __init__(self, text: str, context: Mapping[str, Any], status: Mapping[str, bool]) -> None:
        self.text, self.context, self.status = text.strip(), context, status
        self.tokens = _tokens(text)

    def next(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, *allowed: str) -> str:
        if not self.tokens or (allowed and self.tokens[0] not in allowed):
            raise ExpressionError(f"{self.text!r}: found {self.next()!r}, expected {' or '.join(allowed) or 'more'}")
        return self.tokens.pop(0)

    def whole(self) -> Any:
        value = self.any()
        if self.tokens:
            raise ExpressionError(f"{self.text!r}: found {self.next()!r}, expected the end")
        return value

    def any(self) -> Any:
        value = self.all()
        while self.next() == "||":
            self.take()
            other = self.all()
            value = value or other
        return value

    def all(self) -> Any:
        value = self.comparison()
        while self.next() == "&&":
            self.take()
            other = self.comparison()
            value = value and other
        return value

    def comparison(self) -> Any:
        value = self.negation()
        while self.next() in ("==", "!="):
            equal = self.take() == "=="
            other = self.negation()
            if type(value) is not type(other):
                raise ExpressionError(f"{self.text!r}: compares {value!r} with {other!r}, expected one type")
            same = value.lower() == other.lower() if isinstance(value, str) else value == other
            value = same if equal else not same
        return value

    def negation(self) -> Any:
        if self.next() == "!":
            self.take()
            return not self.negation()
        return self.primary()

    def primary(self) -> Any:
        token = self.take()
        if token == "(":
            value = self.any()
            self.take(")")
            return value
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token[0].isdigit():
            return float(token) if "." in token else int(token)
        if token in LITERALS:
            return LITERALS[token]
        return self.call(token) if self.next() == "(" else self.name(token)

    def call(self, function: str) -> Any:
        self.take("(")
        if function in STATUS:
            self.take(")")
            return self.status[function]
        if function != "fromJSON":
            raise ExpressionError(f"{self.text!r}: found the function {function}, expected fromJSON or a status")
        value = self.any()
        self.take(")")
        return json.loads(value)

    def name(self, first: str) -> Any:
        path, value = first, _step(self.context, first, first, self.text)
        while self.next() == ".":
            self.take()
            part = self.take()
            path = f"{path}.{part}"
            # What an event lacks, as a push a pull request, is null with all that hangs on it.
            value = None if value is None else _step(value, part, path, self.text)
        return value


def _step(value: Any, part: str, path: str, text: str) -> Any:
    if not isinstance(value, Mapping) or part not in value:
        raise ExpressionError(f"{text!r}: found {path}, which the context lacks")
    return value[part]


def evaluate(text: str, context: Mapping[str, Any], status: Mapping[str, bool] | None = None) -> Any:
    """The value of an expression without its braces. Raises ExpressionError for what is not known."""
    return _Parser(text, context, status or {}).whole()


def text_of(value: Any) -> str:
    """A value as GitHub writes it into a text."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def interpolate(value: Any, context: Mapping[str, Any]) -> Any:
    """The value with every expression in it evaluated, through lists and mappings."""
    if isinstance(value, Mapping):
        return {key: interpolate(one, context) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolate(one, context) for one in value]
    if not isinstance(value, str):
        return value
    whole = EXPRESSION.fullmatch(value.strip())
    if whole and "${{" not in whole.group(1):
        return evaluate(whole.group(1), context)
    replaced: Callable[[re.Match[str]], str] = lambda match: text_of(evaluate(match.group(1), context))  # noqa: E731
    return EXPRESSION.sub(replaced, value)


def holds(condition: Any, context: Mapping[str, Any], status: Mapping[str, bool]) -> bool:
    """Whether an `if` holds; one that names no status also asks for success, as none at all does."""
    text = "success()" if condition is None else str(condition).strip()
    whole = EXPRESSION.fullmatch(text)
    text = whole.group(1) if whole else text
    value = bool(evaluate(text, context, status))
    named = any(re.search(rf"\b{name}\s*\(", text) for name in STATUS)
    return value and (named or status["success"])
