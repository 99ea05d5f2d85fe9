"""The simulation is tested too: each planted bug must be found by some seed."""

from __future__ import annotations

import logging

import pytest

from fleetward.testing.storm import Storm
from fleetward.testing.world import BrokenPromise
from tests.simulation.mutants import MUTANTS, Mutant

SEEDS = tuple(dict.fromkeys((12, 5, 9, 8, 2, 1, 42, *range(40))))
"""Those that find the rarer bugs come first."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_planted_bug_is_found(mutant: Mutant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in SEEDS:
        try:
            with mutant():
                Storm(seed).run()
        except BrokenPromise:
            return
    pytest.fail(f"no seed of {len(SEEDS)} finds {mutant.__name__}: {mutant.__doc__}")
