"""Recording with OpenTelemetry: imported only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and in each process after its fork."""

from __future__ import annotations

import hmac
import logging
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import VERSION
from shared.errors import KeepsakeError
from shared.log import get_logger
from shared.metrics import SPANS, begin_at_zero

OURS = "keepsake"  # our entry in `tracestate`
TAG_CHARS = 32
QUEUE_SPANS = 2048
BATCH_SPANS = 256
DELAY_MS = 1000
EXPORT_TIMEOUT_S = 3.0
FLUSH_S = 2.0
begin_at_zero(SPANS, "exported", "lost")
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Begins and ends spans. Of the traces that begin here the share `ratio` is recorded, of others what their first says."""

    def __init__(self, tracer: Tracer, key: bytes, ratio: float) -> None:
        """`key` is shared by our processes: what carries its tag was sent by one of them."""
        self._tracer = tracer
        self._key = key
        self._ratio = ratio

    def given(self, traceparent: Sequence[str], tracestate: Sequence[str], *, trusted: bool) -> SpanContext | None:
        """Read the trace that a request is a part of, recorded or not; None where there is none, or a stranger says so."""
        if len(traceparent) != 1:
            return None
        carrier = {"traceparent": traceparent[0], "tracestate": ",".join(tracestate)}
        given = get_current_span(_PROPAGATOR.extract(carrier)).get_span_context()
        if given is INVALID_SPAN_CONTEXT or not given.is_valid:
            return None
        tag = given.trace_state.get(OURS)
        is_ours = tag is not None and hmac.compare_digest(tag.encode(), self._tag(given).encode())
        if not (trusted or is_ours):
            return None
        if tag is None:
            return given
        return SpanContext(
            given.trace_id,
            given.span_id,
            is_remote=True,
            trace_flags=given.trace_flags,
            trace_state=given.trace_state.delete(OURS),
        )

    def begin(self, name: str, given: SpanContext | None, attributes: Mapping[str, str]) -> Span:
        """Begin the span of a request, in the trace given or in a new one."""
        if given is None:
            if random.random() >= self._ratio:  # noqa: S311 - a share of requests is no secret
                ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
                return NonRecordingSpan(SpanContext(*ids, is_remote=False))
        elif not given.trace_flags.sampled:
            return NonRecordingSpan(given)
        parent = set_span_in_context(NonRecordingSpan(given or INVALID_SPAN_CONTEXT))
        return self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)

    def child(self, parent: Span, peer: str, operation: str) -> Span:
        """Begin a call to `peer`, a part of what `parent` does."""
        context = set_span_in_context(parent)
        return self._tracer.start_span(f"{peer} {operation}", context, SpanKind.CLIENT, {"peer.service": peer})

    @staticmethod
    def failed(span: Span, error: BaseException) -> None:
        """Note the kind of an error, never its text: that may hold anything. A refusal is none."""
        if not isinstance(error, KeepsakeError) or error.status >= 500:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)

    @staticmethod
    def answered(span: Span, status: int) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)

    def headers(self, span: Span) -> Mapping[str, str]:
        context = span.get_span_context()
        others = context.trace_state.to_header()
        state = f"{OURS}={self._tag(context)}{',' if others else ''}{others}"
        return {"traceparent": _traceparent(context), "tracestate": state}

    def _tag(self, context: SpanContext) -> str:
        return hmac.digest(self._key, _traceparent(context).encode(), "sha256").hex()[:TAG_CHARS]


def trace_id_of(span: Span) -> str:
    """Return the id of the trace as it is shown; empty where nothing is recorded."""
    return f"{span.get_span_context().trace_id:032x}" if span.is_recording() else ""


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"


class _CountedExporter(SpanExporter):
    """Counts the spans by what became of them, and says once that a collector went away, and once that it is back."""

    def __init__(self, exporter: SpanExporter, room: threading.Semaphore) -> None:
        self._exporter = exporter
        self._room = room
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._room.release(len(spans))
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        SPANS.labels("lost" if failed else "exported").inc(len(spans))
        if failed != self._fails:
            self._fails = failed
            if failed:
                get_logger().warning("traces_lost")
            else:
                get_logger().info("traces_exported_again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class CountedSpans(BatchSpanProcessor):
    """Exports spans in batches. One that finds `QUEUE_SPANS` waiting is lost and counted: the library's queue does not tell."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._room = threading.Semaphore(QUEUE_SPANS)
        super().__init__(
            _CountedExporter(exporter, self._room),
            max_queue_size=QUEUE_SPANS,
            max_export_batch_size=BATCH_SPANS,
            schedule_delay_millis=DELAY_MS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span until its batch is due. Only what is recorded gets here."""
        if self._room.acquire(blocking=False):
            super().on_end(span)
        else:
            SPANS.labels("lost").inc()


@contextmanager
def open_tracing(service: str, endpoint: str, ratio: float, key: bytes) -> Iterator[Tracing]:
    """Open a tracer whose spans a thread sends to the collector at `endpoint` (OTLP over HTTP, protobuf).

    At most 2048 spans wait, others are lost; the end waits 2 s at most for what is on its way.
    """
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # else a line for every batch that is lost
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider = TracerProvider(
        ALWAYS_ON,  # what is not to be recorded never gets here
        Resource.create({"service.name": service, "service.version": VERSION, "service.namespace": "keepsake"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(CountedSpans(exporter))
    try:
        yield Tracing(provider.get_tracer("keepsake", VERSION), key, ratio)
    finally:
        # In a thread of its own, since the library may wait for longer than an operator would.
        flush = threading.Thread(target=provider.shutdown, name="last traces", daemon=True)
        flush.start()
        flush.join(FLUSH_S)
