"""Service settings: defaults, choices, ids and ARNs."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm import service_settings
from fleetward.server.ssm.errors import ServiceSettingNotFound

TIER = service_settings.ACTIVATION_TIER


@pytest.mark.parametrize("setting_id", service_settings.KNOWN)
def test_every_setting_has_its_default_until_somebody_chooses(world: Any, setting_id: str) -> None:
    setting = world.call("GetServiceSetting", {"SettingId": setting_id})["ServiceSetting"]
    assert setting["Status"] == "Default"
    assert setting["SettingValue"] == service_settings.KNOWN[setting_id].default
    assert setting["ARN"] == f"arn:aws:ssm:us-east-1:123456789012:servicesetting{setting_id}"


def test_a_choice_holds_until_it_is_reset_and_says_who_made_it(world: Any) -> None:
    for chosen in ("standard", "advanced", "standard"):
        world.call("UpdateServiceSetting", {"SettingId": TIER, "SettingValue": chosen})
        setting = world.call("GetServiceSetting", {"SettingId": TIER})["ServiceSetting"]
        assert (setting["SettingValue"], setting["Status"]) == (chosen, "Customized")
    assert setting["LastModifiedUser"] == "arn:aws:iam::123456789012:root"
    assert setting["LastModifiedDate"] == world.clock.now()
    assert world.do(lambda call: service_settings.value(call, TIER)) == "standard"
    reset = world.call("ResetServiceSetting", {"SettingId": TIER})["ServiceSetting"]
    assert (reset["SettingValue"], reset["Status"]) == ("advanced", "Default")


def test_the_arn_does_as_well_as_the_id(world: Any) -> None:
    arn = world.call("GetServiceSetting", {"SettingId": TIER})["ServiceSetting"]["ARN"]
    world.call("UpdateServiceSetting", {"SettingId": arn, "SettingValue": "standard"})
    assert world.call("GetServiceSetting", {"SettingId": arn})["ServiceSetting"]["SettingId"] == TIER
    assert world.do(lambda call: service_settings.value(call, TIER)) == "standard"


@pytest.mark.parametrize(
    "setting_id", ["/ssm/unknown", f"arn:aws:ssm:us-east-1:210987654321:servicesetting{TIER}", "arn:aws:x", "x"]
)
def test_unknown_settings_are_refused(world: Any, setting_id: str) -> None:
    for operation in ("GetServiceSetting", "ResetServiceSetting"):
        with pytest.raises(ServiceSettingNotFound):
            world.call(operation, {"SettingId": setting_id})
    with pytest.raises(ServiceSettingNotFound):
        world.call("UpdateServiceSetting", {"SettingId": setting_id, "SettingValue": "x"})


def test_values_outside_a_closed_set_are_refused(world: Any) -> None:
    with pytest.raises(ValidationException, match="standard, advanced"):
        world.call("UpdateServiceSetting", {"SettingId": TIER, "SettingValue": "premium"})


def test_iam_decides_on_the_setting(world: Any) -> None:
    arn = f"arn:aws:ssm:us-east-1:123456789012:servicesetting{TIER}"
    role = world.as_role({"Effect": "Allow", "Action": "ssm:GetServiceSetting", "Resource": arn})
    world.call("GetServiceSetting", {"SettingId": TIER}, role)
    with pytest.raises(AccessDeniedException):
        world.call("GetServiceSetting", {"SettingId": "/ssm/opsinsights/opscenter"}, role)


def test_settings_belong_to_one_account_and_region(world: Any) -> None:
    world.call("UpdateServiceSetting", {"SettingId": TIER, "SettingValue": "standard"})
    elsewhere = world.call("GetServiceSetting", {"SettingId": TIER}, account=world.other_account)
    assert elsewhere["ServiceSetting"]["SettingValue"] == "advanced"
