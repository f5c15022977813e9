"""What the brokers of this package have in common."""

from __future__ import annotations

from typing import Any

from taskiq import AsyncBroker


class IsolatingBroker(AsyncBroker):
    """A broker whose tasks don't meet in one dictionary.

    A stock `Receiver` writes each task's context into ``custom_dependency_context``, in which others that run at the same
    time then find it: tasks have seen another tenant's.
    """

    _dependency_context: dict[Any, Any]

    @property
    def custom_dependency_context(self) -> dict[Any, Any]:
        """A copy, for each who asks, of what `add_dependency_context` was given."""
        return dict(self._dependency_context)

    @custom_dependency_context.setter
    def custom_dependency_context(  # pyright: ignore[reportIncompatibleVariableOverride]  # a plain attribute there
        self, context: dict[Any, Any]
    ) -> None:
        self._dependency_context = dict(context)

    def add_dependency_context(self, new_ctx: dict[Any, Any]) -> None:
        """Let tasks depend on these, by their types."""
        self._dependency_context.update(new_ctx)
