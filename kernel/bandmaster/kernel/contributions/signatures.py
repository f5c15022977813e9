"""Read the needs of a callable, and the type that it provides, from its signature."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from bandmaster.kernel.contributions.keys import Collected, Key, find_collection, is_too_wide, type_name
from bandmaster.kernel.errors import SignatureError


class Kind(Enum):
    """The source of a parameter's value."""

    RESOURCE = "resource"
    SETTINGS = "settings"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Need:
    """One parameter that the kernel fills, and the key that the parameter asks for."""

    parameter: str
    key: Key
    kind: Kind
    optional: bool
    """Whether ``None`` or a default may be passed if nothing provides the type."""
    has_default: bool = False
    collection: Collected | None = None
    """The collection for which the parameter asks; None for a parameter that asks for one object."""
    decorated: bool = False
    """Whether the parameter takes the object that the component decorates."""

    @property
    def empty(self) -> Any:
        """The argument where nothing provides the type, and the parameter has no default."""
        if self.collection is None or self.is_plain:
            return None
        return self.collection.gather(())

    @property
    def is_plain(self) -> bool:
        """Whether the parameter asks for a collection of plain values, such as text, which parts rarely provide."""
        member: Any = None if self.collection is None else self.collection.member
        return get_origin(member) is Literal or getattr(member, "__module__", "") == "builtins"

    def __str__(self) -> str:
        return f"{self.parameter}: {self.key}"


_MANAGERS = (AsyncIterator, AsyncGenerator, AsyncIterable, AbstractAsyncContextManager)
_SKIPPED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def is_settings(kind: Any) -> bool:
    """Whether a type is a model of pydantic-settings, which is read from the environment."""
    # Not imported here: pydantic costs more than the whole kernel, and no class derives from one of a module that isn't
    # loaded.
    module = sys.modules.get("pydantic_settings")
    return module is not None and inspect.isclass(kind) and issubclass(kind, module.BaseSettings)


def read_needs(
    function: Callable[..., Any], *, given: Collection[str] = (), positional: int = 0, context: type | None = None
) -> list[Need]:
    """The parameters that the kernel has to fill: all except those in ``given`` and the first ``positional`` ones.

    Raises:
        SignatureError: a parameter has no annotation, or one that is too wide.
    """
    bound = {
        name for inner in walk_wrapped(function) if isinstance(inner, functools.partial) for name in inner.keywords
    }
    needs = []
    for parameter in parameters(function)[positional:]:
        if parameter.name in given or parameter.name in bound or parameter.kind in _SKIPPED:
            continue
        has_default = parameter.default is not parameter.empty
        if parameter.annotation is parameter.empty:
            if has_default:
                continue
            raise SignatureError(f"parameter {parameter.name!r} has no type; write one, or give it a default")
        try:
            annotation = _resolve(f"the type of parameter {parameter.name!r}", parameter.annotation, function)
        except SignatureError:
            # A class may be from another package, where the part's author can't mend annotations. The default is used.
            if has_default and isinstance(function, type):
                continue
            raise
        need = _make_need(parameter.name, annotation, has_default, context)
        if need is None:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SignatureError(
                f"parameter {parameter.name!r} is positional-only; the kernel passes arguments by name"
            )
        needs.append(need)
    return needs


def read_provides(function: Callable[..., Any]) -> list[Key]:
    """The type of the value that the context manager of ``function`` yields; nothing for ``None`` or no annotation.

    Raises:
        SignatureError: the return annotation isn't one of an async generator or an async context manager.
    """
    return [key for annotation in _read_yielded(function) for key in _read_provided(annotation)]


def declares_none(function: Callable[..., Any]) -> bool:
    """Whether the return annotation says that the context manager of ``function`` yields None."""
    try:
        return any(annotation in (None, type(None)) for annotation in _read_yielded(function))
    except SignatureError:
        return False


def _read_yielded(function: Callable[..., Any]) -> list[Any]:
    """The annotation of the value that the context manager of ``function`` yields; nothing without one."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return _read_entered(function)
    annotation = _read_signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return []
    returned = _expand_alias(_resolve("its return type", annotation, function))
    origin = get_origin(returned) or returned
    if origin in _MANAGERS:
        return list(get_args(returned)[:1])
    if inspect.isclass(origin) and hasattr(origin, "__aenter__"):
        return _read_entered(returned)
    if origin is type(None):
        return [None]
    raise SignatureError(
        f"it returns {type_name(returned)}; write AsyncIterator[T] for an async generator with one yield, or "
        "AbstractAsyncContextManager[T]"
    )


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a callable, in order; of a class, those of its constructor.

    Raises:
        SignatureError: the callable is built in, without a signature.
    """
    return list(_read_signature(function).parameters.values())


def _read_signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        if not isinstance(function, type) or hasattr(function, "__signature__"):
            return inspect.signature(function)
        # By hand, since `inspect` prefers a __new__(cls, *args, **kwargs), which says nothing, to the __init__.
        signature = inspect.signature(_find_constructor(function))
    except ValueError as error:
        raise SignatureError(f"its signature can't be read: {error}") from error
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _find_constructor(kind: type[Any]) -> Any:
    made: Any = kind  # Any, so that mypy lets the methods be compared
    has_init = made.__init__ is not object.__init__
    return made.__init__ if has_init or made.__new__ is object.__new__ else made.__new__


