"""The report: hashes stand for what has not changed, files go apart when it is large, and all sizes are bounded."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.inventory import report
from fleetward.agent.inventory.report import Item, bodies, encode, gather

NODE_ID = "mi-0123456789abcdef0"
ITEM = Item("AWS:Network", "1.0", '[{"Name":"eth0"}]')


def items(texts: list[str]) -> list[list[dict[str, Any]]]:
    """The items of each call."""
    return [json.loads(text)["Items"] for text in texts]


def test_a_new_type_is_sent_with_content_and_hash() -> None:
    (call,) = map(json.loads, bodies(NODE_ID, [ITEM], {}, 1_795_378_039))
    digest = base64.b64encode(hashlib.md5(b'[{"Name":"eth0"}]').digest()).decode()
    assert call == {
        "InstanceId": NODE_ID,
        "Items": [
            {
                "TypeName": "AWS:Network",
                "SchemaVersion": "1.0",
                "CaptureTime": "2026-11-22T20:07:19Z",
                "ContentHash": digest,
                "Content": [{"Name": "eth0"}],
            }
        ],
    }


def test_an_unchanged_type_is_sent_as_its_hash_alone() -> None:
    other = Item("AWS:Service", "1.0", "[]")
    ((same, changed),) = items(bodies(NODE_ID, [ITEM, other], {"AWS:Network": ITEM.content_hash}, 0))
    assert "Content" not in same
    assert same["ContentHash"] == ITEM.content_hash
    assert changed["Content"] == []


def test_the_order_of_rows_makes_no_difference() -> None:
    rows = [{"Name": "b", "Version": "1"}, {"Name": "a"}]
    assert encode(rows) == encode([{"Name": "a"}, {"Version": "1", "Name": "b"}])
    assert json.loads(encode(rows)) == [{"Name": "a"}, {"Name": "b", "Version": "1"}]


def test_files_go_in_a_call_of_their_own_beyond_a_megabyte() -> None:
    large = Item("AWS:Application", "1.1", encode([{"Name": "x" * 4000, "Version": str(n)} for n in range(300)]))
    file = Item("AWS:File", "1.0", '[{"Name":"a"}]')
    calls = items(bodies(NODE_ID, [large, file, ITEM], {}, 0))
    assert [[each["TypeName"] for each in call] for call in calls] == [["AWS:Application", "AWS:Network"], ["AWS:File"]]
    assert len(bodies(NODE_ID, [ITEM, file], {}, 0)) == 1
    assert len(bodies(NODE_ID, [large, ITEM], {}, 0)) == 1
    assert len(bodies(NODE_ID, [large, file], {"AWS:Application": large.content_hash}, 0)) == 1
    assert bodies(NODE_ID, [], {}, 0) == []


def test_only_what_is_asked_for_is_gathered(tmp_path: Path) -> None:
    found, faults = gather(
        {"networkConfig": "Enabled", "applications": "Disabled", "files": "", "services": ""}, tmp_path
    )
    assert [each.type_name for each in found] == ["AWS:Network"]
    assert faults == []
    assert gather({}, tmp_path) == ([], [])
    assert gather({"windowsUpdates": "Enabled", "windowsRoles": "Enabled", "windowsRegistry": "[]"}, tmp_path) == (
        [],
        [],
    )


def test_a_type_that_fails_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "rack.json").write_text('{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Rack":"r1"}}')
    (tmp_path / "wrong.json").write_text("{")
    asked = {"files": "{", "networkConfig": "Enabled", "customInventory": "Enabled"}
    found, faults = gather(asked, tmp_path)
    assert [each.type_name for each in found] == ["AWS:Network", "Custom:Rack"]
    assert faults == ["AWS:File: the filter is not JSON", "custom inventory: wrong.json: this is not JSON"]


def test_filters_may_be_text_or_a_list(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    filters = [{"Path": str(tmp_path)}]
    assert gather({"files": filters}, tmp_path) == gather({"files": json.dumps(filters)}, tmp_path)
    assert json.loads(gather({"files": filters}, tmp_path)[0][0].content)[0]["Name"] == "a"


def test_a_folder_of_the_owners_own_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "rack.json").write_text('{"SchemaVersion":"1.0","TypeName":"Custom:Rack","Content":{"Rack":"r1"}}')
    asked = {"customInventory": "Enabled", "customInventoryDirectory": str(tmp_path)}
    assert [each.type_name for each in gather(asked, tmp_path / "none")[0]] == ["Custom:Rack"]


def test_types_and_reports_that_are_too_large_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        rows = [{"Value": "x" * 4000}] * 10
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"SchemaVersion": "1.0", "TypeName": f"Custom:{name}", "Content": rows})
        )
    asked = {"customInventory": "Enabled"}
    assert len(gather(asked, tmp_path)[0]) == 2
    monkeypatch.setattr(report, "LARGEST_REPORT_BYTES", 60_000)
    found, faults = gather(asked, tmp_path)
    assert [each.type_name for each in found] == ["Custom:a"]
    assert "with it the report has more than" in faults[0]
    monkeypatch.setattr(report, "LARGEST_TYPE_BYTES", 30_000)
    assert len(gather(asked, tmp_path)[1]) == 2
    monkeypatch.setattr(report, "MOST_ROWS", 9)
    assert gather(asked, tmp_path)[1][0] == "Custom:a: there are 10 entries, 9 are allowed"
