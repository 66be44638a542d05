"""Which pictures a study shows, side by side and in which order: a plan drawn from a seed, kept from participants."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from ecdm.reporting.labels import model_title

PLAN = "plan.json"
Kind = Literal["text", "realism"]
KINDS: tuple[Kind, ...] = ("text", "realism")
# Without vowels no id spells a method's name.
ALPHABET, ID_LENGTH = "23456789bcdfghjkmnpqrstvwxyz", 13
# Names of folders, so that none leaves the pipeline's own.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
# The keys 1 to 9 choose.
MOST_METHODS = 9


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Option(_Model):
    """A picture to choose: the id that participants see, and the method that only the plan knows."""

    id: str
    method: str


class Question(_Model):
    """One image-text pair under one of the two questions; `options` in the order in which they are shown."""

    id: str
    kind: Kind
    image: int
    caption: str
    input: str
    options: tuple[Option, ...]

    def method_of(self, option: str) -> str | None:
        """The method behind an option's id; None where the question has no such option."""
        return next((known.method for known in self.options if known.id == option), None)


class Settings(_Model):
    """What a study asks: every method at once (`choice`) or two at a time (`pairwise`).

    `count`: questions in all, even, since every image-text pair is asked both ways. `training_seed` picks the
    outputs `<method>-<training_seed>` of trained variants. `seed` draws images, orders and ids: whoever knows it can
    undo the blinding.
    """

    mode: Literal["choice", "pairwise"] = "choice"
    methods: tuple[Name, ...]
    count: int = Field(ge=2, multiple_of=2)
    dataset: Name
    bucket: Name
    training_seed: int = Field(ge=0)
    seed: int = Field(ge=0)

    @field_validator("methods")
    @classmethod
    def _few_and_distinct(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        # By title, under which pictures are found and reported.
        if not 2 <= len(methods) <= MOST_METHODS or len(set(map(model_title, methods))) < len(methods):
            raise ValueError(f"found {', '.join(methods) or 'none'}, expected 2 to {MOST_METHODS} different methods")
        return methods


class Plan(_Model):
    """Settings and the questions in the order in which they are asked."""

    settings: Settings
    questions: tuple[Question, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises: FileNotFoundError without the file; ValueError naming it and the first key that does not fit."""
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `ecdm study build` writes it")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{path}: {told(error)}") from error

    def text(self) -> str:
        """The content of plan.json: equal plans, equal bytes."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of plan.json."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def question(self, number: str) -> Question | None:
        """The question with this id, if there is one."""
        return next((question for question in self.questions if question.id == number), None)


def told(error: ValidationError) -> str:
    """The first thing that does not fit, in one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "content"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def make_settings(**values: object) -> Settings:
    """Settings from loose values; raises ValueError naming the one that does not fit."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"study: {told(error)}") from error


def make_plan(settings: Settings, captions: Mapping[int, str]) -> Plan:
    """Draw the images and, for every question, the order of the methods.

    `captions`: text of every image that may be drawn, by image id. Each method stands in each position equally
    often, within one, for each of the two questions and in choice mode over both together; in pairwise mode each
    pair of methods comes up equally often, within one, and changes sides between the two questions.
    Raises: ValueError for fewer images than image-text pairs.
    """
    pairs = settings.count // len(KINDS)
    if len(captions) < pairs:
        raise ValueError(f"questions: found {len(captions)} images, expected {pairs} for {settings.count} questions")
    rng = np.random.default_rng(settings.seed)
    images = [int(i) for i in rng.permutation(sorted(captions))[:pairs]]
    orders = (_choice if settings.mode == "choice" else _pairwise)(settings.methods, pairs, rng)
    questions = [
        _question(settings, kind, image, captions[image], order)
        for image, *both in zip(images, *orders, strict=True)
        for kind, order in zip(KINDS, both, strict=True)
    ]
    return Plan(settings=settings, questions=tuple(questions))


def _question(settings: Settings, kind: Kind, image: int, caption: str, order: Sequence[str]) -> Question:
    def name(*parts: object) -> str:
        return opaque(settings.seed, kind, image, *parts)

    options = tuple(Option(id=name("option", method), method=method) for method in order)
    return Question(id=name("question"), kind=kind, image=image, caption=caption, input=name("input"), options=options)


def opaque(seed: int, *parts: object) -> str:
    """A name that says nothing about its parts to whoever lacks the seed: a keyed hash (RFC 2104)."""
    number = int.from_bytes(hmac.digest(str(seed).encode(), repr(parts).encode(), "sha256"), "big")
    letters = []
    for _ in range(ID_LENGTH):
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return "".join(letters)


def _choice(methods: Sequence[str], count: int, rng: np.random.Generator) -> list[list[list[str]]]:
    """Orders per question of a pair: whole Latin squares of turned rings, then parts of one shared square."""
    size = len(methods)
    ring, turns = rng.permutation(methods), rng.permutation(size)
    rest, orders = count % size, []
    for kind in range(len(KINDS)):
        # Each kind goes on in the shared square where the one before it stopped: balanced alone and together.
        rows = [np.roll(ring, turn) for turn in np.roll(turns, -kind * rest)[:rest]]
        for _ in range(count // size):
            square = rng.permutation(methods)
            rows += [np.roll(square, turn) for turn in range(size)]
        orders.append([[str(name) for name in rows[i]] for i in rng.permutation(count)])
    return orders


def _pairwise(methods: Sequence[str], count: int, rng: np.random.Generator) -> list[list[list[str]]]:
    """Orders per question of a pair: the same two methods, their sides exchanged for the second question."""
    every = list(combinations(methods, 2))
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        pairs += [every[i] for i in rng.permutation(len(every))]
    first = _sided(pairs[:count])
    return [[list(pair) for pair in first], [list(reversed(pair)) for pair in first]]


def _sided(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs with sides such that every method stands left as often as right, within one.

    Pairs are edges, and each is directed along a trail that enters a method as often as it leaves it (Euler);
    trails begin where an odd number of edges is left, so that no method is the end of two.
    """
    left, sided = list(range(len(pairs))), list(pairs)
    while left:
        degrees = Counter(name for i in left for name in pairs[i])
        here = next((name for name, degree in degrees.items() if degree % 2), pairs[left[0]][0])
        while (edge := next((i for i in left if here in pairs[i]), None)) is not None:
            left.remove(edge)
            there = next(name for name in pairs[edge] if name != here)
            sided[edge], here = (here, there), there
    return sided
