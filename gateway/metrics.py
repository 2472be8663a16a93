"""What the gateway counts beside what every process counts."""

from __future__ import annotations

from prometheus_client import Counter

UPSTREAM_CONNECT_FAILURES = Counter(
    "keepsake_upstream_connect_failures_total", "Connections to a service that could not be opened.", ["service"]
)
LIMITS_IN_PROCESS = Counter(
    "keepsake_rate_limits_in_process_total", "Requests counted in process while Redis was out of reach."
)
CLAIMS_SETTLED = Counter(
    "keepsake_claims_settled_total",
    "One-time deliveries by their end: confirm, release, already_released (by the service itself), lapsed.",
    ["end"],
)
