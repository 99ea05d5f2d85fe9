"""Policy documents: what counts as their size, and whom a trust policy names."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.iam import documents
from tests.identities import allow, document


@given(st.integers(0, 8))
def test_white_space_does_not_count(indent: int) -> None:
    text = json.loads(document(allow("ssm:ListNodes")))
    compact = json.dumps(text, separators=(",", ":"))
    assert documents.size(json.dumps(text, indent=indent)) == len(compact)
