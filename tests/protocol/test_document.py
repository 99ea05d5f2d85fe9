"""Documents as operators write them and agents run them: parse, bind, substitute, plan, follow."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol import document as documents
from fleetward.protocol.document import (
    Continue,
    Document,
    DocumentFault,
    Flow,
    ParameterFault,
    PlannedStep,
    PlatformType,
    Reboot,
    SkipRest,
    StepOutcome,
    SubstitutionFault,
    bind,
    bind_wire,
    parse,
    parse_json,
    plan,
    substitute,
    wire_parameters,
)
from fleetward.protocol.status import DocumentStatus, StepStatus

SHELL_1_2: dict[str, Any] = {
    "schemaVersion": "1.2",
    "description": "Run a script.",
    "parameters": {
        "commands": {"type": "StringList", "description": "Lines to run.", "minItems": 1, "displayType": "textarea"},
        "workingDirectory": {"type": "String", "default": "", "description": "Where.", "maxChars": 4096},
        "executionTimeout": {
            "type": "String",
            "default": "3600",
            "description": "Seconds.",
            "allowedPattern": "([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)",
        },
    },
    "runtimeConfig": {
        "aws:runShellScript": {
            "properties": [
                {
                    "id": "0.aws:runShellScript",
                    "runCommand": "{{ commands }}",
                    "workingDirectory": "{{ workingDirectory }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                }
            ]
        }
    },
}

PATCH_2_2: dict[str, Any] = {
    "schemaVersion": "2.2",
    "description": "Scan or install.",
    "parameters": {
        "Operation": {"type": "String", "allowedValues": ["Scan", "Install"]},
        "Reboot": {"type": "Boolean", "default": False},
        "Retries": {"type": "Integer", "default": 2, "allowedValues": [1, 2, 3]},
        "Source": {"type": "StringMap", "default": {}, "maxItems": 2},
        "Rules": {"type": "MapList", "default": [{"Key": "a"}], "maxItems": 3},
    },
    "mainSteps": [
        {
            "name": "PatchWindows",
            "action": "aws:runPowerShellScript",
            "precondition": {"StringEquals": ["platformType", "Windows"]},
            "inputs": {"timeoutSeconds": 7200, "runCommand": ["./patch.ps1 {{ Operation }}"]},
        },
        {
            "name": "PatchLinux",
            "action": "aws:runShellScript",
            "precondition": {"StringEquals": ["linux", "platformType"]},
            "inputs": {"timeoutSeconds": "7200", "runCommand": ["./patch {{Operation}} {{ Reboot }} '{{ Rules }}'"]},
        },
        {
            "name": "clean up",
            "action": "aws:runShellScript",
            "inputs": {"runCommand": ["rm -rf work"], "finallyStep": True},
        },
    ],
}


def steps_2_2(*steps: dict[str, Any], parameters: dict[str, Any] | None = None, schema: str = "2.2") -> Document:
    """A document with these steps; name and action are filled in."""
    return parse(
        {
            "schemaVersion": schema,
            "parameters": parameters or {},
            "mainSteps": [
                {"name": f"step{number}", "action": "aws:runShellScript", **step}
                for number, step in enumerate(steps, start=1)
            ],
        }
    )


def with_parameter(**definition: Any) -> Document:
    return steps_2_2({"inputs": {"runCommand": ["{{ p }}"]}}, parameters={"p": definition})


# ------------------------------------------------------------------------------------------------ parse


def test_a_plugin_of_schema_1_2_is_a_step_named_after_it() -> None:
    document = parse(SHELL_1_2)
    (step,) = document.steps
    assert (step.name, step.action, step.timeout_seconds) == ("aws:runShellScript", "aws:runShellScript", None)
    assert step.inputs["runCommand"] == "{{ commands }}"
    assert document.parameters["executionTimeout"].default == "3600"
    assert not document.parameters["commands"].has_default


@pytest.mark.parametrize("schema", ["2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"])
def test_schemas_2_have_main_steps(schema: str) -> None:
    document = steps_2_2({"timeoutSeconds": 5, "maxAttempts": "3", "inputs": {"onFailure": "exit"}}, schema=schema)
    (step,) = document.steps
    assert (step.name, step.timeout_seconds, step.max_attempts, step.on_failure) == ("step1", 5, 3, "exit")


def test_json_text_parses_as_its_object() -> None:
    assert parse_json(json.dumps(PATCH_2_2)) == parse(PATCH_2_2)


def test_references_to_undeclared_parameters_and_unknown_members_are_allowed() -> None:
    document = parse(
        {
            **PATCH_2_2,
            "$schema": "x",
            "files": {},
            "mainSteps": [{"name": "a", "action": "b", "inputs": {"x": "{{ y }}"}}],
        }
    )
    assert plan(document, {}, "Linux", {"b"})[0].inputs == {"x": "{{ y }}"}


STEP = {"name": "a", "action": "aws:runShellScript", "inputs": {}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schemaVersion": None}, "schemaVersion is missing"),
        ({"schemaVersion": 2.2}, "put it in quotes"),
        ({"schemaVersion": "0.3"}, "not supported"),
        ({"schemaVersion": "9999.0"}, "not supported"),
        ({"description": 3}, "description must be text"),
        ({"mainSteps": None}, "mainSteps"),
        ({"mainSteps": []}, "at least one step"),
        ({"mainSteps": {"a": STEP}}, "mainSteps must be a list"),
        ({"mainSteps": ["a"]}, "step 1 must be an object"),
        ({"mainSteps": [STEP, STEP]}, "two steps are named a"),
        ({"mainSteps": [{**STEP, "name": "../a"}]}, "needs a name"),
        ({"mainSteps": [{**STEP, "name": "a."}]}, "needs a name"),
        ({"mainSteps": [{**STEP, "name": "a" * 129}]}, "needs a name"),
        ({"mainSteps": [{"action": "aws:x"}]}, "needs a name"),
        ({"mainSteps": [{**STEP, "action": "aws:run/../x"}]}, "needs an action"),
        ({"mainSteps": [{"name": "a"}]}, "needs an action"),
        ({"mainSteps": [{**STEP, "inputs": ["x"]}]}, "inputs must be an object"),
        ({"mainSteps": [{**STEP, "precondition": ["x"]}]}, "precondition must be an object"),
        ({"mainSteps": [{**STEP, "precondition": {"StringEquals": "x"}}]}, "must be a list of texts"),
        ({"mainSteps": [{**STEP, "maxAttempts": "many"}]}, "maxAttempts must be a whole number"),
        ({"mainSteps": [{**STEP, "inputs": {"finallyStep": "true"}}, {**STEP, "name": "b"}]}, "not the last step"),
        ({"parameters": []}, "parameters must be an object"),
        ({"parameters": {"a-b": {"type": "String"}}}, "letters and digits"),
        ({"parameters": {"a": "String"}}, "parameter a must be an object"),
        ({"parameters": {"a": {}}}, "has type None"),
        ({"parameters": {"a": {"type": "AWS::EC2::Instance::Id"}}}, "use one of String"),
        ({"parameters": {"a": {"type": "String", "default": ["x"]}}}, "default that is not a String"),
        ({"parameters": {"a": {"type": "String", "default": True}}}, "default that is not a String"),
        ({"parameters": {"a": {"type": "StringList", "default": "x"}}}, "not a StringList"),
        ({"parameters": {"a": {"type": "Integer", "default": "x"}}}, "not a Integer"),
        ({"parameters": {"a": {"type": "Boolean", "default": 1}}}, "not a Boolean"),
        ({"parameters": {"a": {"type": "StringMap", "default": "[]"}}}, "not a StringMap"),
        ({"parameters": {"a": {"type": "MapList", "default": ["x"]}}}, "not a MapList"),
        ({"parameters": {"a": {"type": "String", "allowedValues": []}}}, "allowedValues"),
        ({"parameters": {"a": {"type": "String", "allowedValues": [{}]}}}, "allowedValues"),
        ({"parameters": {"a": {"type": "String", "allowedPattern": "(a"}}}, "not a regular expression"),
        ({"parameters": {"a": {"type": "String", "allowedPattern": "[[:alpha:]]"}}}, "POSIX"),
        ({"parameters": {"a": {"type": "String", "allowedPattern": "a" * 5000}}}, "longer than 4096"),
        ({"parameters": {"a": {"type": "String", "minChars": -1}}}, "minChars must be a whole number"),
        ({"parameters": {"a": {"type": "String", "minChars": 3, "maxChars": "2"}}}, "minChars is greater"),
        ({"parameters": {"a": {"type": "String", "interpolationType": "X"}}}, "interpolationType must be one of"),
        ({"schemaVersion": "2.0", "parameters": {"a": {"type": "String", "interpolationType": "ENV_VAR"}}}, "2.2"),
        ({"schemaVersion": "1.2"}, "runtimeConfig"),
        ({"schemaVersion": "1.2", "runtimeConfig": {}}, "at least one plugin"),
        ({"schemaVersion": "1.2", "runtimeConfig": {"a/b": {}}}, "not the name of a plugin"),
        ({"schemaVersion": "1.2", "runtimeConfig": {"aws:x": []}}, "plugin aws:x must be an object"),
        ({"schemaVersion": "1.2", "runtimeConfig": {"aws:x": {"properties": []}}}, "empty list"),
        ({"schemaVersion": "1.2", "runtimeConfig": {"aws:x": {"properties": 3}}}, "object or a list of objects"),
        ({"x": float("nan")}, "not JSON"),
        ({"x": {1: "a"}}, "put it in quotes"),
        ({"x": object()}, "not JSON"),
        ({"x": "a\0"}, "NUL"),
        ({"x": "\ud800"}, "surrogate"),
        ({"x": 2**64}, "64 bits"),
        ({"x": [0] * 70_000}, "more than 65536 values"),
    ],
)
def test_a_broken_document_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    good = {"schemaVersion": "2.2", "mainSteps": [STEP]}
    parse(good)
    with pytest.raises(DocumentFault) as fault:
        parse({**good, **change})
    assert reason in fault.value.reason


def test_a_policy_has_steps_and_a_package_none() -> None:
    parse(PATCH_2_2, "Policy")
    with pytest.raises(DocumentFault, match=r"1\.2 is not supported"):
        parse(SHELL_1_2, "Policy")
    with pytest.raises(DocumentFault, match="type Package"):
        parse(PATCH_2_2, "Package")


def test_depth_is_limited_however_the_document_arrives() -> None:
    deep: Any = "x"
    for _ in range(101):
        deep = [deep]
    with pytest.raises(DocumentFault, match="100 levels"):
        parse({**PATCH_2_2, "x": deep})
    with pytest.raises(DocumentFault, match="100 levels"):
        parse_json('{"x":' * 50_000)
    with pytest.raises(DocumentFault, match="not valid JSON"):
        parse_json("{")
    with pytest.raises(DocumentFault, match="must be an object"):
        parse_json("[]")


def test_aliases_that_multiply_are_refused_quickly() -> None:
    value: Any = ["x"] * 10
    for _ in range(20):
        value = [value] * 10
    with pytest.raises(DocumentFault, match="more than 65536 values"):
        parse({**PATCH_2_2, "x": value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(["schemaVersion", "description", "parameters", "mainSteps", "runtimeConfig"])


@given(st.sampled_from([SHELL_1_2, PATCH_2_2]), st.dictionaries(members, json_values, max_size=2))
def test_any_content_is_a_document_or_a_document_fault(good: dict[str, Any], change: dict[str, Any]) -> None:
    try:
        document = parse({**good, **change})
    except DocumentFault:
        return
    assert document.steps


@given(json_values, json_values)
def test_any_step_and_parameter_is_planned_or_refused(step: Any, definition: Any) -> None:
    content = {"schemaVersion": "2.2", "parameters": {"p": definition}, "mainSteps": [{**STEP, "inputs": {"x": step}}]}
    try:
        document = parse(content)
    except DocumentFault:
        return
    assert len(plan(document, {"p": "v"}, "Linux", {"aws:runShellScript"})) == 1


# ------------------------------------------------------------------------------------------------ parameters


def test_bind_gives_typed_values_and_defaults() -> None:
    assert bind(parse(PATCH_2_2), {"Operation": ["Scan"]}) == {
        "Operation": "Scan",
        "Reboot": False,
        "Retries": 2,
        "Source": "{}",
        "Rules": [{"Key": "a"}],
    }
    given_values = {
        "Operation": ["Install"],
        "Reboot": ["True"],
        "Retries": ["3"],
        "Source": ['{"path": "x"}'],
        "Rules": ['{"Key":"b"}', '{"Key":"c"}'],
    }
    assert bind(parse(PATCH_2_2), given_values) == {
        "Operation": "Install",
        "Reboot": True,
        "Retries": 3,
        "Source": '{"path": "x"}',
        "Rules": [{"Key": "b"}, {"Key": "c"}],
    }
    assert bind(parse(PATCH_2_2), {"Operation": ["Scan"], "Rules": ['[{"Key":"b"}]']})["Rules"] == [{"Key": "b"}]


@pytest.mark.parametrize(
    ("definition", "texts", "reason"),
    [
        ({"type": "String"}, None, "needs a value"),
        ({"type": "String"}, [], "exactly one value, not 0"),
        ({"type": "String"}, ["a", "b"], "exactly one value, not 2"),
        ({"type": "String"}, "a", "list of strings"),
        ({"type": "String"}, [1], "list of strings"),
        ({"type": "String"}, ["a\0b"], "NUL"),
        ({"type": "String", "allowedValues": ["x"]}, ["X"], "allowed are: x"),
        ({"type": "String", "allowedPattern": "[a-z]+"}, ["abc1"], "must match [a-z]+"),
        ({"type": "String", "allowedPattern": "^[a-z]+$"}, ["abc\n"], "must match"),
        ({"type": "String", "allowedPattern": ".*"}, ["a" * 5000], "longer than 4096"),
        ({"type": "String", "minChars": 2}, ["a"], "shorter than 2"),
        ({"type": "String", "maxChars": 2}, ["abc"], "longer than 2"),
        ({"type": "StringList", "minItems": 2}, ["a"], "at least 2"),
        ({"type": "StringList", "maxItems": 1}, ["a", "b"], "at most 1"),
        ({"type": "StringList", "allowedValues": ["a"]}, ["a", "b"], "may not be 'b'"),
        ({"type": "StringList", "allowedPattern": "a+"}, ["a", "b"], "may not be 'b'"),
        ({"type": "StringList", "maxChars": 1}, ["a", "bc"], "longer than 1"),
        ({"type": "Integer"}, ["1.5"], "whole number"),
        ({"type": "Integer"}, ["1" * 30], "whole number"),
        ({"type": "Integer", "allowedValues": [1, 2]}, ["3"], "allowed are: 1, 2"),
        ({"type": "Boolean"}, ["yes"], "true or false"),
        ({"type": "StringMap"}, ["{"], "not valid JSON"),
        ({"type": "StringMap"}, ["[1]"], "JSON text of an object"),
        ({"type": "StringMap"}, ["[" * 90_000], "not valid JSON"),
        ({"type": "StringMap"}, ['{"a":' + "[" * 150 + "]" * 150 + "}"], "100 levels"),
        ({"type": "StringMap", "maxItems": 1}, ['{"a":1,"b":2}'], "at most 1"),
        ({"type": "MapList"}, ['"a"'], "list of JSON objects"),
        ({"type": "MapList", "minItems": 1}, [], "at least 1"),
    ],
)
def test_a_value_the_document_does_not_allow_is_refused(definition: dict[str, Any], texts: Any, reason: str) -> None:
    document = with_parameter(**definition)
    with pytest.raises(ParameterFault) as fault:
        bind(document, {} if texts is None else {"p": texts})
    assert fault.value.name == "p"
    assert reason in fault.value.reason


def test_an_unknown_parameter_is_refused_by_name_at_both_ends() -> None:
    for binder in (bind, bind_wire):
        with pytest.raises(ParameterFault, match=r"Parameter nope .* commands, workingDirectory"):
            binder(parse(SHELL_1_2), {"commands": ["a"], "nope": ["b"]})


def test_a_pattern_must_match_the_whole_value() -> None:
    document = parse(SHELL_1_2)
    for good in ("1", "99999", "172800"):
        bind(document, {"commands": ["x"], "executionTimeout": [good]})
    for bad in ("0", "172801", "12a", ""):
        with pytest.raises(ParameterFault, match="executionTimeout"):
            bind(document, {"commands": ["x"], "executionTimeout": [bad]})


def test_a_java_group_name_is_understood() -> None:
    document = with_parameter(type="String", allowedPattern=r"(?<year>[0-9]{4})-(?<!x)[0-9]{2}")
    assert bind(document, {"p": ["2026-11"]}) == {"p": "2026-11"}


def test_a_caller_may_bring_its_own_matcher() -> None:
    document = with_parameter(type="String", allowedPattern="x")
    asked = []

    def matcher(pattern: str, text: str) -> bool:
        asked.append((pattern, text))
        return text == "y"

    assert bind(document, {"p": ["y"]}, matches=matcher) == {"p": "y"}
    with pytest.raises(ParameterFault):
        bind_wire(document, {"p": "z"}, matches=matcher)
    assert asked == [("x", "y"), ("x", "z")]


def test_parameter_store_references_are_checked_once_resolved() -> None:
    document = with_parameter(type="String", allowedPattern="[a-z]+")
    assert bind(document, {"p": ["{{ssm:golden}}"]}) == {"p": "{{ssm:golden}}"}
    with pytest.raises(ParameterFault):
        bind_wire(document, {"p": "{{ssm:golden}}"})
    with pytest.raises(ParameterFault):
        bind(document, {"p": ["{{ssm-secure:golden}}"]})


def test_the_wire_carries_what_the_official_agent_reads() -> None:
    document = parse(SHELL_1_2)
    assert wire_parameters(document, bind(document, {"commands": ["uname -a"]})) == {
        "commands": ["uname -a"],
        "workingDirectory": "",
        "executionTimeout": "3600",
    }
    patch = parse(PATCH_2_2)
    text = '{ "path" : "x" }'
    assert wire_parameters(patch, bind(patch, {"Operation": ["Scan"], "Source": [text]}))["Source"] == text


@pytest.mark.parametrize(
    ("type_name", "good", "bound", "bad"),
    [
        ("String", "a", "a", 1),
        ("String", "a", "a", ["a"]),
        ("StringList", ["a"], ["a"], "a"),
        ("StringList", [], [], [1]),
        ("Integer", 5, 5, True),
        ("Integer", "5", 5, 5.5),
        ("Boolean", True, True, 1),
        ("Boolean", "false", False, "no"),
        ("StringMap", {"a": 1}, '{"a":1}', []),
        ("StringMap", "{}", "{}", "x"),
        ("MapList", [{"a": 1}], [{"a": 1}], {"a": 1}),
        ("MapList", [], [], ["a"]),
    ],
)
def test_the_agent_checks_types_again(type_name: str, good: Any, bound: Any, bad: Any) -> None:
    document = with_parameter(type=type_name)
    assert bind_wire(document, {"p": good}) == {"p": bound}
    with pytest.raises(ParameterFault):
        bind_wire(document, {"p": bad})


def test_the_agent_fills_in_defaults_and_misses_what_has_none() -> None:
    assert bind_wire(parse(SHELL_1_2), {"commands": ["a"]})["executionTimeout"] == "3600"
    with pytest.raises(ParameterFault, match="Parameter commands has no default"):
        bind_wire(parse(SHELL_1_2), {})


def test_a_default_is_not_measured_by_the_limits() -> None:
    document = with_parameter(type="String", default="", allowedPattern="[a-z]+", minChars=1)
    bound = bind(document, {})
    assert bound == {"p": ""} == bind_wire(document, wire_parameters(document, bound))
    assert with_parameter(type="String", default=22).parameters["p"].default == "22"


plain_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
maps = st.dictionaries(plain_text, st.integers(-9, 9) | plain_text | st.lists(plain_text, max_size=2), max_size=3)
api_values = st.fixed_dictionaries(
    {"Operation": st.sampled_from([["Scan"], ["Install"]])},
    optional={
        "Reboot": st.sampled_from([["true"], ["false"], ["TRUE"]]),
        "Retries": st.sampled_from([["1"], ["2"], ["3"]]),
        "Source": st.builds(lambda value: [json.dumps(value)], maps.filter(lambda value: len(value) < 3)),
        "Rules": st.lists(st.builds(json.dumps, maps), max_size=3),
    },
)


@given(api_values)
def test_what_goes_over_the_wire_is_what_was_bound(values: dict[str, list[str]]) -> None:
    document = parse(PATCH_2_2)
    bound = bind(document, values)
    sent = json.loads(json.dumps(wire_parameters(document, bound)))
    assert bind_wire(document, sent) == bound


# ------------------------------------------------------------------------------------------------ references


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ list }}", ["a", "b"]),
        ("{{list}}", ["a", "b"]),
        ("{{\tlist\n}}", ["a", "b"]),
        (" {{ list }}", ' ["a","b"]'),
        ("x{{ number }}y{{number}}", "x5y5"),
        ("is {{ flag }}", "is true"),
        ("map {{ map }}", 'map {"k":"é"}'),
        ("{{ unknown }} {{ number }}", "{{ unknown }} 5"),
        ("{{ unknown }}", "{{ unknown }}"),
        ("{{ssm:number}} {{ ssm-secure:number }} {{global:number}}", None),
        ("{{ nested }}!", "{{ number }}!"),
        ("{{ nested }}", "{{ number }}"),
        ("pid $$ {{ money }}", "pid $$ costs $5, $HOME ${x}"),
        ("{{ money }}", "costs $$5, $HOME ${x}"),
        ("{{{ number }}}", "{5}"),
        ("{{ num ber }}", None),
        ({"{{ number }}": ["{{ number }}", 1, None, True]}, {"{{ number }}": [5, 1, None, True]}),
    ],
)
def test_values_are_put_in_as_the_official_agent_does(value: Any, expected: Any) -> None:
    parameters = {
        "list": ["a", "b"],
        "number": 5,
        "flag": True,
        "map": {"k": "é"},
        "nested": "{{ number }}",
        "money": "costs $$5, $HOME ${x}",
    }
    assert substitute(value, parameters) == (value if expected is None else expected)


reference_free = st.text(st.characters(exclude_characters="{}$", exclude_categories=["Cs"]), max_size=10)


@given(st.lists(reference_free | st.sampled_from(["{{ a }}", "{{b}}", "{{ c }}"])), reference_free, reference_free)
def test_substituting_again_changes_nothing_when_values_hold_no_references(
    pieces: list[str], first: str, second: str
) -> None:
    parameters = {"a": first, "b": second}
    once = substitute("".join(pieces), parameters)
    assert substitute(once, parameters) == once
    assert substitute(["".join(pieces)], {}) == ["".join(pieces)]


@given(plain_text)
def test_a_whole_value_arrives_untouched(text: str) -> None:
    assert substitute({"x": ["{{ a }}"]}, {"a": text}) == {"x": [text]}


def test_insertions_cannot_grow_without_bound() -> None:
    with pytest.raises(SubstitutionFault):
        substitute(["{{a}}{{a}}"] * 1000, {"a": "x" * 10_000})
    document = steps_2_2({"inputs": {"runCommand": ["{{ a }}"] * 1000}}, parameters={"a": {"type": "String"}})
    (step,) = plan(document, {"a": "x" * 10_000}, "Linux", {"aws:runShellScript"})
    assert step.fail_reason is not None
    assert "exceed" in step.fail_reason


def test_parameter_store_references_are_found_and_resolved() -> None:
    value = {"a": ["{{ssm:one}} {{ ssm:/two/x:3 }}", "{{ssm-secure:three}}"], "b": "{{ ssm:list }}", "c": "{{ one }}"}
    assert documents.ssm_references(value) == {("one", None), ("/two/x", "3"), ("list", None)}
    assert documents.secure_references(value) == {("three", None)}
    resolved = {("one", None): "1$$", ("list", None): ["x", "y"]}
    assert documents.resolve_references(value, resolved) == {
        "a": ["1$$ {{ ssm:/two/x:3 }}", "{{ssm-secure:three}}"],
        "b": ["x", "y"],
        "c": "{{ one }}",
    }
    assert documents.resolve_references("{{ssm-secure:three}}", {("three", None): "s"}, secure=True) == "s"


def test_values_by_environment_never_become_part_of_a_script() -> None:
    evil = "x'; rm -rf / #"
    document = parse(
        {
            "schemaVersion": "2.2",
            "parameters": {
                "name": {"type": "String", "interpolationType": "ENV_VAR"},
                "plain": {"type": "String", "default": "p"},
            },
            "mainSteps": [
                {
                    **STEP,
                    "inputs": {"runCommand": ["echo '{{ plain }}' \"{{ name }}\""], "workingDirectory": "/{{ name }}"},
                },
                {"name": "b", "action": "aws:runPowerShellScript", "inputs": {"runCommand": ["echo {{ name }}"]}},
                {"name": "c", "action": "aws:downloadContent", "inputs": {"destinationPath": "{{ name }}"}},
            ],
        }
    )
    bound = bind(document, {"name": [evil]})
    assert documents.environment_parameters(document, bound) == {"SSM_name": evil}
    shell, power, download = plan(document, bound, "Linux", documents.ACTION_PLATFORMS)
    assert shell.inputs == {"runCommand": ["echo 'p' \"${SSM_name}\""], "workingDirectory": "/" + evil}
    assert power.inputs == {"runCommand": ["echo ${env:SSM_name}"]}
    assert download.inputs == {"destinationPath": evil}


# ------------------------------------------------------------------------------------------------ plan

SCRIPTS = {"aws:runShellScript"}


def test_a_plan_puts_values_in_and_skips_the_other_platforms() -> None:
    document = parse(PATCH_2_2)
    windows, linux, clean = plan(document, bind(document, {"Operation": ["Scan"]}), "Linux", SCRIPTS)
    assert windows.skip_reason is not None
    assert "unsatisfied preconditions" in windows.skip_reason
    assert linux.inputs["runCommand"] == ["""./patch Scan false '[{"Key":"a"}]'"""]
    assert (linux.skip_reason, linux.fail_reason, linux.timeout_seconds) == (None, None, 7200)
    assert (clean.finally_step, clean.timeout_seconds) == (True, 3600)


def test_all_properties_of_a_1_2_plugin_run_within_it() -> None:
    content = {
        "schemaVersion": "1.2",
        "parameters": {"more": {"type": "MapList"}, "text": {"type": "StringMap"}},
        "runtimeConfig": {
            "aws:runShellScript": {"properties": [{"id": "0", "timeoutSeconds": 60}, {"id": "{{ text }}"}]},
            "aws:psModule": {"properties": "{{ more }}"},
            "aws:runDocument": {"properties": "{{ text }}", "settings": {"x": "{{ text }}"}},
            "aws:configurePackage": {"properties": "no object"},
        },
    }
    bound = bind(parse(content), {"more": ['{"a":1}', '{"b":2}'], "text": ['{"c":3}']})
    shell, module, nested, package = plan(parse(content), bound, "Windows", documents.ACTION_PLATFORMS)
    assert [part["id"] for part in shell.parts] == ["0", '{"c":3}']
    assert shell.timeout_seconds == 60
    assert module.parts == ({"a": 1}, {"b": 2})
    assert (nested.parts, nested.settings) == (({"c": 3},), {"x": '{"c":3}'})
    assert package.fail_reason is not None
    assert [step.name for step in (shell, module)] == ["aws:runShellScript", "aws:psModule"]


def reason(schema: str, action: str, precondition: Any = None, platform: PlatformType = "Linux") -> tuple[str, str]:
    """("run" | "skip" | "fail", the reason's text) of a one-step document."""
    step = {"action": action, **({"precondition": precondition} if precondition is not None else {})}
    document = steps_2_2(step, parameters={"p": {"type": "String"}, "q": {"type": "String"}}, schema=schema)
    (planned,) = plan(document, {"p": "Yes", "q": "Linux"}, platform, SCRIPTS)
    assert planned.skip_reason is None or planned.fail_reason is None
    if planned.skip_reason is not None:
        return "skip", planned.skip_reason
    return ("fail", planned.fail_reason) if planned.fail_reason is not None else ("run", "")


@pytest.mark.parametrize(
    ("schema", "action", "outcome", "text"),
    [
        ("2.2", "aws:runShellScript", "run", ""),
        ("2.0", "aws:runShellScript", "run", ""),
        ("2.2", "aws:psModule", "skip", "unsupported plugin"),
        ("2.0", "aws:psModule", "fail", "does not exist on Linux"),
        ("2.2", "aws:makeCoffee", "fail", "not supported by this version of ssm agent"),
        ("2.0.3", "aws:makeCoffee", "fail", "not supported by this version of ssm agent"),
        ("2.2", "aws:domainJoin", "fail", "not supported by this version of ssm agent"),
        ("2.0", "aws:runPowerShellScript", "fail", "does not exist on Linux"),
        ("2.2", "aws:runPowerShellScript", "fail", "not supported by this version of ssm agent"),
    ],
)
def test_an_action_that_cannot_run_is_skipped_or_fails_by_schema(
    schema: str, action: str, outcome: str, text: str
) -> None:
    found, why = reason(schema, action)
    assert found == outcome
    assert text in why


@pytest.mark.parametrize(
    ("precondition", "outcome"),
    [
        ({}, "run"),
        ({"StringEquals": ["platformType", "Linux"]}, "run"),
        ({"StringEquals": ["LINUX", "platformType"]}, "run"),
        ({"StringEquals": ["platformType", "Windows"]}, "skip"),
        ({"StringEquals": ["platformType", "{{ q }}"]}, "run"),
        ({"StringEquals": ["platformType", "{{ p }}"]}, "skip"),
        ({"StringEquals": ["{{ p }}", "Yes"]}, "run"),
        ({"StringEquals": ["Yes", "{{p}}"]}, "run"),
        ({"StringEquals": ["{{ p }}", "yes"]}, "skip"),
        ({"StringEquals": ["{{ p }} {{ q }}", "Yes Linux"]}, "run"),
        ({"StringEquals": ["a", "a"]}, "fail"),
        ({"StringEquals": ["{{ ssm:p }}", "a"]}, "fail"),
        ({"StringEquals": ["{{ unknown }}", "a"]}, "fail"),
        ({"StringEquals": ["platformType", "platformType"]}, "fail"),
        ({"StringEquals": ["platformType"]}, "fail"),
        ({"StringEquals": ["platformType", "Linux", "Linux"]}, "fail"),
        ({"StringLike": ["platformType", "Linux"]}, "fail"),
        ({"StringLike": ["a", "b"], "StringEquals": ["platformType", "Windows"]}, "skip"),
    ],
)
def test_preconditions_run_skip_or_fail_their_step(precondition: dict[str, Any], outcome: str) -> None:
    assert reason("2.2", "aws:runShellScript", precondition)[0] == outcome
    if precondition:
        assert reason("2.0", "aws:runShellScript", precondition)[0] == "fail"


def test_an_unknown_action_matters_only_where_its_step_would_run() -> None:
    assert reason("2.2", "aws:new", {"StringEquals": ["platformType", "Windows"]})[0] == "skip"
    assert reason("2.2", "aws:new", {"StringEquals": ["platformType", "Linux"]})[0] == "fail"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, 3600),
        (5, 5),
        ("172800", 172_800),
        (4, 3600),
        ("172801", 3600),
        ("x", 3600),
        (True, 3600),
        ("{{ t }}", 90),
    ],
)
def test_a_timeout_out_of_range_is_an_hour(written: Any, seconds: int) -> None:
    document = steps_2_2({"inputs": {"timeoutSeconds": written}}, parameters={"t": {"type": "String"}})
    assert plan(document, {"t": "90"}, "Linux", SCRIPTS)[0].timeout_seconds == (
        seconds if written is not None else 3600
    )


