"""The project's own rules, as far as a program can check them: layers, names, docstrings, tests, generated pages."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore import xform_name
from sqlalchemy import Table
from sqlalchemy.sql import Executable, visitors

from fleetward.protocol.api.model import load_service
from fleetward.server import app, errors
from fleetward.server.kms import errors as kms_errors
from fleetward.server.logs import errors as logs_errors
from fleetward.server.resource_groups import errors as resource_groups_errors
from fleetward.server.schema import metadata
from fleetward.server.ssm import errors as ssm_errors
from scripts import generate_docs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fleetward"

# -- what is allowed, as tables: a new line is a changed line in review ------------------------------------------------

PROTOCOL_THIRD_PARTY = {"cryptography"}
"""Lazily only. Below protocol/api, which is the server's: the model's own tools."""
API_THIRD_PARTY = {"botocore", "orjson", "regex"}
DOCUMENT_READERS = {"fleetward/protocol/document"}

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "fleetward/protocol": ("fleetward.protocol",),
    "fleetward/agent": ("fleetward.agent", "fleetward.protocol", "fleetward.__version__"),
    "fleetward/client": ("fleetward.client", "fleetward.protocol", "fleetward.__version__"),
    "fleetward/patching": ("fleetward.patching",),
    "fleetward/server": ("fleetward.server", "fleetward.protocol", "fleetward.__version__"),
    "fleetward/cli": ("fleetward.cli", "fleetward.client", "fleetward.protocol", "fleetward.__version__"),
    "fleetward/testing": ("fleetward",),
}
"""What each part may name. The command line is public API only, but for the commands below."""

STARTS: dict[str, tuple[str, ...]] = {
    "fleetward/cli/agent.py": ("fleetward.agent",),
    "fleetward/cli/join.py": ("fleetward.agent",),
    "fleetward/cli/leave.py": ("fleetward.agent",),
    "fleetward/cli/server.py": ("fleetward.server",),
    "fleetward/cli/server_unit.py": ("fleetward.server", "fleetward.agent.platforms.systemd"),
    "fleetward/cli/ca.py": ("fleetward.server.authority",),
    "fleetward/cli/init.py": ("fleetward.server",),
}
"""Commands that are the program they start, or work on its folder; they import it inside functions only."""

SERVER_ONLY = ("fleetward.protocol.api", "fleetward.protocol.cron", "fleetward.protocol.schedule")

SERVER_LAYERS: dict[str, tuple[str, ...]] = {
    "edge": ("fleetward.server.ssm", "fleetward.server.backends", "fleetward.server.app"),
    "ssm": ("fleetward.server.edge", "fleetward.server.backends", "fleetward.server.app"),
    "services": ("fleetward.server.edge", "fleetward.server.backends", "fleetward.server.app"),
    "backends": ("fleetward.server.edge", "fleetward.server.ssm", "fleetward.server.app"),
    "core": (
        "fleetward.server.edge",
        "fleetward.server.ssm",
        "fleetward.server.backends",
        "fleetward.server.app",
    ),
}
"""What each layer of the server must not name. app.py stands above all and may name everything."""

BESIDE: dict[tuple[str, str], str] = {
    ("fleetward/server/edge/pages.py", "fleetward.server.ssm.run_command.outputs"): "streams outputs to Objects, "
    "then runs the entry that records them",
    **{
        (f"fleetward/server/edge/{name}.py", "fleetward.server.ssm.session_manager"): "carries the bytes of sessions, "
        "runs the entries of their ends"
        for name in ("data_channels", "link", "peer_port", "peers", "recorder", "session", "session_end")
    },
}
"""What a layer names beside itself all the same: (module, module named) -> why."""

SERVICE_MODULES = (
    "sts",
    "s3",
    "ec2messages",
    "ssmmessages",
    "own",
    "kms",
    "logs",
    "resource_groups",
    "ephemeral",
    "sign_ins",
)

ASYNC_ALLOWED: dict[str, str] = {
    "fleetward/server/edge/": "sockets of the server",
    "fleetward/server/backends/bus_": "sockets of the bus",
    "fleetward/server/ports.py": "says that a bus connects",
    "fleetward/server/app.py": "starts and stops what has sockets",
    "fleetward/agent/app.py": "the agent's duties side by side",
    "fleetward/agent/channel.py": "the control channel",
    "fleetward/agent/client.py": "signed calls",
    "fleetward/agent/associations.py": "reads what is released",
    "fleetward/agent/association_reports.py": "tells of associations by calls",
    "fleetward/agent/refresh.py": "steps wait for associations to be read",
    "fleetward/agent/worker.py": "documents side by side",
    "fleetward/agent/platforms/terminal.py": "waits for the programs of sessions",
    "fleetward/agent/platforms/posix_terminal.py": "waits for the programs of sessions",
    "fleetward/agent/platforms/windows_terminal.py": "waits for the programs of sessions",
    "fleetward/agent/sessions/": "streams of sessions",
    "fleetward/agent/http.py": "the sockets of calls",
    "fleetward/agent/websocket.py": "the socket of the channel",
    "fleetward/agent/proxy.py": "the way to a socket through a proxy",
    "fleetward/agent/polling.py": "the channel's other road",
    "fleetward/agent/report.py": "replies leave by either road",
    "fleetward/agent/identity.py": "joins and renews keys by calls",
    "fleetward/agent/trust.py": "asks for the CAs",
    "fleetward/agent/signing.py": "signs in a child process",
    "fleetward/agent/execution.py": "runs a document beside the channel",
    "fleetward/agent/process.py": "waits for programs beside the channel",
    "fleetward/agent/scripts.py": "waits for scripts",
    "fleetward/agent/steps.py": "waits for steps",
    "fleetward/agent/output.py": "uploads what a step printed",
    "fleetward/agent/outputs.py": "hands in what a step printed",
    "fleetward/agent/parameters.py": "reads parameters of Parameter Store",
    "fleetward/agent/cloudwatch_logs.py": "sends what a step printed",
    "fleetward/agent/plugins/": "steps wait for programs and downloads",
    "fleetward/agent/node.py": "what a step may call",
    "fleetward/agent/gate.py": "one call of a kind at a time",
    "fleetward/client/": "sockets of sessions",
    "fleetward/testing/": "drives the others",
    "fleetward/cli/join.py": "calls the agent's joining",
    "fleetward/cli/leave.py": "calls the agent's leaving",
    "fleetward/cli/sessions.py": "runs what the client does",
    "fleetward/cli/tunnel.py": "waits for tunnels",
}

BAD_NAMES = {"utils", "util", "common", "misc", "base", "manager", "managers", "helpers"}

TABLES_OF: dict[str, str] = {
    "fleetward/server/edge/background.py": "timer",
    "fleetward/server/iam/tables.py": "iam",
}
"""Modules whose tables are not called after their own name: the word instead."""

FOREIGN_TABLES: dict[tuple[str, str], str] = {
    ("fleetward/server/mailbox.py", "presence_connections"): "finds what waits for the nodes of one server, by index",
}
"""Statements that read another capability's table: (module, table) -> why."""

