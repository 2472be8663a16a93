"""Traces: what one request does in all processes, as OpenTelemetry has it; without the extra `keepsake[otel]` there are none."""

from shared.tracing.spans import recording, span, trace_headers, traced

__all__ = ["recording", "span", "trace_headers", "traced"]
