"""Packages of Red Hat, SUSE and their kin, by rpm."""

from __future__ import annotations

from fleetward.agent.inventory.programs import printed_by
from fleetward.agent.inventory.rows import Row, architecture, iso, row

TAGS = ("NAME", "VENDOR", "VERSION", "RELEASE", "EPOCH", "INSTALLTIME", "GROUP", "ARCH", "URL", "SOURCERPM", "SUMMARY")
FORMAT = "\\t".join(f"%{{{tag}}}" for tag in TAGS) + "\\n"
_NONE = "(none)"


def installed() -> list[Row]:
    """What rpm has installed; none where there is no rpm."""
    printed = printed_by("rpm", "-qa", "--queryformat", FORMAT)
    return read(printed) if printed is not None else []


def read(printed: str) -> list[Row]:
    """The rows of rpm's lines."""
    rows = []
    for line in printed.splitlines():
        fields = line.split("\t", len(TAGS) - 1)
        if len(fields) < len(TAGS):
            continue
        tag = {name: "" if value == _NONE else value for name, value in zip(TAGS, fields, strict=True)}
        rows.append(
            row(
                {
                    "Name": tag["NAME"],
                    "Publisher": tag["VENDOR"],
                    "Version": tag["VERSION"],
                    "Architecture": architecture(tag["ARCH"]),
                },
                {
                    "Release": tag["RELEASE"],
                    "Epoch": tag["EPOCH"],
                    "ApplicationType": tag["GROUP"],
                    "InstalledTime": iso(int(tag["INSTALLTIME"])) if tag["INSTALLTIME"].isdecimal() else "",
                    "URL": tag["URL"],
                    "Summary": tag["SUMMARY"],
                    "PackageId": tag["SOURCERPM"],
                },
            )
        )
    return rows