def test_planning_leaves_the_document_and_the_values_alone() -> None:
    document, values = parse(PATCH_2_2), bind(parse(PATCH_2_2), {"Operation": ["Scan"]})
    before = json.dumps([PATCH_2_2, values])
    for platform in ("Linux", "Windows", "MacOS"):
        plan(document, values, platform, documents.ACTION_PLATFORMS)
    assert json.dumps([PATCH_2_2, values]) == before


# ------------------------------------------------------------------------------------------------ flow

OK = StepOutcome(StepStatus.SUCCESS, 0)
BAD = StepOutcome(StepStatus.FAILED, 3)


def exit_with(code: int) -> StepOutcome:
    return StepOutcome(StepStatus.SUCCESS if code == 0 else StepStatus.FAILED, code)


def flow_of(*inputs: dict[str, Any], platform: PlatformType = "Linux") -> Flow:
    document = steps_2_2(*({"inputs": each} for each in inputs))
    return Flow(plan(document, {}, platform, documents.ACTION_PLATFORMS), platform)


def due(flow: Flow) -> PlannedStep:
    step = flow.next()
    assert step is not None
    return step


def follow(flow: Flow, *outcomes: StepOutcome) -> list[str]:
    """Names of the steps that ran, one per outcome."""
    ran = []
    for outcome in outcomes:
        step = due(flow)
        ran.append(step.name)
        flow.after(step, outcome)
    return ran


