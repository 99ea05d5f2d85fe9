"""S3: buckets and objects, enough for outputs, packages and templates: `aws s3`, `aws s3api`, boto3, the agents."""

from __future__ import annotations

from fleetward.server.service import Service

s3 = Service("s3")
