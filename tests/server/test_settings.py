"""Settings: where they come from and which are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fleetward.server.settings import Settings, SettingsFault, load


def test_later_sources_win(tmp_path: Path) -> None:
    """Defaults, file, environment, arguments."""
    file = tmp_path / "settings.toml"
    file.write_text('account = "111111111111"\nlog_level = "debug"\nclock_skew = 60\n')
    environment = {"FLEETWARD_LOG_LEVEL": "warning", "FLEETWARD_CLOCK_SKEW": "90", "OTHER": "x"}
    settings = load({"clock_skew": 120, "name": None, "data": "x"}, file, environment)
    assert (settings.account, settings.log_level, settings.clock_skew) == ("111111111111", "warning", 120)
    assert settings.listen == ("127.0.0.1:8443",)


def test_every_setting_is_an_environment_variable_and_explains_itself() -> None:
    """Lists are separated by commas, numbers and flags read."""
    for field in dataclasses.fields(Settings):
        assert field.metadata["text"], field.name
    environment = {
        "FLEETWARD_REGION": "us-east-1,eu-central-1",
        "FLEETWARD_HEADER_TIMEOUT": "0.5",
        "FLEETWARD_SLOW_ENTRY_FAILS": "true",
        "FLEETWARD_DATA": "/tmp/x",
    }
    settings = load({}, None, environment)
    assert settings.region == ("us-east-1", "eu-central-1")
    assert settings.default_region == "us-east-1"
    assert settings.header_timeout == 0.5
    assert settings.slow_entry_fails is True
    assert settings.data == Path("/tmp/x")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"account": "12345"}, "account must be 12 digits"),
        ({"region": ()}, "at least one region"),
        ({"fingerprint_policy": "perhaps"}, "alert, approve or refuse"),
        ({"tls_key": "x"}, "belong together"),
        ({"trusted_proxy": ("here",)}, "networks such as"),
        ({"proxy_protocol": "true"}, "proxy_protocol needs trusted_proxy"),
        ({"data": None}, "say where data is kept"),
        ({"ephemeral": "true", "database": "postgresql://h/d"}, "ephemeral server keeps its data by itself"),
        ({"websockets": "other"}, "picows or websockets"),
        ({"clock_skew": "soon"}, "clock_skew cannot be 'soon'"),
        ({"no_such": "1"}, "unknown setting 'no_such'"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, object], words: str) -> None:
    """One sentence with the setting's name."""
    with pytest.raises(SettingsFault, match=words):
        load({"data": "x", **given}, None, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Absent, or not TOML."""
    with pytest.raises(SettingsFault, match="cannot read the settings file"):
        load({}, tmp_path / "absent.toml", {})
    file = tmp_path / "bad.toml"
    file.write_text("= = =")
    with pytest.raises(SettingsFault, match="not valid TOML"):
        load({}, file, {})
