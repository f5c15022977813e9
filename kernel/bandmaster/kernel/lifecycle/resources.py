"""Find the values of running components by type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from bandmaster.kernel.contributions.keys import Key, find_collection, type_name
from bandmaster.kernel.errors import DegradedError
from bandmaster.kernel.text import list_names, suggest

if TYPE_CHECKING:
    from typing import _SpecialForm

_T = TypeVar("_T")
_D = TypeVar("_D")
# For mypy, a class that can't be instantiated, such as a protocol, is no type[T], but it is callable. A pair is typed
# by its class; an Annotated type by nothing, since checkers take it for a special form.
_Type: TypeAlias = type[_T] | Callable[..., _T]


class Scoped(Generic[_T]):
    """A resource that is opened anew for each request or task, found under ``Scoped[AsyncSession]``.

    ``open`` makes an async context manager that yields one and sees the exception of the request or task::

        @lifespan(band=LifespanBand.PERSISTENCE)
        async def sessions(manager: DatabaseManager) -> AsyncIterator[Scoped[AsyncSession]]:
            yield Scoped(manager.session)


        async with resources[Scoped[AsyncSession]].open() as session:
            ...
    """

    __slots__ = ("open",)

    def __init__(self, open: Callable[[], AbstractAsyncContextManager[_T]]) -> None:  # noqa: A002  # as it is read
        self.open = open


class Resources:
    """The values of the running components, by type: ``resources[DatabaseManager]``.

    Where a type has several, the name tells them apart: ``resources[DatabaseManager, "replica"]``. All of them come by
    ``resources[Sequence[Exporter]]`` in plan order, and by ``resources[Mapping[str, Exporter]]`` by the names of their
    parts; both are empty where nothing provides the type.
    """

    __slots__ = ("_degraded", "_members", "_several", "_values")

    def __init__(
        self,
        values: Mapping[Key, Any] | None = None,
        members: Mapping[Any, Sequence[tuple[str, Any]]] | None = None,
        several: Mapping[Key, Sequence[str]] | None = None,
        *,
        degraded: Mapping[Key, tuple[str, str]] | None = None,
    ) -> None:
        self._values: dict[Key, Any] = dict(values or {})
        if members is None:
            members = _list_members(self._values)
        self._members = dict(members)
        """The objects of each type with the names of their parts, in plan order."""
        self._several = dict(several or {})
        """The names of the parts that provide a key, where there are several."""
        self._degraded = dict(degraded or {})
        """The keys of components that failed to start, each with the name and the reason."""

    @overload
    def __getitem__(self, key: _Type[_T]) -> _T: ...
    @overload
    def __getitem__(self, key: tuple[_Type[_T], str]) -> _T: ...
    @overload
    def __getitem__(self, key: Key | _SpecialForm) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        """The value of that type.

        Raises:
            DegradedError: the component for that type failed to start, and the application serves without.
            KeyError: no running part provides the value, or several do; the message lists the available keys.
        """
        # A Key is a tuple, so a plain pair finds it; a bare type is the common case.
        try:
            return self._values[key if isinstance(key, tuple) else (key, None)]  # type: ignore[index]
        except KeyError:
            pass
        address = Key.of(key)
        if address in self._values:
            return self._values[address]
        if address in self._degraded:
            name, reason = self._degraded[address]
            raise DegradedError(
                f"no component provides {address}: {name!r} would, but is degraded since its start failed: {reason}",
                component=name,
            )
        collection = find_collection(address.type)
        if collection is None or address.name is not None:
            raise KeyError(self._describe_missing(address)) from None
        return collection.gather(self._members.get(collection.member, ()))

    @overload
    def get(self, key: _Type[_T]) -> _T | None: ...
    @overload
    def get(self, key: _Type[_T], default: _D) -> _T | _D: ...
    @overload
    def get(self, key: tuple[_Type[_T], str]) -> _T | None: ...
    @overload
    def get(self, key: tuple[_Type[_T], str], default: _D) -> _T | _D: ...
    @overload
    def get(self, key: Key | _SpecialForm, default: Any = None) -> Any: ...
    def get(self, key: Any, default: Any = None) -> Any:
        """The value of that type, or ``default``.

        Raises:
            KeyError: several parts provide the type; a default would hide that the choice is open.
        """
        address = Key.of(key)
        if address in self._values:
            return self._values[address]
        is_collection = address.name is None and find_collection(address.type) is not None
        return self[address] if is_collection or address in self._several else default

    def __contains__(self, key: Any) -> bool:
        address = Key.of(key)
        if address in self._values:
            return True
        collection = find_collection(address.type)
        return collection is not None and address.name is None and bool(self._members.get(collection.member))

    @property
    def several(self) -> Mapping[Key, Sequence[str]]:
        """The keys that several parts provide, with the names of the parts. None of them is the object of its key."""
        return MappingProxyType(self._several)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Types only: a value's repr may hold a secret.
        return f"<Resources: {', '.join(map(str, self._values)) or 'none'}>"

    def _describe_missing(self, key: Key) -> str:
        if key in self._several:
            kind = type_name(key.type)
            return (
                f"{list_names(self._several[key])} provide {key} each; ask for one by its name, or for all by "
                f"Sequence[{kind}]"
            )
        there = sorted(map(str, self._values))
        return f"no component provides {key}.{suggest(str(key), there)} There is: {', '.join(there) or 'nothing'}"


def _list_members(values: Mapping[Key, Any]) -> dict[Any, list[tuple[str, Any]]]:
    """The objects of each type, each under the name of its key, or of its type; one with several keys is one object."""
    found: dict[Any, dict[int, tuple[str, Any]]] = {}
    for key, value in values.items():
        found.setdefault(key.type, {}).setdefault(id(value), (key.name or type_name(key.type), value))
    return {kind: list(members.values()) for kind, members in found.items()}