WITHOUT_RESOURCES: dict[str, str] = {
    "fleetward:AddRegion": "the store as a whole",
    "fleetward:DescribeHalt": "account and region as a whole",
    "fleetward:DescribeKeys": "the store as a whole",
    "fleetward:Halt": "account and region as a whole",
    "fleetward:ListAccessRequests": "decided as ssm:DescribeOpsItems",
    "fleetward:ListAuditRecords": "account and region as a whole",
    "fleetward:ListCommandOutputs": "decided as ssm:GetCommandInvocation",
    "fleetward:ListRegions": "the store as a whole",
    "fleetward:LocateCommandOutput": "decided as ssm:GetCommandInvocation",
    "fleetward:Resume": "account and region as a whole",
    "fleetward:RetireKeys": "the store as a whole",
    "fleetward:RotateKeys": "the store as a whole",
    "kms:CreateKey": "AWS has no resource type",
    "kms:GenerateRandom": "AWS has no resource type",
    "kms:ListAliases": "AWS has no resource type",
    "kms:ListKeys": "AWS has no resource type",
    "logs:DescribeLogGroups": "AWS has no resource type",
    "logs:ListLogGroups": "AWS has no resource type",
    "iam:CreateAccountAlias": "AWS has no resource type",
    "iam:DeleteAccountAlias": "AWS has no resource type",
    "iam:DeleteAccountPasswordPolicy": "AWS has no resource type",
    "iam:GenerateCredentialReport": "AWS has no resource type",
    "iam:GetAccountAuthorizationDetails": "AWS has no resource type",
    "iam:GetAccountPasswordPolicy": "AWS has no resource type",
    "iam:GetAccountSummary": "AWS has no resource type",
    "iam:GetContextKeysForCustomPolicy": "AWS has no resource type",
    "iam:GetCredentialReport": "AWS has no resource type",
    "iam:ListAccountAliases": "AWS has no resource type",
    "iam:ListGroups": "AWS has no resource type",
    "iam:ListInstanceProfiles": "AWS has no resource type",
    "iam:ListOpenIDConnectProviders": "AWS has no resource type",
    "iam:ListPolicies": "AWS has no resource type",
    "iam:ListRoles": "AWS has no resource type",
    "iam:ListUsers": "AWS has no resource type",
    "iam:ListVirtualMFADevices": "AWS has no resource type",
    "iam:SimulateCustomPolicy": "AWS has no resource type",
    "iam:UpdateAccountPasswordPolicy": "AWS has no resource type",
    "resource-groups:CreateGroup": "AWS has no resource type",
    "resource-groups:ListGroups": "AWS has no resource type",
    "resource-groups:SearchResources": "AWS has no resource type",
    "ssm:CreateActivation": "AWS has no resource type; the role is checked as iam:PassRole",
    "ssm:DeleteActivation": "AWS has no resource type",
    "ssm:DeleteInventory": "AWS has no resource type",
    "ssm:DescribeActivations": "AWS has no resource type",
    "ssm:DescribeInstanceInformation": "AWS has no resource type",
    "ssm:DescribeInstanceProperties": "AWS has no resource type",
    "ssm:DescribeParameters": "decided on all parameters, as AWS does: each caller sees all names or none",
    "ssm:DescribeInventoryDeletions": "AWS has no resource type",
    "ssm:DescribeSessions": "AWS has no resource type",
    "ssm:GetInventory": "AWS has no resource type",
    "ssm:GetInventorySchema": "AWS has no resource type",
    "ssm:ListComplianceItems": "AWS has no resource type",
    "ssm:ListComplianceSummaries": "AWS has no resource type",
    "ssm:ListDocuments": "AWS has no resource type",
    "ssm:ListInventoryEntries": "AWS has no resource type",
    "ssm:ListResourceComplianceSummaries": "AWS has no resource type",
    "ssm:PutInventory": "AWS has no resource type; a node tells about itself alone",
    "sts:GetAccessKeyInfo": "AWS has no resource type",
}

