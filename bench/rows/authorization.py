"""Authorization: one cached decision of the evaluator with ten policies."""

from __future__ import annotations

import time

from bench.figures import Figure, Size, at_most, median
from fleetward.server.iam import evaluate

DECISIONS = 20_000


async def measure(size: Size) -> list[Figure]:
    """Microseconds of a decision whose policies are compiled and whose plan is known; resources differ."""
    policies = evaluate.PolicySet(identity=tuple(_policy(number) for number in range(10)))
    context = {"aws:username": "someone", "aws:SourceIp": "10.0.0.1", "ssm:resourceTag/team": "seven"}
    requests = [
        evaluate.Request("ssm:SendCommand", f"arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-{n:017x}", context)
        for n in range(size.of(DECISIONS, 100))
    ]
    if not evaluate.decide(policies, requests[0]).allowed:
        raise RuntimeError("the decision is not the one expected")
    taken = []
    for _ in range(size.rounds):
        started = time.perf_counter()
        for request in requests:
            evaluate.decide(policies, request)
        taken.append((time.perf_counter() - started) / len(requests) * 1e6)
    return [at_most("cached authorization decision, 10 policies", median(taken), 25.0, " us")]


def _policy(number: int) -> evaluate.Policy:
    """One of ten: most speak of other things, one grants under a condition on tags, one denies something else."""
    statements = [
        {
            "Effect": "Allow",
            "Action": ["ssm:Get*", "ssm:List*", f"ssm:Describe{number}*"],
            "Resource": f"arn:aws:ssm:*:*:parameter/team-{number}/*",
        },
        {
            "Effect": "Allow",
            "Action": "ssm:SendCommand",
            "Resource": "arn:aws:ssm:*:123456789012:managed-instance/*",
            "Condition": {"StringEquals": {"ssm:resourceTag/team": ["seven" if number == 7 else f"team-{number}"]}},
        },
        {"Effect": "Deny", "Action": "ssm:Delete*", "Resource": f"arn:aws:ssm:*:*:document/keep-{number}-*"},
    ]
    return evaluate.compile_policy({"Version": "2012-10-17", "Statement": statements}, name=f"policy-{number}")
