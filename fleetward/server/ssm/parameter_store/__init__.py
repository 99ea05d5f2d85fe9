"""Parameter Store: values by name and hierarchy, in versions, in clear or encrypted."""

from fleetward.server.ssm.parameter_store import labels, listing, policies, reading, references, writing
from fleetward.server.ssm.parameter_store.table import ParameterChanged

__all__ = ["ParameterChanged", "labels", "listing", "policies", "reading", "references", "writing"]
