"""The account: its alias, its password policy, and how much there is in it."""

from __future__ import annotations

from typing import Any

from tests.identities import fresh, refusal, refused


def test_an_alias_is_given_exchanged_and_taken_away(iam: Any) -> None:
    iam.create_account_alias(AccountAlias="first-name")
    iam.create_account_alias(AccountAlias="second-name")
    assert iam.list_account_aliases()["AccountAliases"] == ["second-name"]
    assert refusal(iam.delete_account_alias, AccountAlias="first-name") == "NoSuchEntity"
    iam.delete_account_alias(AccountAlias="second-name")
    assert iam.list_account_aliases()["AccountAliases"] == []
    assert refusal(iam.create_account_alias, AccountAlias="Not-Lower") == "ValidationError"


def test_a_password_policy_is_chosen_anew_each_time_and_dropped(iam: Any) -> None:
    iam.update_account_password_policy(MinimumPasswordLength=10, RequireNumbers=True, MaxPasswordAge=90)
    shown = iam.get_account_password_policy()["PasswordPolicy"]
    assert (shown["MinimumPasswordLength"], shown["RequireNumbers"], shown["ExpirePasswords"]) == (10, True, True)
    iam.update_account_password_policy(RequireSymbols=True)
    shown = iam.get_account_password_policy()["PasswordPolicy"]
    assert (shown["MinimumPasswordLength"], shown["RequireNumbers"], shown["ExpirePasswords"]) == (6, False, False)
    iam.delete_account_password_policy()
    assert refused(iam.get_account_password_policy)[:2] == ("NoSuchEntity", 404)
    assert refusal(iam.delete_account_password_policy) == "NoSuchEntity"


def test_the_summary_counts(iam: Any) -> None:
    before = iam.get_account_summary()["SummaryMap"]
    iam.create_user(UserName=fresh())
    after = iam.get_account_summary()["SummaryMap"]
    assert after["Users"] == before["Users"] + 1
    assert (after["UsersQuota"], after["AccountAccessKeysPresent"], after["PolicySizeQuota"]) == (5000, 1, 6144)
