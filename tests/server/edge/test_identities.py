"""Identities: credentials that end do so at once."""

from __future__ import annotations

import json
import subprocess
import time

from fleetward.protocol.sigv4 import Credentials
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually


def test_a_deregistered_nodes_keys_end_within_a_second(serving: ServerProcess) -> None:
    """Temporary keys by their epoch, the node's own key because there is no such node."""
    node = serving.join(1)
    assert node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).status == 200
    assert serving.call("DeregisterManagedInstance", {"InstanceId": node.node_id}, serving.root).status == 200
    since = time.monotonic()
    assert node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).status != 200
    eventually(
        lambda: node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).code == "ExpiredTokenException",
        within=1.0,
    )
    assert time.monotonic() - since < 1.0
    eventually(
        lambda: (
            node.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "first"}).code
            == "UnrecognizedClientException"
        ),
        within=1.5,
    )


def test_a_changed_key_counts_at_once(serving: ServerProcess) -> None:
    """The new key signs; the one before is good for changing the key alone."""
    from tests.serving import Node, private_key, public_text

    node = serving.join(1)
    fresh = Node(serving, node.node_id, private_key(7))
    request = {"NewPublicKey": public_text(fresh.key), "NewPublicKeyType": "Rsa"}
    assert node.by_key("UpdateManagedInstancePublicKey", request).status == 200
    assert fresh.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "first"}).status == 200
    assert node.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "first"}).code == "AccessDeniedException"
    assert node.by_key("UpdateManagedInstancePublicKey", request).status == 200


def test_keys_expire(start_server: StartServer) -> None:
    """A token past its time; the node asks for another and goes on."""
    server = start_server(node_token_lifetime=1)
    node = server.join(1)
    expired = eventually(lambda: node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).code)
    assert expired == "ExpiredTokenException"
    node.renew()
    assert node.call("UpdateInstanceInformation", {"InstanceId": node.node_id}).status == 200


def test_temporary_credentials_survive_a_restart_and_end_with_a_new_root_key(start_server: StartServer) -> None:
    """They are sealed, not stored; `init --reset-root` ends root's former key and every session of it."""
    server = start_server()
    made = server.client("sts").get_session_token()["Credentials"]
    session = Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])
    server.kill()
    server.start()
    assert server.call("ListNodes", {}, session).status == 200
    server.stop()
    command = [str(FLEETWARD), "init", "--data", str(server.data), "--json", "--reset-root"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    shown = json.loads(done.stdout)
    former = server.root
    server.start()
    assert server.call("ListNodes", {}, session).code == "ExpiredTokenException"
    assert server.call("ListNodes", {}, former).code == "UnrecognizedClientException"
    server.forget_root()
    assert server.root == Credentials(shown["access_key_id"], shown["secret_access_key"])
    assert server.call("ListNodes", {}, server.root).status == 200
