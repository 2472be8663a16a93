"""What the gateway answers where a service did not answer well.

├── BadGateway           502 bad_gateway
│   └── LostConnection   502 bad_gateway         it ended before the first byte of an answer
├── UpstreamTimeout      504 upstream_timeout
└── ServiceDown          503 service_unavailable   nothing was sent: no address could be connected to
"""

from __future__ import annotations

from shared.errors import KeepsakeError, Unavailable


class BadGateway(KeepsakeError):
    """The service's answer broke off or is not HTTP."""

    status = 502
    default_code = "bad_gateway"

    def __init__(self, why: str = "") -> None:
        """Keep `why` for the log; the client reads one sentence for all."""
        super().__init__("The service behind the gateway gave no usable answer. Please try again.")
        self.why = why
        if why:
            self.add_note(why)


class LostConnection(BadGateway):
    """The connection ended before any byte of an answer: a pooled one may have been dead already."""


class UpstreamTimeout(KeepsakeError):
    """The service took longer than its row allows."""

    status = 504
    default_code = "upstream_timeout"

    def __init__(self) -> None:
        """Use one sentence for every wait."""
        super().__init__("The service behind the gateway did not answer in time. Please try again.")


class ServiceDown(Unavailable):
    """No address of the service could be connected to; nothing was sent."""

    def __init__(self, service: str) -> None:
        """Name the service, never its address."""
        super().__init__(
            f"The service {service} is not available right now. Please try again shortly.", retry_after_s=2
        )
