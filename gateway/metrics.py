"""What the gateway counts beside what every process counts."""

from __future__ import annotations

from prometheus_client import Counter

from shared.metrics import CLAIMS_SETTLED, begin_at_zero

UPSTREAM_CONNECT_FAILURES = Counter(
    "keepsake_upstream_connect_failures_total", "Connections to a service that could not be opened.", ["service"]
)
LIMITS_IN_PROCESS = Counter(
    "keepsake_rate_limits_in_process_total", "Requests counted in process while Redis was out of reach."
)
begin_at_zero(CLAIMS_SETTLED, "confirm", "release", "already_released", "lapsed")
