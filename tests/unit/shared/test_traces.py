from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.errors import DependencyDown, NotFound
from shared.metrics import SPANS
from shared.tracing import recording, span, trace_headers, traced
from shared.tracing.export import QUEUE_SPANS, CountedSpans, Tracing

KEY = b"our own"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_RECORDED = f"{PARENT[:-2]}00"


class Recorded:
    """A process that records every trace that begins in it, or the share given."""

    def __init__(self, key: bytes = KEY, ratio: float = 1) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider.get_tracer("tests"), key, ratio)

    @property
    def spans(self) -> dict[str, str | None]:
        """The spans that ended, with the kind of their error."""
        ended = self._exporter.get_finished_spans()
        return {span.name: (span.attributes or {}).get("error.type") for span in ended}  # type: ignore[misc]

    def request(self):
        return recording(self.tracing, self.tracing.begin("GET /things/{id}", None, {}))


def headers_of(process: Recorded) -> tuple[str, str]:
    with process.request():
        headers = trace_headers()
    return headers["traceparent"], headers["tracestate"]


def test_another_process_of_ours_goes_on_with_a_trace() -> None:
    parent, state = headers_of(Recorded())
    given = Recorded().tracing.given([parent], [state], trusted=False)
    assert given is not None
    assert f"{given.trace_id:032x}" == parent.split("-")[1]
    assert given.trace_state.to_header() == ""


def test_a_strangers_trace_does_not_go_on() -> None:
    parent, state = headers_of(Recorded())
    tracing = Recorded().tracing
    for parents, states in (
        ([PARENT], []),
        ([NOT_RECORDED], []),
        ([PARENT], [state]),
        ([NOT_RECORDED], [state]),
        ([PARENT], ["keepsake="]),
        ([PARENT], [f"keepsake={'é' * 16}"]),
        ([parent, parent], [state]),
        ([parent], [headers_of(Recorded(b"somebody else's"))[1]]),
        ([], [state]),
    ):
        assert tracing.given(parents, states, trusted=False) is None


def test_a_trusted_proxys_trace_goes_on_with_its_state() -> None:
    process = Recorded(ratio=0)
    given = process.tracing.given([PARENT], ["proxy=1", "other=2"], trusted=True)
    with recording(process.tracing, process.tracing.begin("GET /", given, {})):
        headers = trace_headers()
    assert headers["traceparent"].split("-")[1] == TRACE
    assert headers["tracestate"].endswith("proxy=1,other=2")
    assert Recorded().tracing.given([headers["traceparent"]], [headers["tracestate"]], trusted=False) is not None
    assert process.spans == {"GET /": None}


@given(parent=st.text(), states=st.lists(st.text(), max_size=2), trusted=st.booleans())
def test_whatever_is_sent_as_a_trace_is_read_or_left(parent: str, states: list[str], *, trusted: bool) -> None:
    for text in (parent, PARENT, PARENT[:-2] + parent):
        given = Recorded().tracing.given([text], states, trusted=trusted)
        assert given is None or given.is_valid


def test_a_trusted_proxys_trace_that_is_not_recorded_stays_so() -> None:
    tracing = Recorded().tracing
    given = tracing.given([NOT_RECORDED], [], trusted=True)
    assert not tracing.begin("GET /", given, {}).is_recording()


def test_a_trace_that_is_not_recorded_is_not_recorded_anywhere() -> None:
    first, second = Recorded(ratio=0), Recorded(ratio=1)
    with first.request():
        headers = trace_headers()
        with span("stripe", "create") as nothing:
            assert nothing is None
    given = second.tracing.given([headers["traceparent"]], [headers["tracestate"]], trusted=False)
    with recording(second.tracing, second.tracing.begin("GET /", given, {})):
        assert trace_headers() == headers
    assert first.spans == second.spans == {}


def test_the_share_is_the_one_that_was_asked_for() -> None:
    process = Recorded(ratio=0.05)
    random.seed(7)
    recorded = 0
    for _ in range(2000):
        with process.request() as begun:
            recorded += begun.is_recording()
    assert 60 <= recorded <= 140


async def test_outside_of_a_request_there_are_no_spans() -> None:
    @traced("disk", "put")
    async def put() -> dict[str, str]:
        return dict(trace_headers())

    assert await put() == {}
    process = Recorded()
    with process.request() as begun:
        assert (await put())["traceparent"].split("-")[2] != f"{begun.get_span_context().span_id:016x}"
        begun.end()
        with span("disk", "too late") as late:
            assert late is None
    assert process.spans == {"disk put": None, "GET /things/{id}": None}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("a secret"), None),
        (DependencyDown("storage"), "DependencyDown"),
        (ValueError("a secret"), "ValueError"),
    ],
)
def test_of_an_error_its_kind_alone_is_told_and_of_a_refusal_nothing(error: Exception, kind: str | None) -> None:
    process = Recorded()
    with pytest.raises(type(error)), process.request(), span("disk", "put"):
        raise error
    assert process.spans == {"disk put": kind, "GET /things/{id}": kind}
    assert not any(span.events or span.status.description for span in process._exporter.get_finished_spans())


class Held(InMemorySpanExporter):
    """A collector that does not answer until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait()
        return super().export(spans)


def test_a_span_that_finds_too_many_waiting_is_lost_and_counted() -> None:
    before = {end: SPANS.labels(end)._value.get() for end in ("lost", "exported")}
    provider, collector = TracerProvider(shutdown_on_exit=False), Held()
    provider.add_span_processor(CountedSpans(collector))
    tracer = provider.get_tracer("tests")
    for _ in range(2 * QUEUE_SPANS):
        tracer.start_span("disk put").end()
    collector.go.set()
    provider.shutdown()
    exported = len(collector.get_finished_spans())
    assert QUEUE_SPANS <= exported < 2 * QUEUE_SPANS
    assert SPANS.labels("exported")._value.get() - before["exported"] == exported
    assert SPANS.labels("lost")._value.get() - before["lost"] == 2 * QUEUE_SPANS - exported
