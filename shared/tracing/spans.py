"""The spans of the request at work. Where none is recorded, a span costs the look at one variable, and imports nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from shared.tracing.export import Tracing

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_current: ContextVar[tuple[Tracing, Span] | None] = ContextVar("current_span", default=None)
_NOTHING: AbstractContextManager[None] = nullcontext()


@contextmanager
def recording(tracing: Tracing, begun: Span) -> Iterator[Span]:
    """Let `begun` be the span of what runs in the block, and end it there."""
    before = _current.get()
    _current.set((tracing, begun))
    try:
        yield begun
    except BaseException as error:
        tracing.failed(begun, error)
        raise
    finally:
        _current.set(before)
        begun.end()


def span(peer: str, operation: str) -> AbstractContextManager[Span | None]:
    """Time the block, in which the request at work asks `peer` for something.

    Both words come from the code alone: nothing that was sent by somebody, or made for somebody, is in them.
    """
    at_work = _current.get()
    if at_work is None or not at_work[1].is_recording():  # nor is the work that outlives its request
        return _NOTHING
    tracing, parent = at_work
    return recording(tracing, tracing.child(parent, peer, operation))


def traced(
    peer: str, operation: str
) -> Callable[[Callable[_Given, Coroutine[Any, Any, _Result]]], Callable[_Given, Coroutine[Any, Any, _Result]]]:
    """Decorate an asynchronous method, each call of which is a span."""

    def decorate(
        method: Callable[_Given, Coroutine[Any, Any, _Result]],
    ) -> Callable[_Given, Coroutine[Any, Any, _Result]]:
        async def in_span(*args: _Given.args, **options: _Given.kwargs) -> _Result:
            with span(peer, operation):
                return await method(*args, **options)

        @wraps(method)
        def call(*args: _Given.args, **options: _Given.kwargs) -> Coroutine[Any, Any, _Result]:
            # Without a trace there is nothing around the method.
            return (method if _current.get() is None else in_span)(*args, **options)

        return call

    return decorate


def trace_headers() -> Mapping[str, str]:
    """Return the headers by which another process of ours goes on with the trace (W3C Trace Context)."""
    at_work = _current.get()
    return at_work[0].headers(at_work[1]) if at_work is not None else {}
