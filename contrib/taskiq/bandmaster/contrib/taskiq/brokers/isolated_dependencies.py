"""The base of this package's brokers, which keeps the dependencies of concurrent tasks apart."""

from __future__ import annotations

from typing import Any

from taskiq import AsyncBroker


class IsolatingBroker(AsyncBroker):
    """A broker whose tasks don't share one dictionary of dependencies.

    TaskIQ's own `Receiver` writes each task's context into ``custom_dependency_context``. Tasks that run at the same
    time then read it there, so that a task could get another tenant's context.
    """

    _dependency_context: dict[Any, Any]

    @property
    def custom_dependency_context(self) -> dict[Any, Any]:
        """A copy of the values that `add_dependency_context` was given, made for each caller."""
        return dict(self._dependency_context)

    @custom_dependency_context.setter
    def custom_dependency_context(  # pyright: ignore[reportIncompatibleVariableOverride]  # a plain attribute there
        self, context: dict[Any, Any]
    ) -> None:
        self._dependency_context = dict(context)

    def add_dependency_context(self, new_ctx: dict[Any, Any]) -> None:
        """Let tasks depend on these values by type."""
        self._dependency_context.update(new_ctx)
