"""An OpenTelemetry collector: takes traces over HTTP as any other does (OTLP 1.x, protobuf), and keeps them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

ARRIVE_S = 30


@dataclass(frozen=True)
class Span:
    """One span, and the process it is from."""

    process: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, object]


@dataclass
class Collector:
    """What arrived: the spans, and every byte of the requests."""

    port: int
    spans: list[Span] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be."""
        return f"http://127.0.0.1:{self.port}"

    def take(self, body: bytes) -> None:
        """Read one export."""
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        names["service.name"],
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.kind,
                        {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes},
                    )
                    for span in scope.spans
                ]

    def named(self, process: str, name: str) -> list[Span]:
        """Return a process's spans with a name."""
        return [span for span in self.spans if (span.process, span.name) == (process, name)]

    def wait(self, there: Callable[[Collector], bool]) -> None:
        """Wait until what is looked for has arrived: processes send what they have once a second."""
        deadline = time.monotonic() + ARRIVE_S
        while not there(self):
            assert time.monotonic() < deadline, sorted((span.process, span.name) for span in self.spans)
            time.sleep(0.05)

    def trace_of(self, process: str, name: str, *expected: tuple[str, str]) -> list[Span]:
        """Return the one trace that began with this span, once the expected spans of it, and those above, are there."""
        found: list[Span] = []

        def whole(collector: Collector) -> bool:
            roots = [span for span in collector.named(process, name) if not span.parent_id]
            found[:] = [span for span in collector.spans if roots and span.trace_id == roots[-1].trace_id]
            ids = {"", *(span.span_id for span in found)}
            there = {(span.process, span.name) for span in found}
            return bool(roots) and set(expected) <= there and all(span.parent_id in ids for span in found)

        self.wait(whole)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
                self.send_error(404)
                return
            collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
