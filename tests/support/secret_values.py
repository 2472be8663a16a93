"""The secrets of processes that a test starts one by one."""

from typing import Final

USERS: Final = "users-secret-of-the-tests-0123456789"
INTERNAL: Final = "internal-secret-of-the-tests-0123456789"
SETTINGS: Final = {"JWT_SECRET_KEY": USERS, "INTERNAL_SECRET": INTERNAL, "STRIPE_WEBHOOK_SECRET": "whsec_dGVzdHM="}
