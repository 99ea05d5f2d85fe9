"""OIDC providers: named by their issuer, with audiences, thumbprints and tags."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identities import fresh, refusal, refused
from tests.serving import ACCOUNT


def test_a_provider_is_made_shown_changed_and_deleted(iam: Any) -> None:
    host = f"{fresh('idp').lower()}.example.com/realms/one"
    made = iam.create_open_id_connect_provider(Url=f"https://{host}", ClientIDList=["a"], ThumbprintList=["A" * 40])
    one = {"OpenIDConnectProviderArn": made["OpenIDConnectProviderArn"]}
    assert one["OpenIDConnectProviderArn"] == f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"
    assert refusal(iam.create_open_id_connect_provider, Url=f"https://{host}") == "EntityAlreadyExists"
    iam.add_client_id_to_open_id_connect_provider(**one, ClientID="b")
    iam.add_client_id_to_open_id_connect_provider(**one, ClientID="b")
    iam.remove_client_id_from_open_id_connect_provider(**one, ClientID="a")
    iam.update_open_id_connect_provider_thumbprint(**one, ThumbprintList=["b" * 40])
    iam.tag_open_id_connect_provider(**one, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.untag_open_id_connect_provider(**one, TagKeys=["a"])
    shown = iam.get_open_id_connect_provider(**one)
    assert (shown["Url"], shown["ClientIDList"], shown["ThumbprintList"]) == (host, ["b"], ["b" * 40])
    assert shown["Tags"] == iam.list_open_id_connect_provider_tags(**one)["Tags"] == [{"Key": "b", "Value": "2"}]
    listed = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert one["OpenIDConnectProviderArn"] in [each["Arn"] for each in listed]
    for _ in range(2):
        iam.delete_open_id_connect_provider(**one)
    assert refused(iam.get_open_id_connect_provider, **one)[:2] == ("NoSuchEntity", 404)


@pytest.mark.parametrize(
    "url",
    ["http://idp.example.com", "https://", "https://user@idp.example.com", "https://idp.example.com?a=b", "x" * 20],
)
def test_urls_of_no_issuer_are_refused(iam: Any, url: str) -> None:
    assert refused(iam.create_open_id_connect_provider, Url=url)[:2] == ("InvalidInput", 400)


def test_thumbprints_are_hashes(iam: Any) -> None:
    url = f"https://{fresh('idp').lower()}.example.com"
    for listed in (["x" * 40], ["a" * 40] * 6):
        assert refusal(iam.create_open_id_connect_provider, Url=url, ThumbprintList=listed) == "InvalidInput"