def states(flow: Flow) -> str:
    return " ".join(status.value for status in flow.statuses.values())


def test_a_failed_step_does_not_stop_the_next() -> None:
    flow = flow_of({}, {})
    assert flow.after(due(flow), BAD) == Continue(StepStatus.FAILED, 3)
    assert flow.document_status() is DocumentStatus.IN_PROGRESS
    assert flow.after(due(flow), OK) == Continue(StepStatus.SUCCESS, 0)
    assert flow.next() is None
    assert flow.document_status() is DocumentStatus.FAILED


@pytest.mark.parametrize(
    ("first", "outcome", "after", "document_status"),
    [
        ({}, exit_with(168), "Success Skipped Skipped", "Success"),
        ({}, exit_with(169), "Failed Skipped Skipped", "Failed"),
        ({"onFailure": "exit"}, BAD, "Failed Skipped Skipped", "Failed"),
        ({"onFailure": "exit"}, StepOutcome(StepStatus.TIMED_OUT, 137), "TimedOut Skipped Skipped", "TimedOut"),
        ({"onFailure": "successAndExit"}, BAD, "Success Skipped Skipped", "Success"),
        ({"onFailure": "exit"}, OK, "Success NotStarted NotStarted", "InProgress"),
        ({"onFailure": "Abort"}, BAD, "Failed NotStarted NotStarted", "InProgress"),
        ({"onSuccess": "exit"}, OK, "Success Skipped Skipped", "Success"),
        ({"onSuccess": "exit"}, BAD, "Failed NotStarted NotStarted", "InProgress"),
        ({"onSuccess": "exit"}, StepOutcome(StepStatus.SKIPPED, 0), "Skipped NotStarted NotStarted", "InProgress"),
        ({}, StepOutcome(StepStatus.CANCELLED, 137), "Cancelled Cancelled Cancelled", "Cancelled"),
        ({}, StepOutcome(StepStatus.TIMED_OUT, 168), "TimedOut NotStarted NotStarted", "InProgress"),
    ],
)
def test_a_step_may_end_the_document(
    first: dict[str, Any], outcome: StepOutcome, after: str, document_status: str
) -> None:
    flow = flow_of(first, {}, {})
    decision = flow.after(due(flow), outcome)
    assert states(flow) == after
    assert flow.document_status() is DocumentStatus(document_status)
    if isinstance(decision, SkipRest):
        assert decision.final == (168 if document_status == "Success" else 169)
        assert [step.name for step in decision.skipped] == ["step2", "step3"]
        assert flow.next() is None
    else:
        assert due(flow).name == "step2"


