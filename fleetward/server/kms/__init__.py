"""Key Management Service: symmetric keys that never leave the server, and who may use them for what.

Read `table.py` for what a key is, `encryption.py` for what is done with it. Other capabilities call the functions
named here; they decide, in the caller's name, on the key that is used.
"""

from __future__ import annotations

from fleetward.server.service import Service

kms: Service = Service("kms")

from fleetward.server.kms import aliases, grants, keys, policies, rotation, tags  # noqa: E402, F401  (they register)
from fleetward.server.kms.encryption import DataKey, decrypt, encrypt, generate_data_key  # noqa: E402
from fleetward.server.kms.keys import create_managed_keys  # noqa: E402
from fleetward.server.kms.table import SEALED  # noqa: E402

__all__ = ["SEALED", "DataKey", "create_managed_keys", "decrypt", "encrypt", "generate_data_key", "kms"]
