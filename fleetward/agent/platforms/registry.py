"""The registry of Windows, keys by their whole path. Elsewhere there is none, and it is empty."""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "win32":
    import winreg

    _HIVES = {
        "HKEY_CLASSES_ROOT": winreg.HKEY_CLASSES_ROOT,
        "HKEY_CURRENT_CONFIG": winreg.HKEY_CURRENT_CONFIG,
        "HKEY_CURRENT_USER": winreg.HKEY_CURRENT_USER,
        "HKEY_LOCAL_MACHINE": winreg.HKEY_LOCAL_MACHINE,
        "HKEY_USERS": winreg.HKEY_USERS,
    }

TYPES = {1: "REG_SZ", 2: "REG_EXPAND_SZ", 3: "REG_BINARY", 4: "REG_DWORD", 7: "REG_MULTI_SZ", 11: "REG_QWORD"}


def subkeys(path: str) -> list[str]:
    """The names of the keys below a key; none when there is no such key, or it may not be read."""
    names: list[str] = []
    if sys.platform == "win32":
        try:
            with _opened(path) as key:
                names = [winreg.EnumKey(key, number) for number in range(winreg.QueryInfoKey(key)[0])]
        except OSError:
            pass
    return names


def values(path: str) -> list[tuple[str, Any, str]]:
    """Name, value and type of each value of a key; none when there is no such key, or it may not be read."""
    found: list[tuple[str, Any, str]] = []
    if sys.platform == "win32":
        try:
            with _opened(path) as key:
                for number in range(winreg.QueryInfoKey(key)[1]):
                    name, value, kind = winreg.EnumValue(key, number)
                    found.append((name, value, TYPES.get(kind, str(kind))))
        except OSError:
            pass
    return found


def key_values(path: str) -> dict[str, Any]:
    """The values of a key by name."""
    return {name: value for name, value, _ in values(path)}


if sys.platform == "win32":

    def _opened(path: str) -> winreg.HKEYType:
        hive, _, below = path.partition("\\")
        if hive not in _HIVES:
            raise FileNotFoundError(path)
        return winreg.OpenKey(_HIVES[hive], below, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY)