@pytest.mark.parametrize("outcome", [exit_with(168), exit_with(169)])
def test_a_finally_step_runs_all_the_same(outcome: StepOutcome) -> None:
    flow = flow_of({}, {}, {"finallyStep": True})
    assert follow(flow, outcome, OK) == ["step1", "step3"]
    assert flow.statuses["step2"] is StepStatus.SKIPPED
    expected = DocumentStatus.SUCCESS if outcome.exit_code == 168 else DocumentStatus.FAILED
    assert flow.document_status() is expected


def test_a_cancelled_document_runs_no_finally_step() -> None:
    flow = flow_of({}, {"finallyStep": True})
    follow(flow, StepOutcome(StepStatus.CANCELLED, 137))
    assert flow.next() is None


@pytest.mark.parametrize(
    ("platform", "code", "reboots"),
    [
        ("Linux", 194, True),
        ("MacOS", 194, True),
        ("Windows", 3010, True),
        ("Windows", 194, False),
        ("Linux", 3010, False),
    ],
)
def test_a_reboot_repeats_its_step(platform: PlatformType, code: int, reboots: bool) -> None:
    flow = flow_of({}, {}, platform=platform)
    decision = flow.after(due(flow), exit_with(code))
    assert isinstance(decision, Reboot) == reboots
    if reboots:
        assert decision.status is StepStatus.SUCCESS_AND_REBOOT
        assert flow.document_status() is DocumentStatus.SUCCESS_AND_REBOOT
        assert follow(flow, OK, OK) == ["step1", "step2"]
        assert flow.document_status() is DocumentStatus.SUCCESS


