"""Fleetward's own operations, for what AWS's API has no word for: trust, halting, outputs, audit, keys, regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from fleetward.server import audit, key_rotation, kms, regions
from fleetward.server.call import Call, Resource
from fleetward.server.iam import principals
from fleetward.server.jobs import Job, Next
from fleetward.server.s3 import content
from fleetward.server.service import Service
from fleetward.server.sign_ins import federation, listing, sessions, tries
from fleetward.server.ssm import just_in_time_access, nodes, session_manager
from fleetward.server.ssm.errors import InvocationDoesNotExist
from fleetward.server.ssm.just_in_time_access import answering
from fleetward.server.ssm.run_command import commands, outputs, reverts

own = Service("fleetward")

SEALED = (*principals.SEALED, *kms.SEALED, *content.SEALED, *session_manager.SEALED)
"""Every sealed column, as its capability declares it."""


def _itself(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(call.caller.arn),)


@own.operation("Leave", resources=_itself, audience="node", signature="rsa", action="ssm:DeregisterManagedInstance")
def leave(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The calling node deregisters itself."""
    return nodes.registration.deregister_managed_instance(call, {"InstanceId": call.caller.node_id})


def _node(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (nodes.table.tagged(call, request["InstanceId"]),)


@own.operation("DescribeNodeTrust", reads=True, resources=_node, action="ssm:DescribeInstanceInformation")
def describe_node_trust(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a node's fingerprint waits for approval, or the node is quarantined, and why."""
    return nodes.registration.trust_of(call, request["InstanceId"])


@own.operation("ApproveNode", resources=_node, action="ssm:UpdateManagedInstanceRole")
def approve_node(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Accept a changed fingerprint."""
    nodes.approve_fingerprint(call, request["InstanceId"])
    return nodes.registration.trust_of(call, request["InstanceId"])


@own.operation("ReleaseNode", resources=_node, action="ssm:UpdateManagedInstanceRole")
def release_node(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a quarantine: whoever holds the key now is the node."""
    nodes.release(call, request["InstanceId"])
    return nodes.registration.trust_of(call, request["InstanceId"])


@own.operation("RotateNodeKey", resources=_node, action="ssm:UpdateManagedInstanceRole")
def rotate_node_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the node make a new key when it next asks for credentials."""
    nodes.request_key_rotation(call, request["InstanceId"])
    return nodes.registration.trust_of(call, request["InstanceId"])


@own.operation("ListAuditRecords", reads=True, action="cloudtrail:LookupEvents")
def list_audit_records(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sealed audit records behind `After`, in order, each with the hash that chains it to the one before."""
    rows = audit.after(call, request.get("After", 0), request.get("MaxResults", 500))
    return {"Records": [{"Sequence": row.sequence, "Hash": row.hash, "Body": row.body} for row in rows]}


@own.operation("AddRegion", action="account:EnableRegion")
def add_region(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Serve one more region."""
    regions.add(call, request["RegionName"])
    return list_regions(call, {})


@own.operation("ListRegions", reads=True, action="account:ListRegions")
def list_regions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The regions that are served, the default first; those of the settings say neither when nor by whom."""
    return {
        "Regions": [
            {"RegionName": name} | ({"AddedAt": at, "AddedBy": by} if at is not None else {})
            for name, at, by in regions.listed(call)
        ]
    }


@own.operation("Halt", action="ssm:CancelCommand")
def halt(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Hold every command back that is not on its node yet, in this account and region."""
    return commands.halt(call, request.get("Reason", ""))


@own.operation("Resume", action="ssm:SendCommand")
def resume(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Let commands go again."""
    commands.resume(call)
    return {}


@own.operation("DescribeHalt", reads=True, action="ssm:ListCommands")
def describe_halt(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether commands are held back."""
    halted = commands.halted(call)
    return {"Halted": halted is not None, **(halted or {})}


@own.operation(
    "PutCommandOutput", reads=True, resources=_itself, audience="node", action="ec2messages:SendReply", audit=False
)
def put_command_output(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the calling node may hand in this stream in full; the edge then stores what it sends."""
    outputs.expected(call, request)
    return {}


@own.operation("ConfirmSequence", resources=_itself, audience="node", action="ec2messages:SendReply", audit=False)
def confirm_sequence(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """How many commands the calling node is known to have accepted; more than it says: it was set back."""
    return {"Sequence": reverts.confirm(call, call.caller.node_id, request["Sequence"])}


@own.operation("ListCommandOutputs", reads=True, action="ssm:GetCommandInvocation")
def list_command_outputs(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Which streams of an invocation are kept in full."""
    return {"Outputs": outputs.listed(call, request["CommandId"], request["InstanceId"])}


@own.operation("LocateCommandOutput", reads=True, action="ssm:GetCommandInvocation")
def locate_command_output(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Where one stream lies; the edge reads it from there."""
    found = outputs.find(call, request["CommandId"], request["InstanceId"], request["Step"], request["Stream"])
    if found is None:
        raise InvocationDoesNotExist("No full output is kept of this stream; see GetCommandInvocation.")
    return {"Key": found[0], "Size": found[1]}


@own.operation(
    "DescribeSession", reads=True, resources=session_manager.starting.the_session, action="ssm:DescribeSessions"
)
def describe_session(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A session in full: where a tunnel led, how much went through it, how it ended and by whom."""
    return session_manager.listing.describe(call, request)


@own.operation(
    "LocateSessionRecording",
    reads=True,
    resources=session_manager.starting.the_session,
    action="ssm:GetSessionRecording",
)
def locate_session_recording(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Where the recorded screen of a session lies; the edge reads it from there."""
    return session_manager.recordings.locate(call, request)


@own.operation("RotateKeys", action="kms:RotateKeyOnDemand")
def rotate_keys(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a new master key seal from now on, and rows wrapped anew in the background."""
    key_rotation.rotate(call)
    return key_rotation.describe(call)


@own.operation("RetireKeys", action="kms:ScheduleKeyDeletion")
def retire_keys(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have master keys removed that came before the one in use; backups sealed with them open no more."""
    key_rotation.retire(call, at_once=request.get("AtOnce", False))
    return key_rotation.describe(call)


@own.operation("DescribeKeys", reads=True, action="kms:DescribeKey")
def describe_keys(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Which master key is in use, which servers have which, and how far a rotation is."""
    return key_rotation.describe(call)


@own.operation("ListSignIns", reads=True, resources=listing.users, action="iam:ListSignIns")
def list_sign_ins(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Who is signed in to the console or a command line: since when, from where, until when."""
    return listing.listed(call, request)


@own.operation("RevokeSignIn", resources=listing.owner, action="iam:RevokeSignIn")
def revoke_sign_in(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a sign-in; within a second no server takes its keys."""
    return listing.revoke(call, request)


@own.operation("ListAccessRequests", reads=True, action="ssm:DescribeOpsItems")
def list_access_requests(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Requests for access to nodes: all, one's own, or those that wait for the caller's answer."""
    return just_in_time_access.listing.listed(call, request)


@own.operation("ApproveAccessRequest", resources=answering.the_run, action="ssm:SendAutomationSignal")
def approve_access_request(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Approve a request whose policy names the caller."""
    return _shown(call, answering.approve(call, request))


@own.operation("RejectAccessRequest", resources=answering.the_run, action="ssm:SendAutomationSignal")
def reject_access_request(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a request whose policy names the caller."""
    return _shown(call, answering.reject(call, request))


@own.operation("RevokeAccess", resources=answering.the_run, action="ssm:SendAutomationSignal")
def revoke_access(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """End a request or the access that it gave; within a second its keys and sessions end."""
    return _shown(call, answering.revoke(call, request))


def _shown(call: Call, row: Row[Any]) -> dict[str, Any]:
    return just_in_time_access.listing.shapes(call, [row])[0]


@own.timer(every=timedelta(minutes=10))
def forget_sign_ins(call: Call) -> None:
    """Remove sign-ins that are over, and tries that no longer count."""
    sessions.forget(call)
    federation.forget(call)
    tries.forget(call)


@own.job(key_rotation.ROTATION)
def rotate_ring(call: Call, job: Job) -> Next:
    """Bring a new master key into use."""
    return key_rotation.rotation(call, job, SEALED)


@own.job(key_rotation.RETIREMENT)
def retire_old_keys(call: Call, job: Job) -> Next:
    """Remove master keys that nothing needs any more."""
    return key_rotation.retirement(call, job, SEALED)
