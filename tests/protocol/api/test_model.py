"""Loading, caching and the recorded contract."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import orjson
import pytest

from fleetward.protocol.api.model import (
    MODELS,
    ServiceModel,
    Shape,
    UnknownOperation,
    load_service,
    operation_digests,
    raw_model,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "api_contract.json"
RECORDED_SERVICES = ("ec2messages", "kms", "logs", "ssm", "ssmmessages", "sts")
NODE_OPERATIONS = {
    "RegisterManagedInstance",
    "RequestManagedInstanceRoleToken",
    "UpdateManagedInstancePublicKey",
    "UpdateInstanceInformation",
    "ListInstanceAssociations",
    "UpdateInstanceAssociationStatus",
    "GetManifest",
    "PutConfigurePackageResult",
}
Load = Callable[[str], ServiceModel]


def test_an_upgrade_of_botocore_does_not_change_the_contract_unseen() -> None:
    found = {service: operation_digests(service) for service in RECORDED_SERVICES}
    if os.environ.get("FLEETWARD_GOLDEN") == "rewrite":
        record = {"botocore": version("botocore"), "operations": found}
        GOLDEN.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    recorded = orjson.loads(GOLDEN.read_bytes())
    changed = [
        f"{service} {operation}"
        for service, digests in recorded["operations"].items()
        for operation, digest in digests.items()
        if found[service].get(operation) != digest
    ]
    assert not changed, (
        f"recorded with botocore {recorded['botocore']}, installed is {version('botocore')}: the contract of"
        f" {', '.join(changed)} changed. Read what changed, then run `make golden`."
    )


@pytest.mark.parametrize("name", ["ssm", "sts", "iam", "kms", "logs", "s3", "cloudformation", "resource-groups"])
def test_every_operation_of_botocore_is_compiled(name: str, load: Load) -> None:
    service = load(name)
    described = raw_model(name)["operations"]
    assert set(service.operations) == set(described)
    for operation in service.operations.values():
        assert (operation.input is None) == ("input" not in described[operation.name])
        assert operation.errors <= set(service.errors)


def test_additions_describe_only_what_botocore_lacks() -> None:
    from botocore.loaders import Loader

    own = orjson.loads((MODELS / "ssm.extra.json").read_bytes())
    theirs = Loader().load_service_model("ssm", "service-2")
    assert set(own["operations"]) == NODE_OPERATIONS
    assert not set(own["operations"]) & set(theirs["operations"])
    assert not set(own["shapes"]) & set(theirs["shapes"])


def test_only_registration_is_unsigned_in_ssm(load: Load) -> None:
    assert {operation.name for operation in load("ssm").operations.values() if operation.unsigned} == {
        "RegisterManagedInstance"
    }
    assert load("sts").operations["AssumeRoleWithWebIdentity"].unsigned


def test_protocol_facts_of_each_service(load: Load) -> None:
    ssm, sts, polling, channels = load("ssm"), load("sts"), load("ec2messages"), load("ssmmessages")
    assert (ssm.protocol, ssm.target_prefix, ssm.json_version, ssm.signing_name) == ("json", "AmazonSSM", "1.1", "ssm")
    assert (sts.protocol, sts.api_version) == ("query", "2011-06-15")
    assert sts.xml_namespace == "https://sts.amazonaws.com/doc/2011-06-15/"
    assert sts.operations["AssumeRole"].output_wrapper == "AssumeRoleResult"
    assert polling.target_prefix == "EC2WindowsMessageDeliveryService"
    assert (channels.protocol, channels.response_protocol) == ("rest-json", "rest-xml")
    assert channels.operations["CreateControlChannel"].status == 201


def test_error_shapes_carry_code_and_status(load: Load) -> None:
    errors = load("ssm").errors
    assert (errors["InvalidInstanceId"].error_code, errors["InvalidInstanceId"].error_status) == (
        "InvalidInstanceId",
        400,
    )
    assert errors["InternalServerError"].error_status == 500
    assert load("sts").errors["MalformedPolicyDocumentException"].error_code == "MalformedPolicyDocument"


def test_shapes_may_contain_themselves(load: Load) -> None:
    shape = load("ssm").operations["GetInventory"].input
    assert shape is not None
    aggregators = shape.members["Aggregators"].shape
    assert aggregators.element is not None
    assert aggregators.element.shape.members["Aggregators"].shape is aggregators


def test_a_damaged_cache_is_compiled_again(tmp_path: Path) -> None:
    def load_fresh() -> ServiceModel:
        return load_service.__wrapped__("sts", tmp_path)

    first = load_fresh()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-10], whole.replace(b"AssumeRole", b"AssumeRule")):
        path.write_bytes(damaged)
        assert set(load_fresh().operations) == set(first.operations)
        assert path.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    assert "GetCallerIdentity" in load_service("sts", in_the_way / "cache").operations


def test_loading_from_the_cache_does_not_import_botocore(tmp_path: Path) -> None:
    load_service("ssm", tmp_path)
    program = (
        "import sys; from pathlib import Path; from fleetward.protocol.api.model import load_service;"
        f"load_service('ssm', Path({str(tmp_path)!r})); sys.exit('botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_models_under_the_users_home_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".aws" / "models" / "sts" / "2099-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_bytes(orjson.dumps({"metadata": {}, "operations": {}, "shapes": {}}))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert raw_model("sts")["metadata"]["apiVersion"] == "2011-06-15"


def test_a_service_nobody_describes_is_refused() -> None:
    with pytest.raises(LookupError, match="no-such-service"):
        load_service("no-such-service")


def test_an_operation_the_model_lacks_is_refused(load: Load) -> None:
    with pytest.raises(UnknownOperation):
        load("ssm").operation("MakeCoffee")


def test_no_shape_keeps_documentation(load: Load) -> None:
    shape = load("ssm").operations["SendCommand"].input
    assert isinstance(shape, Shape)
    assert not hasattr(shape, "documentation")
    assert shape.required == ("DocumentName",)