def test_passed_and_reboot_goes_on_with_the_next_step() -> None:
    flow = flow_of({}, {})
    assert isinstance(flow.after(due(flow), StepOutcome(StepStatus.PASSED_AND_REBOOT, 0)), Reboot)
    assert follow(flow, OK) == ["step2"]
    assert flow.document_status() is DocumentStatus.SUCCESS


def test_a_failure_never_reports_code_0() -> None:
    flow = flow_of({})
    assert flow.after(due(flow), StepOutcome(StepStatus.FAILED, 0)) == Continue(StepStatus.FAILED, 1)


def test_only_the_step_that_is_due_can_be_recorded() -> None:
    flow = flow_of({}, {})
    first = due(flow)
    flow.after(first, OK)
    with pytest.raises(ValueError, match="step1 is not the one that is due"):
        flow.after(first, OK)


outcomes = st.builds(
    StepOutcome,
    st.sampled_from([StepStatus.SUCCESS, StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.CANCELLED]),
    st.sampled_from([0, 1, 168, 169, 194]),
)
inputs_of_steps = st.fixed_dictionaries(
    {}, optional={"onFailure": st.sampled_from(["exit", "successAndExit"]), "onSuccess": st.just("exit")}
)


@given(st.lists(inputs_of_steps, min_size=1, max_size=5), st.lists(outcomes, max_size=30))
def test_a_flow_replayed_from_its_outcomes_is_where_it_was_and_always_ends(
    steps: list[dict[str, Any]], results: list[StepOutcome]
) -> None:
    flow, recorded = flow_of(*steps), []
    for outcome in results:
        step = flow.next()
        if step is None:
            break
        recorded.append(outcome)
        flow.after(step, outcome)
        replayed = flow_of(*steps)
        follow(replayed, *recorded)
        assert replayed.statuses == flow.statuses
    while (step := flow.next()) is not None:
        flow.after(step, OK)
    assert flow.document_status() not in (DocumentStatus.IN_PROGRESS, DocumentStatus.SUCCESS_AND_REBOOT)


