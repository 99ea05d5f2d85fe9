"""AWS:Application: equal to what dpkg says of this machine; databases and property lists of other systems."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from fleetward.agent.inventory import application
from fleetward.agent.inventory.application import macos_bundles, macos_receipts, pacman, windows_installer


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this machine has no dpkg")
def test_applications_equal_what_dpkg_says() -> None:
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = sorted(line.split()[1:] for line in said.stdout.splitlines() if line.startswith("installed "))
    found = application.gather()
    assert sorted([each["Name"], each["Version"]] for each in found if each.get("PackageId", "").endswith(".deb")) == (
        installed
    )
    assert all(each["InstalledTime"] for each in found if each.get("PackageId", "").endswith(".deb"))


def test_every_package_of_pacman_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bash-5.2.037-5", "zlib-1:1.3.1-2"):
        package, version, release = name.rsplit("-", 2)
        (tmp_path / name).mkdir()
        (tmp_path / name / "desc").write_text(
            f"%NAME%\n{package}\n\n%VERSION%\n{version}-{release}\n\n%ARCH%\nx86_64\n"
        )
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "desc").write_text("%NA")
    monkeypatch.setattr(pacman, "DATABASE", tmp_path)
    found = [(each["Name"], each.get("Epoch"), each["Version"], each["Release"]) for each in pacman.installed()]
    assert found == [("bash", None, "5.2.037", "5"), ("zlib", "1", "1.3.1", "2")]


def test_programs_of_windows_are_those_that_can_be_removed() -> None:
    values = {
        "DisplayName": "7-Zip 24.09 (x64)",
        "DisplayVersion": "24.09",
        "Publisher": "Igor Pavlov",
        "InstallDate": "20261104",
        "EstimatedSize": 5750,
    }
    assert windows_installer.read("7-Zip", values, "x86_64") == {
        "Name": "7-Zip 24.09 (x64)",
        "Publisher": "Igor Pavlov",
        "Version": "24.09",
        "Architecture": "x86_64",
        "InstalledTime": "2026-11-04T00:00:00Z",
        "PackageId": "7-Zip",
    }
    assert windows_installer.read("KB1", values | {"ParentKeyName": "Office"}, "x86_64") is None
    assert windows_installer.read("part", values | {"SystemComponent": 1}, "x86_64") is None
    assert windows_installer.read("nameless", {}, "i386") is None


def test_bundles_of_macos_are_found_in_folders_and_below(tmp_path: Path) -> None:
    for place, version in (("Safari.app", "17.1"), ("Utilities/Terminal.app", "2.14"), ("a/b/c/Deep.app", "1")):
        contents = tmp_path / place / "Contents"
        contents.mkdir(parents=True)
        (contents / "Info.plist").write_bytes(
            plistlib.dumps(
                {"CFBundleIdentifier": f"com.apple.{Path(place).stem}", "CFBundleShortVersionString": version},
                fmt=plistlib.FMT_BINARY,
            )
        )
    (tmp_path / "Broken.app" / "Contents").mkdir(parents=True)
    (tmp_path / "Broken.app" / "Contents" / "Info.plist").write_text("<plist")
    found = macos_bundles.installed([tmp_path, tmp_path / "none"])
    assert [(each["Name"], each["Version"], each["Publisher"]) for each in found] == [
        ("Safari", "17.1", "Apple"),
        ("Terminal", "2.14", "Apple"),
    ]


def test_receipts_of_macos_say_when_a_package_came(tmp_path: Path) -> None:
    receipt = {
        "PackageIdentifier": "com.example.tool",
        "PackageVersion": "3.1",
        "PackageFileName": "tool.pkg",
        "InstallDate": datetime(2026, 11, 4, 10, 30),
    }
    (tmp_path / "com.example.tool.plist").write_bytes(plistlib.dumps(receipt))
    (tmp_path / "broken.plist").write_bytes(b"\x00")
    assert macos_receipts.installed(tmp_path) == [
        {
            "Name": "com.example.tool",
            "Publisher": "",
            "Version": "3.1",
            "Architecture": "",
            "ApplicationType": "package",
            "InstalledTime": "2026-11-04T10:30:00Z",
            "PackageId": "tool.pkg",
        }
    ]