TESTED_BY: dict[str, str] = {
    "fleetward/server/s3/errors.py": "tests/server/edge/s3/test_answers.py",
    "fleetward/agent/chance.py": "tests/agent/test_channel.py",
    "fleetward/agent/execution.py": "tests/agent/test_worker.py",
    "fleetward/agent/gate.py": "tests/agent/test_worker.py",
    "fleetward/agent/node.py": "tests/agent/test_worker.py",
    "fleetward/agent/plugins/refresh_association.py": "tests/agent/test_associations.py",
    "fleetward/agent/refresh.py": "tests/agent/test_associations.py",
    "fleetward/agent/platforms/__init__.py": "tests/agent/platforms/test_linux.py",
    "fleetward/agent/platforms/macos.py": "docs/untested-agent-macos.sh",
    "fleetward/agent/platforms/posix.py": "tests/agent/platforms/test_linux.py",
    "fleetward/agent/platforms/registry.py": "tests/agent/inventory/test_windows_registry.py",
    "fleetward/agent/platforms/windows.py": "docs/untested-agent-windows.ps1",
    "fleetward/agent/platforms/account.py": "tests/agent/platforms/test_posix_accounts.py",
    "fleetward/agent/platforms/posix_terminal.py": "tests/agent/sessions/test_shell.py",
    "fleetward/agent/platforms/terminal.py": "tests/agent/sessions/test_shell.py",
    "fleetward/agent/platforms/windows_terminal.py": "docs/untested-agent-windows.ps1",
    "fleetward/agent/plugins/__init__.py": "tests/agent/test_worker.py",
    "fleetward/agent/scripts.py": "tests/agent/plugins/test_run_shell_script.py",
    "fleetward/agent/sessions/link.py": "tests/agent/sessions/test_supervisor.py",
    "fleetward/agent/sessions/runner.py": "tests/agent/sessions/test_shell.py",
    "fleetward/agent/sessions/sockets.py": "tests/agent/sessions/test_data_channel.py",
    "fleetward/agent/signing.py": "tests/agent/test_identity.py",
    "fleetward/agent/state.py": "tests/agent/test_identity.py",
    "fleetward/agent/steps.py": "tests/agent/test_worker.py",
    "fleetward/client/errors.py": "tests/client/test_api.py",
    "fleetward/client/outage.py": "tests/client/test_shell.py",
    "fleetward/protocol/errors.py": "tests/protocol/test_control_channel.py",
    "fleetward/server/app.py": "tests/test_main_job.py",
    "fleetward/server/backends/clock_system.py": "tests/test_main_job.py",
    "fleetward/server/backends/objects_keys.py": "tests/server/backends/test_objects_folder.py",
    "fleetward/server/call.py": "tests/server/test_jobs.py",
    "fleetward/server/db.py": "tests/server/test_jobs.py",
    "fleetward/server/edge/background.py": "tests/server/test_two_servers.py",
    "fleetward/server/edge/link.py": "tests/server/test_sessions_across_servers.py",
    "fleetward/server/edge/plain_websocket.py": "tests/server/edge/test_connection.py",
    "fleetward/server/edge/reset.py": "tests/server/test_ephemeral.py",
    "fleetward/server/edge/room.py": "tests/server/edge/test_pages.py",
    "fleetward/server/edge/outside.py": "tests/server/iam/test_login_profiles.py",
    "fleetward/server/effects.py": "tests/server/iam/test_login_profiles.py",
    "fleetward/server/errors.py": "tests/test_project.py",
    "fleetward/server/iam/errors.py": "tests/test_project.py",
    "fleetward/server/iam/limits.py": "tests/server/iam/test_attached.py",
    "fleetward/server/iam/owners.py": "tests/server/iam/test_inline.py",
    "fleetward/server/iam/principals.py": "tests/server/test_sts.py",
    "fleetward/server/iam/sign_in.py": "tests/server/test_sign_ins.py",
    "fleetward/server/iam/service.py": "tests/server/iam/test_attached.py",
    "fleetward/server/logging_setup.py": "tests/test_main_job.py",
    "fleetward/server/ports.py": "tests/server/backends/test_store_sqlite.py",
    "fleetward/server/schema.py": "tests/server/backends/test_store_sqlite.py",
    "fleetward/server/service.py": "tests/server/test_jobs.py",
    "fleetward/server/sign_ins/errors.py": "tests/server/edge/test_console.py",
    "fleetward/server/ssm/compliance/table.py": "tests/server/ssm/compliance/test_putting.py",
    "fleetward/server/ssm/errors.py": "tests/test_project.py",
    "fleetward/server/ssm/inventory/filters.py": "tests/server/ssm/inventory/test_listing.py",
    "fleetward/server/ssm/inventory/membership.py": "tests/server/ssm/inventory/test_listing.py",
    "fleetward/server/ssm/inventory/query.py": "tests/server/ssm/inventory/test_listing.py",
    "fleetward/server/ssm/inventory/rows.py": "tests/server/ssm/inventory/test_put.py",
    "fleetward/server/ssm/inventory/served.py": "tests/server/ssm/inventory/test_listing.py",
    "fleetward/server/ssm/inventory/table.py": "tests/server/ssm/inventory/test_put.py",
    "fleetward/server/ssm/inventory/types.py": "tests/server/ssm/inventory/test_listing.py",
    "fleetward/server/ssm/nodes/filters.py": "tests/server/ssm/nodes/test_listing.py",
    "fleetward/server/ssm/nodes/table.py": "tests/server/ssm/nodes/test_registration.py",
    "fleetward/server/ssm/parameter_store/table.py": "tests/server/ssm/parameter_store/test_writing.py",
    "fleetward/server/ssmmessages.py": "tests/server/edge/test_channels.py",
    "fleetward/testing/bus_checks.py": "tests/server/backends/test_bus_local.py",
    "fleetward/testing/objects_checks.py": "tests/server/backends/test_objects_folder.py",
    "fleetward/testing/store_checks.py": "tests/server/backends/test_store_sqlite.py",
}
"""Modules without a test file of their name, and what tries them. To shrink: take a line out, write the file."""

