"""Outputs and contents in buckets: a real agent of a real server, by the address it knows anyway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.machine import AgentProcess
from tests.serving import ServerProcess, eventually

pytest_plugins = ["tests.serving"]

pytestmark = pytest.mark.slow


@pytest.fixture
def agent(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Any:
    """A real agent of a real server."""
    agent = AgentProcess(start_server(), tmp_path).start()
    yield agent
    agent.end()


def bucket_of(agent: AgentProcess, name: str, *actions: str) -> Any:
    """A bucket in which the nodes' role may do these things; the client of S3."""
    s3 = agent.server.client("s3")
    s3.create_bucket(Bucket=name)
    resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    agent.server.client("iam").put_role_policy(RoleName="SSMServiceRole", PolicyName=name, PolicyDocument=policy)
    return s3


def test_output_lands_in_the_bucket_that_the_command_names(agent: AgentProcess) -> None:
    place = {"OutputS3BucketName": "outputs", "OutputS3KeyPrefix": "of/runs"}
    assert agent.result(agent.send("echo no bucket", **place))["Status"] == "Success"
    s3 = bucket_of(agent, "outputs", "s3:PutObject", "s3:PutObjectAcl")

    def is_allowed() -> bool:  # a role's policies are remembered for a second
        agent.result(agent.send("echo probe", OutputS3BucketName="outputs", OutputS3KeyPrefix="probe"))
        return bool(s3.list_objects_v2(Bucket="outputs", Prefix="probe").get("Contents"))

    eventually(is_allowed)
    command_id = agent.send("seq 1 20000", "echo wrong >&2", **place)
    told = agent.result(command_id)
    folder = f"of/runs/{command_id}/{agent.node_id}/awsrunShellScript/0.awsrunShellScript"
    assert told["StandardOutputUrl"].endswith(f"/outputs/{folder}/stdout")
    kept = {each["Key"] for each in s3.list_objects_v2(Bucket="outputs", Prefix="of/")["Contents"]}
    assert kept == {f"{folder}/stdout", f"{folder}/stderr"}
    whole = s3.get_object(Bucket="outputs", Key=f"{folder}/stdout")["Body"].read()
    assert whole == b"".join(b"%d\n" % number for number in range(1, 20001))
    plugin = agent.server.client("ssm").list_command_invocations(CommandId=command_id, Details=True)
    (step,) = plugin["CommandInvocations"][0]["CommandPlugins"]
    assert step["OutputS3BucketName"] == "outputs"
    assert step["OutputS3KeyPrefix"] == folder.rpartition("/")[0]


def test_a_remote_script_is_fetched_from_a_bucket_alone_or_with_its_folder(agent: AgentProcess) -> None:
    s3 = bucket_of(agent, "scripts", "s3:GetObject", "s3:ListBucket")
    s3.put_object(Bucket="scripts", Key="run/hello world.sh", Body=b"echo from s3 $1\n")
    s3.put_object(Bucket="scripts", Key="run/lib/more.txt", Body=b"more\n")
    s3.put_object(Bucket="scripts", Key="other/x", Body=b"x")

    def run(address: str, line: str) -> dict[str, Any]:
        info = [json.dumps({"path": address})]
        parameters = {"sourceType": ["S3"], "sourceInfo": info, "commandLine": [line]}
        sent = agent.send(document="AWS-RunRemoteScript", parameters=parameters)
        return agent.result(sent, "runShellScript")

    aws = "https://s3.us-east-1.amazonaws.com/scripts"
    eventually(lambda: run(f"{aws}/run/hello%20world.sh", "sh 'hello world.sh' one")["ResponseCode"] == 0)
    assert run(f"{aws}/run/hello%20world.sh", "sh 'hello world.sh' one")["StandardOutputContent"] == "from s3 one\n"
    told = run(f"{agent.server.url}/scripts/run/", "sh 'hello world.sh' two; cat lib/more.txt; ls")
    assert told["StandardOutputContent"].splitlines()[:2] == ["from s3 two", "more"]
    assert "x" not in told["StandardOutputContent"].splitlines()
