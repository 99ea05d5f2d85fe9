"""AWS:File: files by path and pattern; more than 500 files or 5,000 folders are an error for the whole type."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fleetward.agent import platforms
from fleetward.agent.inventory.filters import expand, flag, read_filters, texts
from fleetward.agent.inventory.programs import objects_of_powershell
from fleetward.agent.inventory.rows import GatherFault, Row, iso, row

MOST_FILES = 500
MOST_FOLDERS = 5000

VERSIONS = (
    "$input | ForEach-Object { $v=(Get-Item -LiteralPath $_).VersionInfo; [pscustomobject]@{ Path=$_; "
    "Description=$v.FileDescription; FileVersion=$v.FileVersion; ProductName=$v.ProductName; "
    "CompanyName=$v.CompanyName; ProductVersion=$v.ProductVersion; ProductLanguage=$v.Language } }"
)


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files of which folder."""

    path: str
    patterns: tuple[str, ...]
    is_recursive: bool
    most_folders: int


def gather(asked: str) -> list[Row]:
    """The files that the filters choose."""
    found = find(map(read_filter, read_filters(asked)))
    versions = _versions(found) if platforms.current().platform_type == "Windows" else {}
    return [file_row(path, status, versions.get(path, {})) for path, status in found.items()]


def read_filter(found: Mapping[str, Any]) -> FileFilter:
    """One filter, its variables put in."""
    limit = found.get("DirScanLimit")
    if limit is not None and (isinstance(limit, bool) or not str(limit).isdecimal() or int(limit) > MOST_FOLDERS):
        raise GatherFault(f"DirScanLimit must be a number up to {MOST_FOLDERS}")
    return FileFilter(
        str(Path(expand(str(found["Path"]))).absolute()),
        tuple(texts(found, "Pattern")),
        flag(found, "Recursive"),
        int(limit) if limit is not None else MOST_FOLDERS,
    )


def find(filters: Iterable[FileFilter]) -> dict[str, os.stat_result]:
    """The files by path, each once. Links are neither entered nor listed: nothing outside a folder is found in it."""
    found: dict[str, os.stat_result] = {}
    folders = 0
    for each in filters:
        for scanned, (folder, entries) in enumerate(_folders(each), 1):
            folders += 1
            if scanned > each.most_folders or folders > MOST_FOLDERS:
                raise GatherFault(f"{min(each.most_folders, MOST_FOLDERS)} folders were scanned, {folder} is too many")
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and _is_wanted(entry.name, each.patterns):
                    found[entry.path] = entry.stat(follow_symlinks=False)
            if len(found) > MOST_FILES:
                raise GatherFault(f"the filters choose more than {MOST_FILES} files")
    return found


def file_row(path: str, status: os.stat_result, version: Mapping[str, Any]) -> Row:
    """The row of one file; only Windows knows `version`."""
    folder, name = os.path.split(path)
    born = getattr(status, "st_birthtime", None)
    return row(
        {
            "Name": name,
            "Size": status.st_size,
            "ModificationTime": iso(status.st_mtime),
            "LastAccessTime": iso(status.st_atime),
            "InstalledDir": folder,
        },
        {
            "InstalledDate": iso(born) if born else "",
            **{name: value for name, value in version.items() if name != "Path"},
        },
    )


def _folders(wanted: FileFilter) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Each folder with what is in it; folders that cannot be read have nothing in them."""
    waiting = [wanted.path]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            continue
        yield folder, entries
        if wanted.is_recursive:
            waiting += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name fits a pattern; without patterns every name does. On Windows case makes no difference."""
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns)


def _versions(paths: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    objects = objects_of_powershell(VERSIONS, given="\n".join(paths))
    return {str(each.get("Path")): each for each in objects}
