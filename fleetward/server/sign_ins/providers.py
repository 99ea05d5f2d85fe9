"""OIDC providers that people sign in with, as the operator's file names them; which claim gives which role.

[[provider]]
name = "corp"                                  # in URLs
title = "Corporate account"                    # on buttons
issuer = "https://login.example.com"
client_id = "fleetward"
client_secret_file = "/etc/fleetward/corp"     # or client_secret_env = "CORP_SECRET"; neither: a public client
scopes = ["openid", "email", "groups"]
session_name = "email"                         # claim that names the sessions

[[provider.role]]                              # the first that fits counts
claim = "groups"
value = "operators"
role = "arn:aws:iam::123456789012:role/Operator"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetward.server.settings import SettingsFault

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
ROLE = re.compile(r"arn:aws:iam::\d{12}:role/[!-~]{1,576}", re.ASCII)
MEMBERS = {
    "name": str,
    "title": str,
    "issuer": str,
    "client_id": str,
    "client_secret_file": str,
    "client_secret_env": str,
    "scopes": list,
    "session_name": str,
    "role": list,
}


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Who has this text in this claim, or among its texts, gets the role; without a claim everybody does."""

    claim: str
    value: str
    role: str

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether a person with these claims gets the role."""
        found = claims.get(self.claim)
        return not self.claim or found == self.value or (isinstance(found, list) and self.value in found)


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider."""

    name: str
    title: str
    issuer: str
    client_id: str
    secret: str = field(repr=False)
    scopes: tuple[str, ...]
    session_name: str
    roles: tuple[RoleRule, ...]

    def role_of(self, claims: Mapping[str, Any]) -> str:
        """The ARN of the role that claims give; empty for none."""
        return next((rule.role for rule in self.roles if rule.fits(claims)), "")


def load(file: str, environment: Mapping[str, str] = os.environ) -> dict[str, Provider]:
    """The providers of a file by their names; SettingsFault names what cannot be used."""
    if not file:
        return {}
    try:
        told = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as fault:
        raise SettingsFault(f"cannot read the providers' file {file}: {fault.strerror}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise SettingsFault(f"the providers' file {file} is not valid TOML: {fault}") from fault
    listed = told.get("provider")
    if set(told) != {"provider"} or not isinstance(listed, list):
        raise SettingsFault(f"the providers' file {file} holds [[provider]] tables and nothing else")
    found = [_provider(each, environment) for each in listed]
    if len({each.name for each in found}) < len(found):
        raise SettingsFault(f"two providers of {file} have the same name")
    return {each.name: each for each in found}


def _provider(told: Mapping[str, Any], environment: Mapping[str, str]) -> Provider:
    name = str(told.get("name", ""))
    if not NAME.fullmatch(name):
        raise SettingsFault("each provider has a name of lower-case letters, digits and hyphens")
    for member, value in told.items():
        if member not in MEMBERS or not isinstance(value, MEMBERS[member]):
            raise SettingsFault(f"provider {name}: {member} is not a member, or of the wrong type")
    issuer, client_id = told.get("issuer", ""), told.get("client_id", "")
    if not issuer.startswith("https://") or not client_id:
        raise SettingsFault(f"provider {name}: issuer (https://…) and client_id are wanted")
    scopes = tuple(str(each) for each in told.get("scopes", ["openid", "email"]))
    if "openid" not in scopes:
        raise SettingsFault(f"provider {name}: scopes have to hold openid")
    rules = tuple(_rule(name, each) for each in told.get("role", []))
    if not rules:
        raise SettingsFault(f"provider {name}: at least one [[provider.role]] is wanted")
    secret = _secret(name, told, environment)
    session_name = told.get("session_name", "email")
    return Provider(name, told.get("title", name), issuer, client_id, secret, scopes, session_name, rules)


def _rule(name: str, told: Any) -> RoleRule:
    fits = isinstance(told, dict) and all(isinstance(value, str) for value in told.values())
    if not fits or set(told) not in ({"role"}, {"claim", "value", "role"}) or not ROLE.fullmatch(told["role"]):
        raise SettingsFault(f"provider {name}: a role table has role, an ARN, and may have claim and value")
    return RoleRule(told.get("claim", ""), told.get("value", ""), told["role"])


def _secret(name: str, told: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    file, variable = told.get("client_secret_file", ""), told.get("client_secret_env", "")
    if file and variable:
        raise SettingsFault(f"provider {name}: give client_secret_file or client_secret_env, not both")
    if variable:
        if not environment.get(variable):
            raise SettingsFault(f"provider {name}: the variable {variable} is not set")
        return environment[variable]
    if not file:
        return ""
    try:
        if Path(file).stat().st_mode & 0o077:
            raise SettingsFault(f"provider {name}: {file} is readable by others; run: chmod 600 {file}")
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise SettingsFault(f"provider {name}: cannot read {file}: {fault.strerror}") from fault
