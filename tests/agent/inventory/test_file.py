"""AWS:File: equal to a scan; patterns, recursion, links, and the limits of files and folders."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.inventory import file
from fleetward.agent.inventory.rows import GatherFault


def gather(path: Path | str, *patterns: str, **members: Any) -> list[str]:
    """The paths that one filter chooses."""
    asked = {"Path": str(path), **({"Pattern": list(patterns)} if patterns else {}), **members}
    return [f"{each['InstalledDir']}/{each['Name']}" for each in file.gather(json.dumps([asked]))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.conf", "b.conf", "c.txt", "one/d.conf", "one/two/e.conf", "one/two/f.txt"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return tmp_path / "tree"


def test_files_equal_a_scan(tree: Path) -> None:
    scanned = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(tree)
        for name in names
        if fnmatch(name, "*.conf") or fnmatch(name, "f.*")
    )
    assert sorted(gather(tree, "*.conf", "f.*", Recursive=True)) == scanned
    assert len(scanned) == 5


def test_without_recursion_only_the_folder_itself_is_scanned(tree: Path) -> None:
    assert gather(tree) == [f"{tree}/a.conf", f"{tree}/b.conf", f"{tree}/c.txt"]
    assert gather(tree, "*.conf", Recursive="false") == [f"{tree}/a.conf", f"{tree}/b.conf"]
    assert gather(tree / "none", Recursive=True) == []


def test_a_file_chosen_twice_is_listed_once(tree: Path) -> None:
    asked = [{"Path": str(tree), "Pattern": ["a.*"]}, {"Path": str(tree), "Pattern": ["*.conf"]}]
    assert [each["Name"] for each in file.gather(json.dumps(asked))] == ["a.conf", "b.conf"]


def test_rows_say_size_and_times(tree: Path) -> None:
    os.utime(tree / "a.conf", (1_795_000_000, 1_795_378_039))
    (row,) = file.gather(json.dumps([{"Path": str(tree), "Pattern": ["a.conf"]}]))
    assert {name: row[name] for name in ("Name", "Size", "InstalledDir", "ModificationTime", "LastAccessTime")} == {
        "Name": "a.conf",
        "Size": "6",
        "InstalledDir": str(tree),
        "ModificationTime": "2026-11-22T20:07:19Z",
        "LastAccessTime": "2026-11-18T11:06:40Z",
    }


def test_links_lead_nowhere(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.conf").write_text("x")
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / "round").symlink_to(tree)
    (tree / "secret.conf").symlink_to(tmp_path / "outside" / "secret.conf")
    assert not [path for path in gather(tree, "*.conf", Recursive=True) if "secret" in path]
    assert len(gather(tree, Recursive=True)) == 6


def test_variables_name_one_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREE", str(tree))
    for path in ("$TREE/one", "${TREE}/one", "%TREE%/one"):
        assert gather(path) == [f"{tree}/one/d.conf"]
    monkeypatch.setenv("TREE", os.pathsep.join([str(tree), "/tmp"]))
    with pytest.raises(GatherFault, match="several folders"):
        gather("$TREE")
    with pytest.raises(GatherFault, match="not set"):
        gather("$NO_SUCH_VARIABLE")


def test_the_five_hundred_and_first_file_is_a_fault(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number}").touch()
    assert len(gather(tmp_path)) == 500
    (tmp_path / "500").touch()
    with pytest.raises(GatherFault, match="more than 500 files"):
        gather(tmp_path)


def test_folders_are_counted(tree: Path) -> None:
    assert len(gather(tree, Recursive=True, DirScanLimit=3)) == 6
    with pytest.raises(GatherFault, match="2 folders were scanned"):
        gather(tree, Recursive=True, DirScanLimit=2)
    for wrong in (5001, -1, "many", True):
        with pytest.raises(GatherFault, match="DirScanLimit"):
            gather(tree, DirScanLimit=wrong)


@pytest.mark.parametrize("asked", ["", "{}", '"x"', "[1]", "[{}]", '[{"Path": ""}]', '[{"Path": "/", "Pattern": 5}]',
                                   "[" * 100_000, json.dumps([{"Path": "/none"}] * 101)])  # fmt: skip
def test_filters_that_are_none_are_faults(asked: str) -> None:
    with pytest.raises(GatherFault):
        file.gather(asked)