def walk_wrapped(function: Any) -> Iterator[Any]:
    """The callable, the callable inside, and so on, down to the function in the code."""
    while True:
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, type):
            function = _find_constructor(function)
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.isroutine(function):
            return
        else:
            function = type(function).__call__


def _resolve(label: str, annotation: Any, function: Any) -> Any:
    """An annotation as an object, resolved in the namespace of the annotated function."""
    *_, written = walk_wrapped(function)
    holder = types.SimpleNamespace(
        __annotations__={"it": annotation}, __type_params__=getattr(written, "__type_params__", ())
    )
    try:
        hints = get_type_hints(
            cast("Any", holder), getattr(written, "__globals__", {}), _list_closure(written), include_extras=True
        )
    except NameError as error:
        raise SignatureError(
            f"{label} can't be resolved: {error}. Import the name at run time, not under TYPE_CHECKING, and define it "
            "at module level, or in the function around before this one"
        ) from error
    except Exception as error:  # an annotation is an expression, and may raise anything
        raise SignatureError(f"{label} can't be resolved: {type(error).__name__}: {error}") from error
    return hints["it"]


def _list_closure(function: Any) -> dict[str, Any]:
    """The variables of the functions around that a function uses."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    variables = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        with suppress(ValueError):  # not assigned yet
            variables[name] = cell.cell_contents
    return variables


def _expand_alias(annotation: Any) -> Any:
    """The value of a ``type X = ...`` alias; any other annotation unchanged."""
    while True:
        origin = get_origin(annotation) or annotation
        if type(origin).__name__ != "TypeAliasType":
            return annotation
        arguments = get_args(annotation)
        try:
            annotation = origin.__value__[arguments] if arguments else origin.__value__
        except NameError as error:
            raise SignatureError(f"the type {origin.__name__} can't be resolved: {error}") from error


def _make_need(name: str, annotation: Any, has_default: bool, context: type | None) -> Need | None:
    key, nullable = _read_key(annotation)
    optional = has_default or nullable
    collection = find_collection(key.type)
    if collection is not None:
        return _make_collection_need(name, key.name, collection, optional, has_default)
    if is_too_wide(key.type):
        if has_default:
            return None
        raise SignatureError(f"parameter {name!r} has the type {type_name(key.type)}, which doesn't say what it needs")
    if context is not None and key.type is context:
        return Need(name, key, Kind.CONTEXT, optional, has_default)
    kind = Kind.SETTINGS if is_settings(key.type) else Kind.RESOURCE
    return Need(name, key, kind, optional, has_default)


def _make_collection_need(
    name: str, named: str | None, asked: Collected, optional: bool, has_default: bool
) -> Need | None:
    inner, _ = _read_key(asked.member)
    collection = asked._replace(member=inner.type)
    if named or inner.name:
        one = f"Annotated[{type_name(inner.type)}, Named({named or inner.name!r})]"
        raise SignatureError(
            f"parameter {name!r} asks for every {type_name(inner.type)}, and by Named for one; write {collection.key} "
            f"for all of them, or {one} for the one"
        )
    if is_too_wide(asked.member) or is_too_wide(inner.type):
        if has_default:
            return None
        raise SignatureError(f"parameter {name!r} has the type {collection.key}, which doesn't say what it needs")
    return Need(name, collection.key, Kind.RESOURCE, optional, has_default, collection)


def _read_key(annotation: Any) -> tuple[Key, bool]:
    """The key of an annotation, and whether the annotation allows None as well."""
    name, nullable = None, False
    while True:
        inner = _expand_alias(annotation)
        if get_origin(inner) is Annotated:
            key = Key.of(inner)
            inner, name = key.type, name or key.name
        members = [member for member in get_args(inner) if member is not type(None)]
        if get_origin(inner) in (Union, types.UnionType) and len(members) == 1:
            inner, nullable = members[0], True
        if inner is annotation:
            return Key(annotation, name), nullable
        annotation = inner


def _read_entered(annotation: Any) -> list[Any]:
    """The annotation of the value that ``async with ... as`` binds."""
    manager = get_origin(annotation) or annotation
    enter = getattr(manager, "__aenter__", None)
    if enter is None:
        raise SignatureError(f"{type_name(manager)} is no async context manager: it has no __aenter__")
    try:
        value = inspect.signature(enter).return_annotation
    except ValueError:
        return []
    if value is inspect.Signature.empty:
        return []
    # The text of an annotation that the class's author has quoted has the quotes, where every annotation is text.
    if isinstance(value, str) and value.strip("\"'").rpartition(".")[2] in ("Self", manager.__name__):
        return [annotation]  # whether the name can be had at run time or not
    value = _expand_alias(_resolve(f"the return type of {manager.__name__}.__aenter__", value, enter))
    declared: tuple[Any, ...] = getattr(manager, "__parameters__", ())
    if value in declared:
        arguments = dict(zip(declared, get_args(annotation), strict=False))
        return [arguments[value]] if value in arguments else []
    # A type variable on self means the same as Self, which is newer.
    return [annotation] if value is Self or isinstance(value, TypeVar) else [value]


def _read_provided(annotation: Any) -> list[Key]:
    key, nullable = _read_key(annotation)
    if nullable or get_origin(key.type) in (Union, types.UnionType):
        provided = f"{type_name(key.type)} | None" if nullable else type_name(key.type)
        raise SignatureError(f"it provides {provided}; a component provides one type, always")
    return [] if is_too_wide(key.type) else [key]
