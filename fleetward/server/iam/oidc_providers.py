"""OIDC providers: who else may vouch for callers, and the keys that they sign their tokens with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam import limits, names, tags
from fleetward.server.iam.errors import (
    EntityAlreadyExistsException,
    InvalidInputException,
    LimitExceededException,
    NoSuchEntityException,
)
from fleetward.server.iam.service import iam, request_conditions
from fleetward.server.iam.tables import oidc_providers
from fleetward.server.schema import Json

ARN = re.compile(r"arn:aws:iam::(\d{12}):oidc-provider/([!-~]{1,255})", re.ASCII)
HOST_AND_PATH = re.compile(r"[a-z0-9.-]+(?::\d{1,5})?(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
THUMBPRINT = re.compile(r"[0-9a-fA-F]{40}")
MOST_THUMBPRINTS = 5

ADD = insert(oidc_providers)
_THIS = (oidc_providers.c.account_id == bindparam("account"), oidc_providers.c.url == bindparam("of_url"))
PROVIDER = select(oidc_providers).where(*_THIS)
ALL = select(oidc_providers.c.account_id, oidc_providers.c.url).where(
    oidc_providers.c.account_id == bindparam("account")
)
COUNT = select(func.count()).select_from(oidc_providers).where(oidc_providers.c.account_id == bindparam("account"))
SET_CLIENTS = update(oidc_providers).where(*_THIS).values(client_ids=bindparam("to_list", type_=Json))
SET_THUMBPRINTS = update(oidc_providers).where(*_THIS).values(thumbprints=bindparam("to_list", type_=Json))
SET_KEYS = update(oidc_providers).where(*_THIS).values(keys=bindparam("to_keys", type_=Json), keys_at=bindparam("now"))
REMOVE = delete(oidc_providers).where(*_THIS)
SET_TAGS = tags.set_tags(oidc_providers, "url")


def arn_of(account: str, url: str) -> str:
    """The ARN of a provider; `url` without https://."""
    return f"arn:aws:iam::{account}:oidc-provider/{url}"


def look_up(call: Call, account: str, url: str) -> Row[Any] | None:
    """The provider of an account whose tokens name this issuer, without https://; None when it has none."""
    return call.db.first(PROVIDER, account=account, of_url=url)


def find(call: Call, arn: str) -> Row[Any]:
    """A provider's row; NoSuchEntity, or InvalidInput for what is no ARN of one."""
    parsed = ARN.fullmatch(arn)
    if parsed is None:
        raise InvalidInputException(f"Invalid ARN: {arn}")
    row = look_up(call, parsed[1], parsed[2]) if parsed[1] == call.account else None
    if row is None:
        raise NoSuchEntityException(f"OpenIDConnect Provider not found for arn {arn}")
    return row


def keep_keys(call: Call, row: Row[Any], keys: Sequence[Mapping[str, Any]]) -> None:
    """Remember the keys that a provider publishes."""
    call.db.run(SET_KEYS, {"account": row.account_id, "of_url": row.url, "to_keys": keys, "now": call.now})


