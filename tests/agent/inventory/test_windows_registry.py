"""AWS:WindowsRegistry: values by path and name in a registry of the test's own, and the limit of values."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.agent.inventory import windows_registry
from fleetward.agent.inventory.rows import GatherFault
from fleetward.agent.platforms import registry

HIVE = "HKEY_LOCAL_MACHINE"
KEYS: dict[str, list[tuple[str, Any, str]]] = {
    rf"{HIVE}\SOFTWARE\Example": [("Version", "1.2", "REG_SZ"), ("Port", 8080, "REG_DWORD")],
    rf"{HIVE}\SOFTWARE\Example\Inner": [("Version", b"\x01\xff", "REG_BINARY"), ("Names", ["a", "b"], "REG_MULTI_SZ")],
}


def subkeys(path: str) -> list[str]:
    return [key.removeprefix(f"{path}\\") for key in KEYS if key.rpartition("\\")[0] == path]


def find(**members: Any) -> list[tuple[str, str, str]]:
    asked = {"Path": rf"{HIVE}\SOFTWARE\Example", **members}
    found = windows_registry.find([asked], subkeys, lambda path: KEYS.get(path, []))
    return [(each["ValueName"], each["ValueType"], each["Value"]) for each in found]


def test_values_are_chosen_by_key_and_name() -> None:
    assert find() == [("Version", "REG_SZ", "1.2"), ("Port", "REG_DWORD", "8080")]
    assert find(ValueNames=["version"]) == [("Version", "REG_SZ", "1.2")]
    assert find(Recursive=True)[2:] == [("Version", "REG_BINARY", "01 FF"), ("Names", "REG_MULTI_SZ", "a b")]
    assert find(Path=rf"{HIVE}\SOFTWARE\None") == []


def test_the_two_hundred_and_fifty_first_value_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [(f"v{number}", number, "REG_DWORD") for number in range(251)]
    monkeypatch.setitem(KEYS, rf"{HIVE}\SOFTWARE\Many", many[:250])
    assert len(find(Path=rf"{HIVE}\SOFTWARE\Many")) == 250
    monkeypatch.setitem(KEYS, rf"{HIVE}\SOFTWARE\Many", many)
    with pytest.raises(GatherFault, match="more than 250 values"):
        find(Path=rf"{HIVE}\SOFTWARE\Many")


def test_elsewhere_than_on_windows_there_is_no_registry() -> None:
    assert registry.subkeys(HIVE) == []
    assert registry.key_values(HIVE) == {}
