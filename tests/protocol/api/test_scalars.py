"""Times, numbers and truth values as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.api.model import SerializationFault, Shape
from fleetward.protocol.api.scalars import epoch_number, read_text, read_timestamp, timestamp_text

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@given(MOMENTS)
def test_times_survive_every_textual_form(moment: datetime) -> None:
    milliseconds = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert read_timestamp(timestamp_text(moment, "iso8601")) == milliseconds
    if moment.year >= 1900:
        assert read_timestamp(timestamp_text(moment, "rfc822")) == moment.replace(microsecond=0)


@given(MOMENTS)
def test_epoch_numbers_keep_milliseconds(moment: datetime) -> None:
    assert abs(read_timestamp(epoch_number(moment)) - moment) < timedelta(milliseconds=1.1)


@pytest.mark.parametrize("value", [True, None, [], "", "soon", "9" * 30, 1e30, float("nan"), "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_a_serialization_fault(value: object) -> None:
    with pytest.raises(SerializationFault):
        read_timestamp(value)


@given(st.text(max_size=30) | st.sampled_from(["1e999", "NaN", "-0", "٣", "1_000", "True"]))
def test_any_text_is_read_or_refused(text: str) -> None:
    for kind in ("integer", "long", "double", "boolean", "timestamp", "blob", "structure"):
        try:
            read_text(Shape("Any", kind), text)
        except SerializationFault:
            continue
