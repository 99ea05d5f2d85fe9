"""S3Objects: the published checks on an S3 server that other people wrote."""

from __future__ import annotations

import pytest

from fleetward.server.backends.objects_s3 import S3Objects
from fleetward.server.settings import SettingsFault
from fleetward.testing.objects_checks import ObjectsChecks


class TestS3Objects(ObjectsChecks):
    @pytest.fixture
    def objects(self, s3_server: str, s3_bucket: str) -> S3Objects:
        return S3Objects(f"s3://test:test@{s3_bucket}?endpoint={s3_server}")


class TestS3ObjectsBelowPrefix(ObjectsChecks):
    @pytest.fixture
    def objects(self, s3_server: str, s3_bucket: str) -> S3Objects:
        return S3Objects(f"s3://test:test@{s3_bucket}/some/prefix?endpoint={s3_server}")


def test_prefixes_keep_stores_apart(s3_server: str, s3_bucket: str) -> None:
    one, other = (S3Objects(f"s3://test:test@{s3_bucket}/{name}?endpoint={s3_server}") for name in ("one", "other"))
    one.put("key", [b"1"])
    other.put("key", [b"2"])
    assert one.get("key") == b"1"
    assert [info.key for info in other.list("")] == ["key"]


def test_list_goes_beyond_one_page(s3_server: str, s3_bucket: str) -> None:
    objects = S3Objects(f"s3://test:test@{s3_bucket}?endpoint={s3_server}")
    keys = [f"page/{number:02}" for number in range(50)]
    for key in keys:
        objects.put(key, [b""])
    assert [info.key for info in objects.list("page/")] == keys
    assert [info.key for info in objects.list("page/3")] == keys[30:40]


def test_credentials_come_from_the_environment_too(
    s3_server: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    objects = S3Objects(f"s3://{s3_bucket}?endpoint={s3_server}")
    objects.put("key", [b"x"])
    assert objects.get("key") == b"x"


@pytest.mark.parametrize("url", ["", "s3://", "http://bucket", "s3://bucket?unknown=1"])
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsFault):
        S3Objects(url)
