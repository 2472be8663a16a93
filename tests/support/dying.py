"""A process that dies at a chosen step: before or after any of the calls that go through it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """No code of ours catches it, as none runs after a SIGKILL."""


class Death:
    """Comes at the step with the number `at`; each call is two steps, for it may die before or after what it does."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        """Die here, or let one more step pass."""
        if self._left == 0:
            raise Killed
        self._left -= 1

    def on(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return an asynchronous call that this death may come to."""

        async def dying(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = await call(*arguments, **named)
            self.step()
            return result

        return dying

    def to(self, inner: Any) -> Any:
        """Return an object whose asynchronous methods this death may come to."""
        return _Dying(inner, self)


class _Dying:
    def __init__(self, inner: Any, death: Death) -> None:
        self._inner = inner
        self._death = death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._death.on(found) if inspect.iscoroutinefunction(inspect.unwrap(found)) else found
