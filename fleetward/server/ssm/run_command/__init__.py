"""Run Command: send a document to many nodes and keep each node's result.

`commands` holds the rows and the operations that send and cancel, `release` lets invocations go as rate control
allows, `results` takes what nodes report, `history` answers questions, `outputs` keeps output in full,
`reverts` stops nodes that were set back, `reported` takes news of commands that other capabilities carry.
"""

from __future__ import annotations

from fleetward.server.ssm.run_command import commands, history, outputs, release, reported, results, reverts, table

__all__ = ["commands", "history", "outputs", "release", "reported", "results", "reverts", "table"]
