"""Find out whether a host's own lifespan has started a mounted app, by other ways than the app's router."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import AsyncGeneratorType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, Self

from bandmaster.kernel.hosting.frameworks import list_variables
from bandmaster.kernel.hosting.references import list_functions, list_named_objects

_LIBRARIES = {*sys.stdlib_module_names, "anyio", "trio", "sniffio", "starlette", "fastapi"}
"""Modules with functions that don't tell which app is started: every lifespan may call `asyncio.sleep`."""


class Finding(Enum):
    """Whether the host's lifespan has started a mounted app."""

    STARTED = "the host's own lifespan has started it"
    SHARED = "the host's own lifespan enters all that the app's lifespan enters"
    UNCLEAR = "the host's own lifespan has entered something that the app's lifespan enters as well"
    NOT_STARTED = "the host's own lifespan hasn't started it"


class Entry(NamedTuple):
    """A function that a lifespan enters or awaits, told from others by identity."""

    code: CodeType
    owner: int | None
    """The object of a method; None for a plain function."""
    variables: tuple[int, ...]
    """The values that the function closes over."""
    stays_open: bool
    """Whether it is an async generator, which stays open while the lifespan does."""


class OpenGenerator(NamedTuple):
    """An async generator that has begun and isn't over."""

    code: CodeType
    arguments: list[Any]
    variables: tuple[int, ...]

    def runs(self, entry: Entry) -> bool:
        """Whether this is the generator of an entry."""
        owned = entry.owner is None or any(id(owner) == entry.owner for owner in self.arguments[:1])
        return owned and self.code is entry.code and self.variables == entry.variables


class AsyncGeneratorWatch:
    """Notes which async generators begin in this thread, until `end` is called or the block is left.

    Most lifespans, and most context managers within them, are async generators. The hook is Python's own; that of the
    event loop is called as before.
    """

    def __init__(self) -> None:
        self._begun: list[AsyncGeneratorType[Any, Any]] = []
        self._before: Callable[[AsyncGenerator[Any, Any]], None] | None = None
        self._ended = False

    def __enter__(self) -> Self:
        self._before = sys.get_asyncgen_hooks().firstiter
        sys.set_asyncgen_hooks(firstiter=self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Put the hook of the event loop back."""
        self._begun.clear()
        self._ended = True
        # Unless another hook has been set since, which calls this one.
        if sys.get_asyncgen_hooks().firstiter == self._note:
            sys.set_asyncgen_hooks(firstiter=self._before)

    def list_open(self) -> list[OpenGenerator]:
        """The generators that have begun and aren't over."""
        return [
            _describe_generator(generator.ag_code, generator.ag_frame.f_locals)
            for generator in self._begun
            if generator.ag_frame is not None
        ]

    def _note(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._ended and isinstance(generator, AsyncGeneratorType):  # not one of compiled code
            self._begun.append(generator)
        if self._before is not None:
            self._before(generator)


class Suspect(NamedTuple):
    """A mounted app that the host's lifespan may start."""

    app: Any
    lifespan: Any = None
    """The app's lifespan, if it can be read."""
    handlers: Sequence[Any] = ()
    """The functions that the app calls when it starts."""


def judge_suspect(
    suspect: Suspect, host_lifespan: Any, opened: Sequence[OpenGenerator], others: Iterable[Any]
) -> Finding:
    """Find out whether a host's lifespan, which has just started, has started a mounted app as well.

    ``opened`` are the generators that have begun meanwhile, ``others`` the other mounted apps.
    """
    if any(argument is suspect.app for generator in opened for argument in generator.arguments[:1]):
        return Finding.STARTED  # the app's lifespan, or a method of the app
    parts = _list_parts(suspect.lifespan) - _list_parts(host_lifespan)
    elsewhere = [generator for generator in opened if _has_argument(generator, others)]
    begun = {part for part in parts for generator in opened if generator not in elsewhere and generator.runs(part)}
    if begun:
        return Finding.STARTED if begun == parts else Finding.UNCLEAR
    needed = _list_entries(suspect.lifespan)
    named = [item for function, _ in list_functions(host_lifespan) for item in list_named_objects(function)]
    handled = all(any(handler == item for item in named) for handler in suspect.handlers)
    if not needed:
        return Finding.SHARED if suspect.handlers and handled else Finding.NOT_STARTED
    held = {entry for entry in needed for generator in opened if entry.stays_open and generator.runs(entry)}
    awaited = {entry for entry in _list_entries(host_lifespan) if not entry.stays_open}
    if handled and needed <= held | awaited:
        return Finding.SHARED
    return Finding.UNCLEAR if held else Finding.NOT_STARTED


def _describe_generator(code: CodeType, values: Mapping[str, Any]) -> OpenGenerator:
    arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    return OpenGenerator(code, arguments, tuple(id(values[name]) for name in code.co_freevars if name in values))


def _has_argument(generator: OpenGenerator, apps: Iterable[Any]) -> bool:
    return any(argument is app for argument in generator.arguments for app in apps)


def _list_parts(lifespan: Any) -> set[Entry]:
    """The generator functions of which a lifespan consists, without those of the frameworks."""
    return {
        entry
        for function, owner in list_functions(lifespan)
        if inspect.isasyncgenfunction(function) and not _is_of_library(function)
        for entry in [_make_entry(function, owner)]
    }


def _list_entries(lifespan: Any) -> set[Entry]:
    """The functions that a lifespan enters or awaits, as far as its code names them.

    A function with parameters counts only as the method of an object: a lifespan that enters `create_pool(url)` has a
    pool of its own, while two that enter `pool.open()` open the same one.
    """
    found: set[Entry] = set()
    for function, owner in list_functions(lifespan):
        names = [*function.__code__.co_names]
        if any("ASYNC_WITH" in step.opname or step.argrepr == "__aenter__" for step in dis.get_instructions(function)):
            names.append("__aenter__")
        for item in list_named_objects(function, owner):
            if type(item) in (FunctionType, MethodType):
                found.update(_read_entry(item, None))
            elif not issubclass(type(item), ModuleType):
                kind = item if issubclass(type(item), type) else type(item)
                for name in names:
                    found.update(_read_entry(inspect.getattr_static(kind, name, None), item))
    return found


def _read_entry(function: Any, owner: Any) -> Iterator[Entry]:
    if type(function) is MethodType:
        function, owner = function.__func__, function.__self__
    elif type(function) in (classmethod, staticmethod):
        function = function.__func__
    inner = inspect.unwrap(function) if type(function) is FunctionType else None
    if type(inner) is not FunctionType or _is_of_library(inner):
        return
    waits = inspect.isasyncgenfunction(inner) or inspect.iscoroutinefunction(inner)
    if waits and (owner is not None or not inner.__code__.co_argcount):
        yield _make_entry(inner, owner)


def _make_entry(function: FunctionType, owner: Any) -> Entry:
    variables = tuple(map(id, list_variables(function).values()))
    identity = None if owner is None else id(owner)
    return Entry(function.__code__, identity, variables, inspect.isasyncgenfunction(function))


def _is_of_library(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] in _LIBRARIES
