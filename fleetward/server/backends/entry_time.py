"""Entry time: how long an entry has held its writer, in processor time of its thread that is its own doing.

Not its doing, and so not counted: waiting on a busy machine, collecting garbage, and compiling a statement that is met
for the first time. What is left is the same at the first and at the thousandth use, and whatever else the machine does.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

SLOW_ENTRY = 0.050
"""Seconds that an entry may hold the writer (DESIGN.md §3.1)."""


class SlowEntry(Exception):
    """An entry held the writer longer than 50 ms (only raised when the setting asks for it)."""


class _Excused(threading.local):
    seconds = 0.0
    collecting_since = 0.0


_excused = _Excused()


def now() -> float:
    """Processor seconds of the present thread that count."""
    return time.thread_time() - _excused.seconds


@contextmanager
def excused() -> Iterator[None]:
    """What runs within does not count."""
    since = now()
    try:
        yield
    finally:
        _excused.seconds += now() - since


def watch(engine: Engine) -> None:
    """From now on the engine's compiling does not count, nor does collecting garbage."""
    if _collecting not in gc.callbacks:
        gc.callbacks.append(_collecting)
    compiler = engine.dialect.statement_compiler
    if not hasattr(compiler, "excused"):
        engine.dialect.statement_compiler = _excusing(compiler)


def judge(since: float, body: Callable[..., Any], members: int) -> None:
    """Raise SlowEntry when the entry that began at `now() == since` has taken too long."""
    passed = now() - since
    if passed > SLOW_ENTRY:
        raise SlowEntry(f"{body.__qualname__} held the writer for {passed:.3f} s with {members} members")


def _collecting(phase: str, _: dict[str, Any]) -> None:
    if phase == "start":
        _excused.collecting_since = now()
    else:
        _excused.seconds += now() - _excused.collecting_since


def _excusing(compiler: Any) -> Any:
    class Compiler(compiler):  # type: ignore[misc]  # whatever the dialect has
        excused = True

        def __init__(self, *arguments: Any, **options: Any) -> None:
            with excused():
                super().__init__(*arguments, **options)

    return Compiler
