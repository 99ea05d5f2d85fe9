"""The `aws` command on buckets and objects: `aws s3` as people use it, and `aws s3api` for every operation."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # awscli has no stubs

from fleetward.server.s3.capabilities import s3 as service
from tests.api.test_aws_command import Aws, aws  # noqa: F401  (a fixture)
from tests.calls_s3 import S3_CALLS, Shelf

MIB = 1024 * 1024


def run(*arguments: str, code: int = 0) -> str:
    """What `aws` prints."""
    output, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaints):
        ended = create_clidriver().main(list(arguments))
    assert ended == code, f"aws {' '.join(arguments)}: {output.getvalue()} {complaints.getvalue()}"
    return output.getvalue() + complaints.getvalue()


def test_files_go_up_and_down_and_folders_are_kept_alike(aws: Aws, tmp_path: Path) -> None:  # noqa: F811
    assert "make_bucket: from-aws" in run("s3", "mb", "s3://from-aws")
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / "deep" / "er").mkdir(parents=True)
    contents = {"a.txt": b"hello", "deep/b ü.bin": os.urandom(9 * MIB), "deep/er/empty": b""}
    for name, body in contents.items():
        (source / name).write_bytes(body)
    run("s3", "sync", str(source), "s3://from-aws/tree", "--no-progress")
    assert run("s3", "sync", str(source), "s3://from-aws/tree", "--no-progress") == ""
    listed = run("s3", "ls", "s3://from-aws/tree/", "--recursive", "--summarize")
    assert "Total Objects: 3" in listed
    assert "PRE deep/" in run("s3", "ls", "s3://from-aws/tree/")
    run("s3", "cp", "s3://from-aws/tree", str(copy), "--recursive", "--no-progress")
    assert {name: (copy / name).read_bytes() for name in contents} == contents
    run("s3", "cp", "s3://from-aws/tree/deep/b ü.bin", "s3://from-aws/again", "--no-progress")
    run("s3", "mv", "s3://from-aws/again", str(tmp_path / "moved"), "--no-progress")
    assert (tmp_path / "moved").read_bytes() == contents["deep/b ü.bin"]
    (source / "a.txt").unlink()
    assert "delete:" in run("s3", "sync", str(source), "s3://from-aws/tree", "--delete", "--no-progress")
    assert "BucketNotEmpty" in run("s3", "rb", "s3://from-aws", code=1)
    run("s3", "rb", "s3://from-aws", "--force")
    assert "NoSuchBucket" in run("s3", "ls", "s3://from-aws", code=255)


def test_a_link_that_aws_presigns_opens(aws: Aws, tmp_path: Path) -> None:  # noqa: F811
    run("s3", "mb", "s3://presigned-by-aws")
    file = tmp_path / "f"
    file.write_bytes(b"hello")
    run("s3", "cp", str(file), "s3://presigned-by-aws/f", "--no-progress")
    link = run("s3", "presign", "s3://presigned-by-aws/f", "--expires-in", "60").strip()
    server = aws.stage.server
    answer = server.send("GET", link.removeprefix(server.url), b"", {}, None, service="s3")
    assert (answer.status, answer.body) == (200, b"hello")
    run("s3", "rb", "s3://presigned-by-aws", "--force")


COMMANDS = {"ListObjectsV2": "list-objects-v2"}


def command_of(operation: str) -> str:
    """`put-bucket-cors` for PutBucketCors, as the command line spells it."""
    from botocore import xform_name

    return COMMANDS.get(operation) or xform_name(operation, "-")


@pytest.mark.parametrize("operation", sorted(service.operations))
def test_the_aws_command_drives_every_operation(
    aws: Aws,  # noqa: F811
    s3: Any,
    tmp_path: Path,
    operation: str,
) -> None:
    request = dict(S3_CALLS[operation](Shelf(s3)))
    arguments: list[str] = []
    if "Body" in request:
        (tmp_path / "body").write_bytes(request.pop("Body"))
        arguments += ["--body", str(tmp_path / "body")]
    if operation == "GetObject":
        arguments += ["--bucket", request["Bucket"], "--key", request["Key"], str(tmp_path / "out")]
    else:
        arguments += ["--cli-input-json", json.dumps(request)]
    run("s3api", command_of(operation), *arguments)
    if operation == "GetObject":
        assert (tmp_path / "out").read_bytes() == b"hello"
