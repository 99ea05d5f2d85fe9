"""The AWS profile of a login, in the shared configuration file: `aws` and the SDKs find endpoint, CA and us there."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from fleetward.cli.failure import Failure

HEADER = re.compile(r"\s*\[\s*(.*?)\s*\]")
OURS = ("region", "endpoint_url", "ca_bundle", "credential_process")


def config_file() -> Path:
    """The shared configuration file."""
    return Path(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser()


def credentials_file() -> Path:
    """The shared credentials file, whose keys go before ours."""
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()


def process_of(profile: str) -> str:
    """The command that `aws` runs for keys."""
    return shlex.join([_program(), "login", "--credentials", profile])


def _program() -> str:
    beside = Path(sys.executable).with_name("fleetward")
    return str(beside) if beside.exists() else shutil.which("fleetward") or "fleetward"


def check(profile: str) -> None:
    """Failure when the profile has keys of its own, which `aws` would use instead of ours."""
    for file, section in ((credentials_file(), profile), (config_file(), section_of(profile))):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(file, encoding="utf-8")
        except configparser.Error as fault:
            raise Failure(f"{file} cannot be read: {fault.message}") from fault
        if parser.has_option(section, "aws_access_key_id"):
            raise Failure(f"the profile {profile} has keys of its own in {file}; choose another with --profile")


def read(profile: str) -> dict[str, str]:
    """What the configuration file says of a profile."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(config_file(), encoding="utf-8")
    except configparser.Error:
        return {}
    section = section_of(profile)
    return dict(parser.items(section)) if parser.has_section(section) else {}


def section_of(profile: str) -> str:
    """How the configuration file calls a profile."""
    return "default" if profile == "default" else f"profile {profile}"


def write(profile: str, settings: Mapping[str, str]) -> None:
    """Put our settings into the profile; other profiles, settings and comments stay as they are."""
    file = config_file()
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    _replace(file, changed(before, section_of(profile), settings))


def remove(profile: str) -> None:
    """Take our settings out of the profile again, if it is one of ours."""
    file = config_file()
    if file.exists() and read(profile).get("credential_process") == process_of(profile):
        _replace(file, changed(file.read_text(encoding="utf-8"), section_of(profile), {}))


def changed(text: str, section: str, settings: Mapping[str, str]) -> str:
    """A configuration file's text with these of our settings, and no others of ours, in one section."""
    if any(not value.isprintable() for value in settings.values()):
        raise Failure("a setting of the profile has characters that a configuration file cannot hold")
    lines, start, end = text.splitlines(), -1, -1
    for number, line in enumerate(lines):
        header = HEADER.match(line)
        if header is not None and start < 0 and header[1].split() == section.split():
            start = number
        elif header is not None and start >= 0 and end < 0:
            end = number
    ours = [f"{name} = {settings[name]}" for name in OURS if settings.get(name)]
    if start < 0:
        gap = [""] if lines and lines[-1].strip() else []
        added = [*gap, f"[{section}]", *ours] if ours else []
        return "".join(f"{line}\n" for line in [*lines, *added])
    end = len(lines) if end < 0 else end
    kept = [line for line in lines[start + 1 : end] if line.partition("=")[0].strip().lower() not in OURS]
    body = [lines[start], *ours, *kept] if ours or any(line.strip() for line in kept) else []
    return "".join(f"{line}\n" for line in [*lines[:start], *body, *lines[end:]])


def _replace(file: Path, text: str) -> None:
    target = file.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    fresh = target.with_name(f"{target.name}.fleetward-{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(target)
