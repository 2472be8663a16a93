"""Who hears from Keepsake by itself: the collector of traces, and the receiver of order webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from stack.doctor.findings import Finding, right, unknown, wrong


async def check_collector(endpoint: str) -> AsyncIterator[Finding]:
    """Export no traces: nothing at all is a message of OTLP's (protobuf), and is taken as one."""
    url, headers = f"{endpoint.rstrip('/')}/v1/traces", {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession() as http, http.post(url, data=b"", headers=headers) as answer:
        if answer.ok:
            yield right("traces", "the collector takes them.")
        elif answer.status in {401, 403}:
            yield unknown("traces", "the collector asks for credentials, which the doctor has none of.")
        else:
            mend = "set OTEL_EXPORTER_OTLP_ENDPOINT to a collector that takes OTLP over HTTP, by most on port 4318."
            yield wrong("traces", f"what is there does not take them ({answer.status}).", mend)


async def check_receiver(url: str) -> AsyncIterator[Finding]:
    """See that somebody answers there, with whatever it is: an event of ours would not be true."""
    async with aiohttp.ClientSession() as http, http.head(url):
        yield right("order webhooks", "their receiver answers.")
