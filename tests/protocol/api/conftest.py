"""Models as the server loads them, botocore's view of the same, and sample values for any shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ServiceModel as BotocoreModel

from fleetward.protocol.api.model import Operation, ServiceModel, Shape, load_service, raw_model

DEEPEST_SAMPLE = 8
WORDS = (
    "a",
    "mi-0123456789abcdef0",
    "zwei Wörter",
    "名前",
    "<&>\"'",
    "line\nbreak",
    " spaced ",
    "x" * 300,
    "\U0001f600",
)
PLAIN_WORDS = ("a", "b-c", "AWS", "x" * 50)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Sampler:
    """Makes values of the right types, the same ones for the same seed; constraints are not looked at."""

    def __init__(self, seed: str, words: tuple[str, ...] = WORDS) -> None:
        self.random = random.Random(seed)
        self.words = words

    def sample(self, shape: Shape, depth: int = 0) -> Any:
        if shape.kind == "structure":
            return self._structure(shape, depth)
        if shape.element is not None:
            return [self.sample(shape.element.shape, depth + 1) for _ in range(self.random.randint(1, 2))]
        if shape.key is not None and shape.value is not None:
            keys = shape.key.shape.enum or [f"{word}{number}" for number, word in enumerate(PLAIN_WORDS)]
            chosen = self.random.sample(keys, min(len(keys), self.random.randint(1, 2)))
            return {key: self.sample(shape.value.shape, depth + 1) for key in chosen}
        return self._scalar(shape)

    def _structure(self, shape: Shape, depth: int) -> dict[str, Any]:
        usable = {
            name: use.shape
            for name, use in shape.members.items()
            if not (use.shape.event_stream or use.streaming) and self._fits(use.shape, depth)
        }
        optional = [name for name in usable if name not in shape.required]
        chosen = self.random.sample(optional, min(len(optional), max(1, self.random.randint(0, max(1, 6 - depth)))))
        return {
            name: self.sample(each, depth + 1) for name, each in usable.items() if name in (*chosen, *shape.required)
        }

    def _fits(self, shape: Shape, depth: int) -> bool:
        """Whether a value can be made that is neither empty nor deeper than we like."""
        if shape.kind == "structure":
            return depth < DEEPEST_SAMPLE and any(self._fits(use.shape, depth + 1) for use in shape.members.values())
        return depth < DEEPEST_SAMPLE or not any(True for _ in shape.uses())

    def _scalar(self, shape: Shape) -> Any:
        if shape.enum:
            return self.random.choice(shape.enum)
        makers: dict[str, Callable[[], Any]] = {
            "string": lambda: self.random.choice(self.words),
            "integer": lambda: self.random.randint(-5, 2**31 - 1),
            "long": lambda: self.random.randint(-5, 2**53),
            "float": lambda: self.random.randint(-8, 8) / 4,
            "double": lambda: self.random.randint(-8, 8) / 4,
            "boolean": lambda: self.random.random() < 0.5,
            "timestamp": lambda: EPOCH + timedelta(seconds=self.random.randint(0, 10**8)),
            "blob": lambda: self.random.randbytes(self.random.randint(0, 20)),
            "document": lambda: {"any": ["thing"]},
        }
        return makers[shape.kind]()


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ServiceModel]:
    """Load a service's model through one cache folder for all tests."""
    folder: Path = tmp_path_factory.mktemp("models")
    return lambda name: load_service(name, folder)


@pytest.fixture(scope="session")
def botocore_model() -> Callable[[str], BotocoreModel]:
    """The same model (our additions merged in) as botocore's classes see it."""
    known: dict[str, BotocoreModel] = {}

    def find(name: str) -> BotocoreModel:
        if name not in known:
            known[name] = BotocoreModel(raw_model(name), name)
        return known[name]

    return find


@pytest.fixture
def samples() -> Callable[..., list[dict[str, Any]]]:
    """Some inputs or outputs of an operation: `samples(operation, "input")`; none for event streams.

    `plain` words go into any header.
    """

    def make(operation: Operation, direction: str, plain: bool = False) -> list[dict[str, Any]]:
        shape = operation.input if direction == "input" else operation.output
        if shape is not None and any(use.shape.event_stream for use in shape.members.values()):
            return []
        words = PLAIN_WORDS if plain else WORDS
        return [Sampler(f"{operation.name} {direction} {n}", words).sample(shape) for n in range(3)] if shape else []

    return make
