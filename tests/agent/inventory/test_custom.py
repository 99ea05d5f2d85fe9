"""Custom inventory: good files count, bad ones are left out and told, and all limits hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.inventory import custom
from fleetward.agent.inventory.rows import GatherFault


def text(content: Any, name: Any = "Custom:Rack", version: Any = "1.0") -> str:
    return json.dumps({"SchemaVersion": version, "TypeName": name, "Content": content})


def test_one_entry_and_a_list_of_entries_are_read() -> None:
    assert custom.read(text({"Rack": "r1"})).rows == [{"Rack": "r1"}]
    found = custom.read(text([{"Rack": "r1"}, {"Rack": "r2", "Slot": ""}], version="2.10"))
    assert (found.name, found.schema_version) == ("Custom:Rack", "2.10")
    assert found.rows == [{"Rack": "r1"}, {"Rack": "r2", "Slot": ""}]
    assert custom.read(text([])).rows == []


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[]",
        "[" * 100_000,
        text({"a": "b"}, name="AWS:Application"),
        text({"a": "b"}, name="Custom:" + "x" * 94),
        text({"a": "b"}, name=None),
        text({"a": "b"}, version="1"),
        text({"a": "b"}, version=1.0),
        text({}),
        text("a"),
        text(None),
        text({"a": 1}),
        text({"a": "x" * 4097}),
        text({"x" * 65: "a"}),
        text({"": "a"}),
        text({f"a{number}": "" for number in range(51)}),
    ],
)
def test_files_that_break_a_rule_are_refused(wrong: str) -> None:
    with pytest.raises(GatherFault):
        custom.read(wrong)


def test_bad_files_are_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text({"Rack": "r1"}))
    (tmp_path / "b.json").write_text(text({"Rack": "r2"}))
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.txt").write_text(text({"Rack": "r1"}, name="Custom:Other"))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "e.json").write_text(text({"Rack": "r1"}, name="Custom:Below"))
    (tmp_path / "f.json").mkdir()
    found, wrong = custom.gather(tmp_path)
    assert [(each.name, each.rows) for each in found] == [("Custom:Rack", [{"Rack": "r1"}])]
    assert [reason.partition(":")[0] for reason in wrong] == ["b.json", "c.json", "f.json"]


def test_twenty_types_are_the_most(tmp_path: Path) -> None:
    for number in range(21):
        (tmp_path / f"{number:02}.json").write_text(text({"a": "b"}, name=f"Custom:T{number}"))
    found, wrong = custom.gather(tmp_path)
    assert len(found) == 20
    assert wrong == ["20.json: there are 20 types already"]


def test_a_folder_that_is_not_there_has_no_types(tmp_path: Path) -> None:
    assert custom.gather(tmp_path / "none") == ([], [])