BEING_WRITTEN = (
    "fleetward/server/ssm/run_command/",
    "fleetward/testing/",
)
"""Folders whose tests come with the next slice."""

PAGES_TO_COME = {"docs/benchmarks.md", "docs/untested.md"}

NOT_OF_A_MODULE: dict[str, str] = {
    "tests/test_project.py": "the project as a whole",
    "tests/test_main_job.py": "the first journey with real parts",
    "tests/test_sessions_client.py": "sessions with real parts",
    "tests/server/test_two_servers.py": "two whole servers",
    "tests/server/test_sessions_across_servers.py": "sessions between two whole servers",
}
OF_THE_WHOLE = (
    "tests/api/",
    "tests/bench/",
    "tests/compatibility/",
    "tests/simulation/",
    "tests/golden/",
    "tests/cli/",
)


# -- what there is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """One import: which module or name, and whether inside a function."""

    name: str
    lazy: bool
    line: int


@functools.cache
def tracked() -> tuple[str, ...]:
    """The files that the repository holds, as they are now; in an unpacked archive, all."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return tuple(name for name in done.stdout.splitlines() if (ROOT / name).is_file())
    folders = ("fleetward", "tests", "docs", "scripts", "changes")
    return tuple(
        str(file.relative_to(ROOT))
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    )


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Every module of the package by its path."""
    modules = [name for name in tracked() if name.startswith("fleetward/") and name.endswith(".py")]
    return {name: ast.parse((ROOT / name).read_text()) for name in modules}