def test_the_parts_of_a_plugin_end_as_the_first_that_went_wrong() -> None:
    skipped, late = StepOutcome(StepStatus.SKIPPED, 0), StepOutcome(StepStatus.TIMED_OUT, 137)
    assert documents.combine([OK, BAD, late]) == BAD
    assert documents.combine([OK, skipped]) == skipped
    assert documents.combine([]) == OK


# ------------------------------------------------------------------------------------------------ describe


def test_platforms_follow_from_actions_and_preconditions() -> None:
    assert documents.platform_types(parse(SHELL_1_2)) == ["Linux", "MacOS"]
    only_mac = {"precondition": {"StringEquals": ["platformType", "MacOS"]}}
    assert documents.platform_types(steps_2_2(only_mac)) == ["MacOS"]
    assert documents.platform_types(steps_2_2({**only_mac, "action": "aws:psModule"})) == []
    assert documents.platform_types(steps_2_2({"action": "aws:runPowerShellScript"})) == ["Windows", "Linux"]
    assert documents.platform_types(steps_2_2({"action": "aws:runPowerShellScript"}, schema="2.0")) == ["Windows"]
    assert documents.platform_types(parse(PATCH_2_2)) == ["Windows", "Linux", "MacOS"]
    by_parameter = {"precondition": {"StringEquals": ["platformType", "{{ p }}"]}}
    assert documents.platform_types(steps_2_2(by_parameter)) == ["Linux", "MacOS"]


