"""Roles for whom an identity provider vouches: keys are asked for once, tokens and trust are checked strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from tests.identities import allow, fresh, keys_of, new_role, refusal, refused, trust
from tests.identity_provider import IdentityProvider
from tests.serving import ACCOUNT, REGION, ServerProcess, eventually
from tests.trail import bodies, trail

ACTION = "sts:AssumeRoleWithWebIdentity"


@pytest.fixture
def stranger(serving: ServerProcess) -> Any:
    """A client of STS without keys."""
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.client("sts", endpoint_url=serving.url, verify=str(serving.ca), region_name=REGION, config=config)


@pytest.fixture
def idp(iam: Any) -> Iterator[IdentityProvider]:
    """A provider that the account trusts for the audience `app`."""
    made = IdentityProvider()
    iam.create_open_id_connect_provider(Url=made.issuer, ClientIDList=["app"])
    yield made
    made.close()
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn_of(made))


def arn_of(provider: IdentityProvider) -> str:
    """The provider's ARN."""
    return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider.host}"


def role_for(server: ServerProcess, provider: IdentityProvider, **condition: str) -> str:
    """A role for those of the provider whose claims fit; it may list nodes."""
    tests = {"StringLike": {f"{provider.host}:{name}": value for name, value in condition.items()}}
    more = {"Condition": tests} if condition else {}
    return new_role(server, trust({"Federated": arn_of(provider)}, ACTION, **more), allow("ssm:ListNodes"))


def assume(stranger: Any, arn: str, token: str, **members: Any) -> Any:
    """The call."""
    return stranger.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="web", WebIdentityToken=token, **members)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_tokens_bearer_gets_the_role(
    serving: ServerProcess, stranger: Any, idp: IdentityProvider, algorithm: str
) -> None:
    arn = role_for(serving, idp, sub="alice", aud="app")
    made = assume(stranger, arn, idp.token(algorithm))
    assert (made["SubjectFromWebIdentityToken"], made["Audience"], made["Provider"]) == ("alice", "app", arn_of(idp))
    keys = keys_of(made)
    assert serving.call("ListNodes", {}, keys).status == 200
    assert serving.call("ListDocuments", {}, keys).code == "AccessDeniedException"
    assert serving.client("sts", keys).get_caller_identity()["Arn"] == made["AssumedRoleUser"]["Arn"]


def test_the_providers_keys_are_remembered_and_new_ones_are_asked_for_once_a_minute(
    serving: ServerProcess, stranger: Any, idp: IdentityProvider
) -> None:
    arn = role_for(serving, idp)
    for _ in range(3):
        assume(stranger, arn, idp.token())
    assert idp.asked == ["/.well-known/openid-configuration", "/keys"]
    idp.publish("new", "two")
    for _ in range(2):
        assert refusal(lambda: assume(stranger, arn, idp.token(key_id="new"))) == "InvalidIdentityToken"
    assert len(idp.asked) == 2


Change = Callable[[IdentityProvider], str]


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (lambda idp: idp.token(sub="mallory"), "AccessDenied"),
        (lambda idp: idp.token(aud="other"), "InvalidIdentityToken"),
        (lambda idp: idp.token(iss="https://elsewhere.example.com"), "InvalidIdentityToken"),
        (lambda idp: idp.token(iss=idp.issuer.replace("https", "http")), "InvalidIdentityToken"),
        (lambda idp: idp.token(exp=1), "ExpiredTokenException"),
        (lambda idp: idp.token(nbf=2**36), "InvalidIdentityToken"),
        (lambda idp: idp.token()[:-8] + "AAAAAAAA", "InvalidIdentityToken"),
        (lambda idp: idp.token(key_id="unknown"), "InvalidIdentityToken"),
        (lambda idp: "no.token.here", "InvalidIdentityToken"),
    ],
    ids=range(9),
)
def test_other_tokens_are_refused(
    serving: ServerProcess, stranger: Any, idp: IdentityProvider, token: Change, code: str
) -> None:
    arn = role_for(serving, idp, sub="alice")
    found, status, _ = refused(lambda: assume(stranger, arn, token(idp)))
    assert (found, 400 <= status < 500) == (code, True)


def test_roles_that_do_not_trust_the_provider_are_not_assumed(
    serving: ServerProcess, stranger: Any, idp: IdentityProvider
) -> None:
    other = new_role(serving, trust({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/other.example.com"}, ACTION))
    for arn in (other, f"arn:aws:iam::{ACCOUNT}:role/ReadOnly", f"arn:aws:iam::{ACCOUNT}:role/Nobody"):
        assert refusal(lambda arn=arn: assume(stranger, arn, idp.token())) == "AccessDenied"


def test_a_provider_that_fails_is_said_to_and_asked_again(
    serving: ServerProcess, stranger: Any, idp: IdentityProvider
) -> None:
    arn = role_for(serving, idp)
    idp.says("/keys", b"", 500)
    code, _, message = refused(lambda: assume(stranger, arn, idp.token()))
    assert (code, "HTTP 500" in message) == ("IDPCommunicationError", True)
    idp.says("/.well-known/openid-configuration", {"issuer": "https://else.example.com", "jwks_uri": idp.issuer})
    assert refusal(lambda: assume(stranger, arn, idp.token())) == "InvalidIdentityToken"
    idp.says("/.well-known/openid-configuration", {"issuer": idp.issuer, "jwks_uri": f"{idp.issuer}/keys"})
    idp.publish("one", "two")
    assert assume(stranger, arn, idp.token())["Credentials"]


def test_a_deleted_provider_vouches_for_nobody(serving: ServerProcess, stranger: Any, iam: Any) -> None:
    made = IdentityProvider()
    iam.create_open_id_connect_provider(Url=made.issuer, ClientIDList=["app"])
    arn = role_for(serving, made)
    assert assume(stranger, arn, made.token())
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn_of(made))
    assert refusal(lambda: assume(stranger, arn, made.token())) == "InvalidIdentityToken"
    made.close()


def test_tokens_stand_in_no_audit_record(serving: ServerProcess, stranger: Any, idp: IdentityProvider) -> None:
    arn, token = role_for(serving, idp), idp.token(jti=fresh())
    assume(stranger, arn, token)
    assert [record for record in trail(serving, arn, least=1) if record["eventName"] == "AssumeRoleWithWebIdentity"]
    assert not [body for body in bodies(serving) if token in body or token.split(".")[2] in body]
    assert eventually(lambda: token not in serving.log.read_text())
