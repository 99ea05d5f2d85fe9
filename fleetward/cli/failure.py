"""Failure: what ends a command with one clear sentence instead of a traceback."""

from __future__ import annotations


class Failure(Exception):
    """The command cannot go on; exit code 1, or 2 when it was called wrongly."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