def test_parameters_are_described_with_textual_defaults() -> None:
    assert documents.parameter_descriptions(parse(SHELL_1_2)) == [
        {"Name": "commands", "Type": "StringList", "Description": "Lines to run."},
        {"Name": "workingDirectory", "Type": "String", "Description": "Where.", "DefaultValue": ""},
        {"Name": "executionTimeout", "Type": "String", "Description": "Seconds.", "DefaultValue": "3600"},
    ]
    defaults = {d["Name"]: d.get("DefaultValue") for d in documents.parameter_descriptions(parse(PATCH_2_2))}
    assert defaults == {"Operation": None, "Reboot": "false", "Retries": "2", "Source": "{}", "Rules": '[{"Key":"a"}]'}


def test_hashes_are_of_the_text_as_it_is() -> None:
    assert documents.content_hash("é") == hashlib.sha256("é".encode()).hexdigest()
    assert documents.sha1_hash("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def test_outputs_are_named_as_the_official_agent_names_them() -> None:
    old, new = parse(SHELL_1_2), parse(PATCH_2_2)
    assert documents.output_key(old.steps[0], "1.2") == "awsrunShellScript/0.awsrunShellScript"
    assert documents.output_key(new.steps[1], "2.2") == "awsrunShellScript/PatchLinux"
    assert documents.plugin_name(old.steps[0], "1.2") == "aws:runShellScript"
    assert documents.plugin_name(new.steps[1], "2.2") == "PatchLinux"
    unnamed = parse(
        {"schemaVersion": "1.2", "runtimeConfig": {"aws:x": {"properties": [{}, {"id": "../up"}, {"id": ".."}]}}}
    )
    keys = [documents.output_key(unnamed.steps[0], "1.2", part) for part in range(3)]
    assert keys == ["awsx/0.awsx", "awsx/..-up", "awsx/_"]


def test_the_running_time_is_that_of_the_slowest_platform() -> None:
    patch = parse(PATCH_2_2)
    assert documents.execution_seconds(patch, bind(patch, {"Operation": ["Scan"]})) == 7200 + 3600
    shell = parse(SHELL_1_2)
    bound = bind(shell, {"commands": ["x"], "executionTimeout": ["60"]})
    assert documents.execution_seconds(shell, bound) == 60
    assert documents.execution_seconds(steps_2_2({"action": "aws:makeCoffee"}), {}) == 3600
