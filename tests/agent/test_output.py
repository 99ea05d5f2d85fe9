"""Output: kept in full to a limit, cut to the protocol's sizes with its marks."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetward.agent.output import (
    COMBINED_BYTES,
    ERROR_HEADING,
    ERROR_MARK,
    OUTPUT_MARK,
    STREAM_BYTES,
    StepOutput,
    Stream,
    combine_streams,
    cut_stream,
)

streams = (
    st.binary(max_size=200) | st.integers(0, 60_000).map(lambda size: b"x" * size) | st.just("é".encode() * 30_000)
)


@given(streams)
def test_a_stream_fits_its_limit_and_says_when_it_is_cut(data: bytes) -> None:
    text = cut_stream(data)
    assert len(text.encode()) <= STREAM_BYTES or len(data) <= STREAM_BYTES
    assert text.endswith("--output truncated--") == (len(data) > STREAM_BYTES or data.endswith(b"--output truncated--"))


@given(streams, streams)
def test_both_streams_together_fit_their_limit(stdout: bytes, stderr: bytes) -> None:
    assert len(combine_streams(stdout, stderr).encode()) <= COMBINED_BYTES


def test_short_streams_are_shown_whole_with_a_heading_between() -> None:
    assert combine_streams(b"hello\n", b"") == "hello\n"
    assert combine_streams(b"hello\n", b"oops") == f"hello\n{ERROR_HEADING.decode()}oops"


def test_each_stream_may_use_what_the_other_leaves() -> None:
    shown = combine_streams(b"o" * 5000, b"short")
    assert shown.endswith(f"{OUTPUT_MARK.decode()}{ERROR_HEADING.decode()}short")
    assert len(shown) == COMBINED_BYTES
    both = combine_streams(b"o" * 5000, b"e" * 5000)
    assert both.count("o" * 1000) == 1
    assert both.count("e" * 1000) == 1
    assert both.endswith(ERROR_MARK.decode())


def test_beyond_the_limit_a_note_is_kept_and_the_rest_dropped(tmp_path: Path) -> None:
    stream = Stream(tmp_path / "stdout", largest=10)
    for _ in range(5):
        stream.write(b"12345678")
    stream.close()
    assert (tmp_path / "stdout").read_bytes() == b"1234567812\n--output cut after 10 bytes--\n"


def test_an_error_of_ours_begins_a_line(tmp_path: Path) -> None:
    output = StepOutput(tmp_path)
    output.stderr.write(b"oops")
    output.add_error("failed")
    output.close()
    assert (tmp_path / "stderr").read_bytes() == b"oops\nfailed"


def test_a_later_run_of_a_step_adds_to_its_streams(tmp_path: Path) -> None:
    for text in (b"before\n", b"after\n"):
        output = StepOutput(tmp_path)
        output.stdout.write(text)
        output.close()
    assert output.stdout.head(100) == b"before\nafter\n"