@functools.cache
def imports(path: str) -> tuple[Imported, ...]:
    """What a module imports, function-level imports included, those for type checking only left out."""
    tree = sources()[path]
    skipped = {id(node) for block in ast.walk(tree) if _is_for_types(block) for node in ast.walk(block)}
    found = []
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [Imported(alias.name, id(node) in lazy, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += [Imported(f"{node.module}.{alias.name}", id(node) in lazy, node.lineno) for alias in node.names]
    return tuple(found)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or lies below one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def is_third_party(name: str) -> bool:
    """Whether an import is neither ours nor the standard library's."""
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and top != "fleetward"


def part_of(path: str) -> str:
    """`fleetward/agent` of `fleetward/agent/channel.py`."""
    return "/".join(path.split("/")[:2])


def layer_of(path: str) -> str:
    """The layer of a module of the server: edge, ssm, services, backends, core or app."""
    first = path.split("/")[2]
    if first in ("app.py", "migrations"):
        return "app"
    if first in ("edge", "ssm", "backends"):
        return first
    return "services" if first.removesuffix(".py") in SERVICE_MODULES else "core"


def definitions(tree: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public functions and classes of a module and of its public classes, with their dotted names."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for name, inner in definitions(node):
                yield f"{node.name}.{name}", inner


def none(wrong: Iterable[str], reason: str = "not as the rule wants it") -> None:
    """Fail with every finding on a line of its own."""
    if found := sorted(wrong):
        pytest.fail("\n".join([f"{reason}:", *found]), pytrace=False)


# -- who may import whom -----------------------------------------------------------------------------------------------


def test_parts_import_only_what_stands_below_them() -> None:
    wrong = []
    for path in sources():
        allowed = MAY_IMPORT.get(part_of(path))
        for each in imports(path):
            if allowed is None or not within(each.name, "fleetward") or within(each.name, *allowed):
                continue
            if within(each.name, *STARTS.get(path, ())) and each.lazy:
                continue
            wrong.append(f"{path}:{each.line}: {each.name}")
    none(wrong)


def test_protocol_needs_the_standard_library_and_lazily_cryptography() -> None:
    wrong = []
    for path in sources():
        if part_of(path) != "fleetward/protocol":
            continue
        is_api = path.startswith("fleetward/protocol/api/")
        is_servers = path.removesuffix(".py").replace("/", ".") in SERVER_ONLY or is_api
        for each in imports(path):
            top = each.name.partition(".")[0]
            if top == "asyncio" or top == "socket":
                wrong.append(f"{path}:{each.line}: {each.name}: no sockets, no async")
            elif is_third_party(each.name) and not (
                (is_api and top in API_THIRD_PARTY) or (top in PROTOCOL_THIRD_PARTY and each.lazy)
            ):
                wrong.append(f"{path}:{each.line}: {each.name}")
            elif within(each.name, *SERVER_ONLY) and not is_servers:
                wrong.append(f"{path}:{each.line}: {each.name}: for the server alone")
    none(wrong)


def test_the_servers_half_of_the_protocol_is_the_servers() -> None:
    wrong = [
        f"{path}:{each.line}: {each.name}"
        for path in sources()
        if part_of(path) in ("fleetward/agent", "fleetward/client", "fleetward/cli", "fleetward/patching")
        for each in imports(path)
        if within(each.name, *SERVER_ONLY)
    ]
    none(wrong)


def test_layers_of_the_server_name_nothing_above_or_beside_them() -> None:
    wrong = [
        f"{path}:{each.line}: {layer_of(path)} names {each.name}"
        for path in sources()
        if part_of(path) == "fleetward/server" and path.count("/") > 1
        for each in imports(path)
        if within(each.name, *SERVER_LAYERS.get(layer_of(path), ()))
        and not any(path == module and within(each.name, named) for module, named in BESIDE)
    ]
    none(wrong)


def test_only_the_app_names_a_backend() -> None:
    wrong = [
        f"{path}:{each.line}: {each.name}"
        for path in sources()
        if path != "fleetward/server/app.py" and part_of(path) != "fleetward/testing"
        for each in imports(path)
        if within(each.name, "fleetward.server.backends") and not path.startswith("fleetward/server/backends/")
    ]
    none(wrong)


def test_a_capability_calls_only_those_listed_before_it() -> None:
    order = [capability.__name__ for capability in app.CAPABILITIES]
    wrong = []
    for index, name in enumerate(order):
        later = order[index + 1 :]
        folder = name.replace(".", "/")
        for path in sources():
            if path == f"{folder}.py" or path.startswith(f"{folder}/"):
                wrong += [f"{path}:{each.line}: {each.name}" for each in imports(path) if within(each.name, *later)]
    none(wrong)


def test_no_statement_touches_the_tables_of_another_capability() -> None:
    wrong = []
    for path in sources():
        if not path.startswith("fleetward/server/") or layer_of(path) == "app":
            continue
        module = sys.modules.get(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        own = owner_of(path)
        for name, value in vars(module).items() if module else ():
            if not isinstance(value, Executable) or name not in _assigned(sources()[path]):
                continue
            for table in _tables(value):
                if owner_of(_definer(table)) != own and (path, table) not in FOREIGN_TABLES:
                    wrong.append(f"{path}: {name} uses {table}")
    none(wrong)


def _assigned(tree: ast.Module) -> set[str]:
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _tables(statement: Executable) -> set[str]:
    return {element.name for element in visitors.iterate(statement) if isinstance(element, Table)}  # type: ignore[arg-type]


def owner_of(path: str) -> str:
    """The capability that a module of the server belongs to: its file, or its folder below ssm/ or iam/."""
    parts = path.removesuffix(".py").split("/")[2:]
    return "/".join(parts[:2]) if parts[0] in ("ssm", "edge") else parts[0]


# -- tables -----------------------------------------------------------------------------------------------------------


@functools.cache
def _table_files() -> dict[str, str]:
    """The module that defines each table."""
    found = {}
    for path, tree in sources().items():
        for node in ast.walk(tree):
            is_table = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Table"
            if is_table and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                found[str(node.args[0].value)] = path
    return found


def _definer(table: str) -> str:
    return _table_files()[table]


def test_table_names_start_with_their_capabilitys() -> None:
    wrong = []
    for table in metadata.tables:
        path = _definer(table)
        word = TABLES_OF.get(path, owner_of(path).rpartition("/")[2])
        if table != word and not table.startswith(f"{word}_"):
            wrong.append(f"{path}: {table} does not start with {word}")
    none(wrong)


def test_account_and_region_lead_every_key_of_a_tenants_table() -> None:
    whole_store = {
        "presence_servers",
        "timer_leases",
        "key_rotation_states",
        "key_rotation_rings",
        "regions",
        "s3_buckets",
    }
    by_name = {name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()}
    wrong = [name for name, key in by_name.items() if key[:2] != ["account_id", "region"]]
    global_ones = {name for name in wrong if name.startswith(("iam_", "sign_ins"))}
    assert set(wrong) - global_ones == whole_store


# -- async, names, docstrings ------------------------------------------------------------------------------------------


def test_async_lives_where_sockets_are() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if not path.startswith(tuple(ASYNC_ALLOWED))
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    none(wrong)


def test_the_table_of_async_modules_names_only_what_is_there() -> None:
    planned = ("fleetward/client/", "fleetward/agent/sessions/")
    gone = [
        path for path in ASYNC_ALLOWED if path not in planned and not any(name.startswith(path) for name in sources())
    ]
    none(gone)


def test_modules_are_named_after_their_subject() -> None:
    assert [path for path in sources() if BAD_NAMES & set(path.removesuffix(".py").split("/"))] == []


def test_modules_say_in_their_first_line_what_they_are_for() -> None:
    wrong = []
    for path, tree in sources().items():
        text = ast.get_docstring(tree, clean=False) or ""
        first = text.splitlines()[0] if text else ""
        if not first.strip() or first != first.strip() or tree.body[0].lineno != 1:
            wrong.append(path)
    none(wrong)


def test_public_functions_and_classes_have_docstrings() -> None:
    wrong = [
        f"{path}:{node.lineno}: {name}"
        for path, tree in sources().items()
        for name, node in definitions(tree)
        if not ast.get_docstring(node) and not _is_overload(node)
    ]
    none(wrong)


def _is_overload(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in getattr(node, "decorator_list", ()))


# -- tests ------------------------------------------------------------------------------------------------------------


def _test_patterns(path: str) -> list[str]:
    """Where the tests of a module may lie: by its own name, or by that of a package it stands in, beside or inside."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")[1:]
    patterns = []
    for depth in range(len(parts)):
        if depth or len(parts) == 1:
            patterns.append("/".join(["tests", *parts[:depth], f"test_{parts[depth]}"]))
            patterns.append("/".join(["tests", *parts[: depth + 1], f"test_{parts[depth]}"]))
    return patterns


@functools.cache
def _test_files() -> tuple[str, ...]:
    return tuple(name for name in tracked() if re.fullmatch(r"tests/(.+/)?test_\w+\.py", name))


def _has_test(path: str) -> bool:
    return any(_is_test_of(file, pattern) for pattern in _test_patterns(path) for file in _test_files())


def _is_test_of(file: str, pattern: str) -> bool:
    return file == f"{pattern}.py" or (file.startswith(f"{pattern}_") and "/" not in file[len(pattern) :])


def _needs_test(path: str, tree: ast.Module) -> bool:
    """Whether a module has code of its own."""
    name = path.rpartition("/")[2]
    if name == "__main__.py" or part_of(path) in ("fleetward/cli", "fleetward/__init__.py"):
        return False
    if path.startswith("fleetward/server/migrations/"):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.walk(tree))


def test_every_module_has_a_test_file_of_its_name() -> None:
    missing = {path for path, tree in sources().items() if _needs_test(path, tree) and not _has_test(path)}
    none(path for path in missing - set(TESTED_BY) if not path.startswith(BEING_WRITTEN))
    none(path for path in set(TESTED_BY) - missing if path not in sources())
    none((test for test in TESTED_BY.values() if not (ROOT / test).is_file()), "there is no such file")


def test_every_test_file_is_of_a_module() -> None:
    patterns = {pattern for path in sources() for pattern in _test_patterns(path)}
    strays = [
        file
        for file in _test_files()
        if file not in NOT_OF_A_MODULE
        and not file.startswith(OF_THE_WHOLE)
        and not any(_is_test_of(file, pattern) for pattern in patterns)
    ]
    none(strays)


# -- operations and errors --------------------------------------------------------------------------------------------


def test_errors_are_named_like_the_models() -> None:
    shared = {name for name, value in vars(errors).items() if _is_error(value)}
    for service, module in (
        ("ssm", ssm_errors),
        ("kms", kms_errors),
        ("logs", logs_errors),
        ("resource-groups", resource_groups_errors),
    ):
        known = set(load_service(service).errors) | shared
        own = {name for name, value in vars(module).items() if _is_error(value) and value is not errors.AwsError}
        assert own - known == set(), service


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, errors.AwsError)


def test_offered_operations_are_in_their_models() -> None:
    for service in generate_docs.SERVICES:
        assert set(generate_docs.offered(service)) <= set(load_service(service).operations), service


def test_operations_say_what_policies_decide_on() -> None:
    without = {
        f"{service}:{name}"
        for service in generate_docs.SERVICES
        for name, entry in generate_docs.offered(service).items()
        if entry.resources is None
    }
    assert without == set(WITHOUT_RESOURCES)


def test_every_changing_operation_has_a_test_that_observes_its_effect() -> None:
    named = generate_docs.observed()
    wrong = []
    for service in generate_docs.SERVICES:
        tests = named.pop(service, {})
        assert sorted(tests) == generate_docs.changing(service), f"tests/observed.toml, [{service}]"
        wrong += [f"{service}:{name}: {test}" for name, test in tests.items() if not _mentions(test, name)]
    assert named == {}
    none(wrong)


def _mentions(test: str, operation: str) -> bool:
    """Whether a test is there and it, or a function or fixture it leans on, calls the operation."""
    path, _, name = test.partition("::")
    snake = xform_name(operation)
    said = _text_of(path, name)
    return re.search(rf"\b({operation}|{snake})\b", said) is not None


@functools.cache
def _functions(path: str) -> dict[str, str]:
    file = ROOT / path
    if not file.is_file():
        return {}
    text = file.read_text()
    return {
        node.name: "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _text_of(path: str, name: str) -> str:
    """The test's text and that of the functions of its own and the shared test modules that it reaches."""
    folders = [ROOT / path, *(ROOT / path).parents]
    near = [folder / "conftest.py" for folder in folders] + list((ROOT / "tests").glob("*.py"))
    known: dict[str, str] = {}
    for file in near:
        if file.is_file() and file.name != Path(__file__).name:
            known |= _functions(str(file.relative_to(ROOT)))
    known |= _functions(path)
    if name not in _functions(path):
        return ""
    said, waiting = {name: known[name]}, [name]
    while waiting:
        for word in set(re.findall(r"\w+", said[waiting.pop()])) & set(known) - set(said):
            if not word.startswith("test_"):
                said[word] = known[word]
                waiting.append(word)
    return "\n".join(said.values())


# -- pages and packaging ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(generate_docs.PAGES))
def test_generated_pages_are_up_to_date(page: str) -> None:
    written, made = (ROOT / page).read_text(), generate_docs.PAGES[page]()
    if page == "docs/capabilities.md" and generate_docs.models_line() not in written:
        # Another botocore knows other operations; what we offer is the same.
        written, made = _offered_rows(written), _offered_rows(made)
    assert written == made, "run: make docs"


def _offered_rows(page: str) -> str:
    rows = [line for line in page.splitlines() if re.match(r"## |\| \w+ \| .+ \| (reads|changes) \|", line)]
    assert len(rows) > 40
    return "\n".join(rows)


@pytest.mark.parametrize("page", ["README.md", "docs/status.md", "docs/architecture.md", "docs/differences.md"])
def test_pages_that_readers_begin_with_are_there(page: str) -> None:
    assert (ROOT / page).read_text().startswith("# ")


def test_links_between_pages_lead_somewhere() -> None:
    wrong = []
    for page in [name for name in tracked() if name.endswith(".md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            found = ((ROOT / page).parent / target).resolve()
            if "://" not in target and not found.exists() and str(found.relative_to(ROOT)) not in PAGES_TO_COME:
                wrong.append(f"{page}: {target}")
    none(wrong)


def test_notes_of_changes_are_named_by_their_subject_alone() -> None:
    subject = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*\.md")
    notes = [file.name for file in (ROOT / "changes").iterdir()]
    none((name for name in notes if not subject.fullmatch(name)), "not named `subject.md`")


def test_notes_of_changes_are_short() -> None:
    notes = sorted((ROOT / "changes").glob("*"))
    assert notes
    assert [note.name for note in notes if note.suffix != ".md" or len(note.read_text().splitlines()) > 20] == []


def test_make_targets_named_in_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in [name for name in tracked() if name.endswith(".md")]
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)
    }
    assert named
    assert named <= targets


def test_the_wheel_takes_every_file_of_the_package() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built == {"packages": ["fleetward"]} or (set(built) >= {"packages"} and "exclude" not in built)
    data = sorted(str(file.relative_to(ROOT)) for file in PACKAGE.rglob("*") if file.suffix in (".json", ".mako"))
    assert "fleetward/protocol/api/models/ssmmessages.json" in data
    assert "fleetward/server/migrations/script.py.mako" in data
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *data], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == "", "what git ignores the wheel leaves out"


FORBIDDEN: Sequence[tuple[str, str]] = (
    (r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", "unfinished work belongs into an issue"),
    (r"(registry\.npm" + r"js|files\.python" + r"hosted|pypi\.or" + r"g|artifac" + r"tory)", "a registry's host name"),
    (r"(?<![\w.])/(wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Us" + r"ers/\w+)/", "an absolute path of some machine"),
    (r"^(<{7} |>{7} |={7}$)", "a merge that was not finished"),
)
BINARY = {".png", ".ico", ".gz", ".whl", ".zip", ".bin"}


@pytest.mark.parametrize(("pattern", "reason"), FORBIDDEN)
def test_tracked_files_hold_nothing_of_this_machine(pattern: str, reason: str) -> None:
    wanted = re.compile(pattern, re.MULTILINE)
    wrong = []
    for name in tracked():
        if Path(name).suffix in BINARY:
            continue
        text = (ROOT / name).read_text(errors="replace")
        wrong += [f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}" for hit in wanted.finditer(text)]
    none(wrong, reason)
