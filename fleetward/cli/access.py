"""`fleetward access`: ask for access to nodes just in time, answer those who ask, take access away."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fleetward.cli.api import Api

program = typer.Typer(no_args_is_help=True, help="Access to nodes for which one asks: requests, answers, keys.")
RequestId = Annotated[str, typer.Argument(help="Id of the request, oi-…")]
Comment = Annotated[str, typer.Option(help="For the one who asked, and for the audit.")]
WAIT_SECONDS = 2.0


@program.command("list")
def list_(
    show_all: Annotated[bool, typer.Option("--all", help="All requests of the account.")] = False,
    own: Annotated[bool, typer.Option("--own", help="Those that you made.")] = False,
    status: Annotated[str, typer.Option(help="Pending, Approved, Rejected, Revoked or Expired.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the requests that wait for your answer, the newest first."""
    from fleetward.cli.api import Api
    from fleetward.cli.failure import Failure

    if show_all and own:
        raise Failure("give either --all or --own", 2)
    asked = {"View": "All" if show_all else "Own" if own else "ToAnswer", **({"Status": status} if status else {})}
    found = _all(Api(), asked)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for each in found:
        print("\n".join(_lines(each)))


@program.command("request")
def request(
    node_ids: Annotated[list[str], typer.Argument(help="Ids of the nodes, mi-…")],
    reason: Annotated[str, typer.Option(help="Why.")],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is answered; 1 unless it was approved.")] = False,
) -> None:
    """Ask for access to nodes; prints the id of the request."""
    from fleetward.cli.api import Api

    api = Api()
    targets = [{"Key": "InstanceIds", "Values": node_ids}]
    request_id = api.ssm("StartAccessRequest", {"Reason": reason, "Targets": targets})["AccessRequestId"]
    print(request_id, flush=True)
    if wait:
        _wait(api, request_id)


@program.command("keys")
def keys(request_id: RequestId) -> None:
    """Print the keys of an approved request as a `credential_process` of the AWS configuration does."""
    from datetime import UTC, datetime

    from fleetward.cli.api import Api
    from fleetward.cli.failure import Failure

    answer = Api().ssm("GetAccessToken", {"AccessRequestId": request_id})
    found = answer.get("Credentials")
    if found is None:
        raise Failure(f"{_plain(request_id)} gives no keys: {answer['AccessRequestStatus']}")
    until = datetime.fromtimestamp(found["ExpirationTime"], UTC)
    told = {name: found[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    print(json.dumps({"Version": 1, **told, "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}"}))


@program.command("approve")
def approve(request_id: RequestId, comment: Comment = "") -> None:
    """Approve a request whose policy names you."""
    _answer("ApproveAccessRequest", request_id, comment)


@program.command("reject")
def reject(request_id: RequestId, comment: Comment = "") -> None:
    """Refuse a request whose policy names you."""
    _answer("RejectAccessRequest", request_id, comment)


@program.command("revoke")
def revoke(request_id: RequestId, comment: Comment = "") -> None:
    """Take access away; within a second its keys are worth nothing and its sessions end."""
    _answer("RevokeAccess", request_id, comment)


def _answer(operation: str, request_id: str, comment: str) -> None:
    from fleetward.cli.api import Api

    asked = {"AccessRequestId": request_id, **({"Comment": comment} if comment else {})}
    print("\n".join(_lines(Api().call(operation, asked))))


def _wait(api: Api, request_id: str) -> None:
    from fleetward.cli.failure import Failure

    while (status := api.ssm("GetAccessToken", {"AccessRequestId": request_id})["AccessRequestStatus"]) == "Pending":
        time.sleep(WAIT_SECONDS)
    if status != "Approved":
        raise Failure(f"{_plain(request_id)} was not approved: {status}")


def _all(api: Api, asked: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = api.call("ListAccessRequests", asked)
        found += answer["AccessRequests"]
        if not answer.get("NextToken"):
            return found
        asked["NextToken"] = answer["NextToken"]


def _lines(each: Mapping[str, Any]) -> list[str]:
    """A request as people read it."""
    until = {"Pending": ("AnswerBy", "answer by"), "Approved": ("AccessUntil", "until")}.get(each["Status"])
    when = f", {until[1]} {_local(each[until[0]])}" if until else ""
    lines = [
        f"{each['AccessRequestId']}  {each['Status']}{when}  {' '.join(each['InstanceIds'])}",
        f"    {_plain(each['Requester'])}, {_local(each['CreatedAt'])}: {_plain(each['Reason'])}",
    ]
    for number, level in enumerate(each.get("Levels", ()), start=1):
        names = ", ".join(f"{approver['Type']} {_plain(approver['Name'])}" for approver in level["Approvers"])
        lines.append(f"    level {number}: {level['Approvals']} of {level['MinimumApprovals']} of {names}")
    for answer in each.get("Answers", ()):
        said = f": {_plain(answer['Comment'])}" if "Comment" in answer else ""
        lines.append(f"    {answer['Answer']} by {_plain(answer['Arn'])}, {_local(answer['At'])}{said}")
    return lines


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _plain(text: str) -> str:
    from fleetward.client.errors import plain

    return plain(text).replace("\n", "?")