def checked_url(url: str) -> str:
    """An issuer's URL without https://. Ours: a port is allowed, as providers in one's own network have one."""
    try:
        parts = urlsplit(url)
        bare = parts.scheme == "https" and not (parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        bare = False
    rest = url.removeprefix("https://").rstrip("/")
    if not bare or len(rest) > 255 or not HOST_AND_PATH.fullmatch(rest):
        raise InvalidInputException("Invalid Open ID Connect Provider URL: https, host, path, and nothing else.")
    return rest


def _checked_thumbprints(listed: Sequence[str]) -> list[str]:
    if len(listed) > MOST_THUMBPRINTS:
        raise InvalidInputException(f"Thumbprint list must contain fewer than {MOST_THUMBPRINTS} entries.")
    if not all(THUMBPRINT.fullmatch(each) for each in listed):
        raise InvalidInputException("A thumbprint is the SHA-1 of a certificate: 40 hex digits.")
    return [each.lower() for each in listed]


def resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the provider named, with its tags."""
    arn = request["OpenIDConnectProviderArn"]
    parsed = ARN.fullmatch(arn)
    row = look_up(call, call.account, parsed[2]) if parsed is not None and parsed[1] == call.account else None
    return (Resource(arn, row.tags if row is not None else None),)


def _new_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(arn_of(call.account, checked_url(request["Url"]))),)


@iam.operation("CreateOpenIDConnectProvider", resources=_new_resource, conditions=request_conditions)
def create_open_id_connect_provider(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Trust a provider's tokens for some audiences; roles then say which of them may assume them."""
    url = checked_url(request["Url"])
    if look_up(call, call.account, url) is not None:
        raise EntityAlreadyExistsException(f"Provider with url https://{url} already exists.")
    limits.check(call, "OpenIdConnectProvidersPerAccount", COUNT)
    clients = list(dict.fromkeys(request.get("ClientIDList", ())))
    if len(clients) > limits.QUOTAS["ClientIdsPerOpenIdConnectProvider"]:
        raise LimitExceededException("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100")
    content = names.tag_mapping(request.get("Tags", ()))
    row = {
        "account_id": call.account,
        "url": url,
        "client_ids": clients,
        "thumbprints": _checked_thumbprints(request.get("ThumbprintList", ())),
        "tags": content,
        "created_at": names.now(call),
    }
    call.db.run(ADD, row)
    return {"OpenIDConnectProviderArn": arn_of(call.account, url), **names.tagged(content)}


@iam.operation("GetOpenIDConnectProvider", resources=resource, reads=True)
def get_open_id_connect_provider(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A provider with its audiences and thumbprints."""
    row = find(call, request["OpenIDConnectProviderArn"])
    return {
        "Url": row.url,
        "ClientIDList": row.client_ids,
        "ThumbprintList": row.thumbprints,
        "CreateDate": row.created_at,
        **names.tagged(row.tags),
    }


@iam.operation("ListOpenIDConnectProviders", reads=True)
def list_open_id_connect_providers(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The providers of the account."""
    rows = sorted(call.db.all(ALL, account=call.account), key=lambda row: str(row.url))
    return {"OpenIDConnectProviderList": [{"Arn": arn_of(row.account_id, row.url)} for row in rows]}


def _set(call: Call, row: Row[Any], statement: Any, listed: Sequence[str]) -> dict[str, Any]:
    call.db.run(statement, {"account": row.account_id, "of_url": row.url, "to_list": list(listed)})
    return {}


@iam.operation("UpdateOpenIDConnectProviderThumbprint", resources=resource)
def update_open_id_connect_provider_thumbprint(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Other thumbprints. Ours: recorded; which certificates are trusted, the setting fetch_ca says."""
    row = find(call, request["OpenIDConnectProviderArn"])
    return _set(call, row, SET_THUMBPRINTS, _checked_thumbprints(request["ThumbprintList"]))


@iam.operation("AddClientIDToOpenIDConnectProvider", resources=resource)
def add_client_id_to_open_id_connect_provider(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One audience more; adding it again changes nothing."""
    row, client = find(call, request["OpenIDConnectProviderArn"]), request["ClientID"]
    if client not in row.client_ids:
        limits.exceeded("ClientIdsPerOpenIdConnectProvider", len(row.client_ids))
    return _set(call, row, SET_CLIENTS, list(dict.fromkeys([*row.client_ids, client])))


@iam.operation("RemoveClientIDFromOpenIDConnectProvider", resources=resource)
def remove_client_id_from_open_id_connect_provider(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """One audience less; removing one that is not there changes nothing."""
    row = find(call, request["OpenIDConnectProviderArn"])
    return _set(call, row, SET_CLIENTS, [each for each in row.client_ids if each != request["ClientID"]])


@iam.operation("DeleteOpenIDConnectProvider", resources=resource)
def delete_open_id_connect_provider(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Trust a provider no longer, if it was; sessions that it vouched for go on until they end."""
    try:
        row = find(call, request["OpenIDConnectProviderArn"])
    except NoSuchEntityException:  # API reference: the operation is idempotent
        return {}
    call.db.run(REMOVE, {"account": row.account_id, "of_url": row.url})
    return {}


tags.register(tags.Carrier("OpenIDConnectProvider", "OpenIDConnectProviderArn", find, find, resource, "url", SET_TAGS))
