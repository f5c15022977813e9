"""The context manager of a component, with checks: one yield, and a value of the declared type."""

from __future__ import annotations

import contextlib
import inspect
from contextlib import AbstractAsyncContextManager, _AsyncGeneratorContextManager
from types import FrameType, TracebackType
from typing import Any

from bandmaster.kernel.contributions.instances import may_be
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.contributions.signatures import declares_none
from bandmaster.kernel.contributions.yields import find_followed_yields
from bandmaster.kernel.errors import YieldError
from bandmaster.kernel.imports import describe_object
from bandmaster.kernel.planning.plan import Component
from bandmaster.kernel.planning.wiring import render_key


class ComponentManager(AbstractAsyncContextManager[Any]):
    """Enters and exits the context manager that a component's factory has made.

    A generator that yields never, or again, is reported with the line, and so is a value that isn't of the declared
    type. Such a value's component is exited at once.
    """

    __slots__ = ("_component", "manager")

    def __init__(self, component: Component, manager: AbstractAsyncContextManager[Any]) -> None:
        self._component = component
        self.manager = manager
        """The context manager that the factory has made."""

    @classmethod
    def make(cls, component: Component, arguments: dict[str, Any]) -> ComponentManager:
        """Call the component's factory.

        Raises:
            YieldError: the factory returned something that is no async context manager.
        """
        factory = component.contribution.factory
        made = factory(**arguments)
        if hasattr(made, "__aenter__") and hasattr(made, "__aexit__"):
            return cls(component, made)
        if inspect.iscoroutine(made):
            made.close()  # or Python warns that it was never awaited
        raise YieldError(
            f"the function returned {describe_object(made)}, which is no async context manager "
            f"({find_place(factory)}). Write async def with one yield, or return an async context manager."
        )

    async def __aenter__(self) -> Any:
        """Start the component.

        Raises:
            YieldError: the generator didn't yield, is certain to yield again, or yielded another type than declared.
        """
        frame = self._frame
        try:
            value = await self.manager.__aenter__()
        except RuntimeError as error:
            if frame is None or not _is_of_contextlib(error):
                raise
            raise _make_error(
                f"the function ended without a yield ({_render_line(frame)}). Every path has to yield once, and the "
                "start ends there: add a bare yield to this path, or raise an exception to fail the start.",
                frame,
                frame.f_lineno,
            ) from None
        finally:
            del frame  # a frame that holds the exception of the frame that holds it is a reference cycle
        if fault := self._find_fault(value):
            await self._leave(fault)
            raise fault
        return value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Stop the component.

        Raises:
            YieldError: the generator yielded again.
        """
        frame = self._frame
        first = frame.f_lineno if frame is not None else 0
        try:
            return await self.manager.__aexit__(kind, error, trace)
        except RuntimeError as raised:
            if frame is None or not _is_of_contextlib(raised):
                raise
            raise _make_second_yield_error(frame, first, frame.f_lineno) from None
        finally:
            del frame

    @property
    def _frame(self) -> FrameType | None:
        """The frame of a generator; it knows the last line also when the generator has ended."""
        generator = self.manager.gen if isinstance(self.manager, _AsyncGeneratorContextManager) else None
        return getattr(generator, "ag_frame", None)

    def _find_fault(self, value: object) -> YieldError | None:
        """The fault of a component that has just yielded; None without one."""
        frame = self._frame
        if (declared := self._find_other_type(value)) is not None:
            factory = self._component.contribution.factory
            place = find_place(factory) if frame is None else _render_line(frame)
            return _make_error(
                f"the function yields {describe_object(value)} ({place}), but is declared to provide {declared}",
                frame,
                frame.f_lineno if frame is not None else 0,
            )
        if frame is None:
            return None
        second = find_followed_yields(frame.f_code).get(frame.f_lineno)
        return None if second is None else _make_second_yield_error(frame, frame.f_lineno, second)

    def _find_other_type(self, value: object) -> str | None:
        """The declaration that a value doesn't fit, with the remedy; None if the value fits."""
        contribution = self._component.contribution
        kind = type_name(type(value))
        annotation = f"the return annotation: -> AsyncIterator[{kind}]"
        if isinstance(contribution.factory, type):
            annotation = f"the return annotation of __aenter__: -> {kind}"
        for key in self._component.provides:
            if not may_be(value, key.type):
                declaration = "provides=" if key in contribution.provides else annotation
                return f"{render_key(key)}. Yield one, or correct {declaration}."
        if value is not None and not self._component.provides and declares_none(contribution.factory):
            return f"nothing. Leave out the value, or correct {annotation}."
        return None

    async def _leave(self, fault: YieldError) -> None:
        """Exit the component for a fault, as a stop does."""
        try:
            await self.__aexit__(None, None, None)
        except YieldError:
            pass  # the fault itself, or one more of the same function
        except Exception as error:  # noqa: BLE001  # the fault is the cause, and is raised
            fault.add_note(f"and then its stop failed: {type(error).__name__}: {error}")


def _make_second_yield_error(frame: FrameType, first: int, second: int) -> YieldError:
    return _make_error(
        f"the function yields again ({frame.f_code.co_filename}:{second}), after the yield in line {first}. A "
        "component has started at its yield, and stops with the code after it, so each path has one yield: remove one, "
        "or put them into branches that exclude each other (return after the first, or else).",
        frame,
        second,
    )


def _make_error(message: str, frame: FrameType | None, line: int) -> YieldError:
    """An error with a traceback that ends in the line of the component, as if that had raised the error."""
    error = YieldError(message)
    return error if frame is None else error.with_traceback(TracebackType(None, frame, -1, line))


def _render_line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_of_contextlib(error: BaseException) -> bool:
    """Whether contextlib itself raised an error here, and not the code of the component."""
    if error.__cause__ is not None:
        return False  # Python's own error in place of a StopIteration or a StopAsyncIteration, which is the cause
    trace = error.__traceback__
    inner = trace.tb_next if trace is not None else None
    return inner is not None and inner.tb_next is None and inner.tb_frame.f_code.co_filename == contextlib.__file__
