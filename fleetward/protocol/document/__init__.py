"""SSM documents: parse them, bind their parameters, plan their steps or session, decide what follows each result.

Rooms: `parse` reads a document, `parameters` binds values to it, `references` puts values into text, `plan` says what
each step will do on one platform, `flow` what happens after a step, `describe` how a document looks from outside,
`session` what a session is to be, `approval` who approves that somebody gets into nodes.
The server and the agent run the same code. Documents come in as dicts (or JSON text); YAML is the caller's business.
"""

from __future__ import annotations

from fleetward.protocol.document.approval import ApprovalPolicy, parse_approval
from fleetward.protocol.document.describe import (
    content_hash,
    execution_seconds,
    output_key,
    parameter_descriptions,
    platform_types,
    plugin_name,
    sha1_hash,
)
from fleetward.protocol.document.flow import Continue, Decision, Flow, Reboot, SkipRest, StepOutcome, combine
from fleetward.protocol.document.parameters import (
    ParameterFault,
    PatternMatcher,
    bind,
    bind_wire,
    environment_parameters,
    full_match,
    wire_parameters,
)
from fleetward.protocol.document.parse import Document, DocumentFault, Parameter, Step, parse, parse_json
from fleetward.protocol.document.plan import ACTION_PLATFORMS, PlannedStep, PlatformType, plan
from fleetward.protocol.document.references import (
    SubstitutionFault,
    resolve_references,
    secure_references,
    ssm_references,
    substitute,
)
from fleetward.protocol.document.session import SessionDocument, SessionPlan, parse_session
from fleetward.protocol.document.session import plan as plan_session

__all__ = [
    "ACTION_PLATFORMS",
    "ApprovalPolicy",
    "Continue",
    "Decision",
    "Document",
    "DocumentFault",
    "Flow",
    "Parameter",
    "ParameterFault",
    "PatternMatcher",
    "PlannedStep",
    "PlatformType",
    "Reboot",
    "SessionDocument",
    "SessionPlan",
    "SkipRest",
    "Step",
    "StepOutcome",
    "SubstitutionFault",
    "bind",
    "bind_wire",
    "combine",
    "content_hash",
    "environment_parameters",
    "execution_seconds",
    "full_match",
    "output_key",
    "parameter_descriptions",
    "parse",
    "parse_approval",
    "parse_json",
    "parse_session",
    "plan",
    "plan_session",
    "platform_types",
    "plugin_name",
    "resolve_references",
    "secure_references",
    "sha1_hash",
    "ssm_references",
    "substitute",
    "wire_parameters",
]
