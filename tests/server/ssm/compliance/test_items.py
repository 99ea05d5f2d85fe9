"""Items: packing round-trips, merging by id, and what a set comes to."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.ssm.compliance import items as sets

ITEMS = st.lists(
    st.builds(
        lambda name, status, severity: {"Id": name, "Status": status, "Severity": severity},
        st.text(max_size=3),
        st.sampled_from(sets.STATUSES),
        st.sampled_from(sets.SEVERITIES),
    ),
    max_size=30,
)


@given(ITEMS)
def test_packed_items_come_out_as_they_went_in(items: list[dict[str, Any]]) -> None:
    many = items * 40
    chunks = sets.pack("Custom:Any", many)
    assert [item for chunk in chunks for item in sets.unpack(chunk)] == many
    assert all(len(sets.unpack(chunk)) <= sets.CHUNK for chunk in chunks)


@given(ITEMS, ITEMS)
def test_merged_items_are_those_of_either_and_the_new_ones_win(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    merged = sets.merged(old, new)
    assert [sets.name(each) for each in merged] == sorted(sets.name(each) for each in merged)
    assert {sets.name(each) for each in merged} == {sets.name(each) for each in (*old, *new)}
    last = {sets.name(each): each for each in new}
    assert all(last.get(sets.name(each), each) == each for each in merged)


@given(ITEMS)
def test_a_set_is_as_bad_as_the_worst_it_does_not_comply_with(items: list[dict[str, Any]]) -> None:
    wrong = [item["Severity"] for item in items if item["Status"] == "NON_COMPLIANT"]
    overall = sets.overall(items)
    assert overall.status == ("NON_COMPLIANT" if wrong else "COMPLIANT")
    assert overall.severity == (min(wrong, key=sets.SEVERITIES.index) if wrong else "UNSPECIFIED")
    shown = sets.summaries(overall.counts)
    assert shown["NonCompliantSummary"]["NonCompliantCount"] == len(wrong)
    assert shown["CompliantSummary"]["CompliantCount"] == len(items) - len(wrong)
    assert shown["NonCompliantSummary"]["SeveritySummary"]["CriticalCount"] == wrong.count("CRITICAL")
    assert len(shown["CompliantSummary"]["SeveritySummary"]) == 6
