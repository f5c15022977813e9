"""Find who provides each type: one part, a chain of decorators around one, or several parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bandmaster.kernel.contributions.keys import Key, find_collection
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.text import list_names


@dataclass(frozen=True, slots=True)
class Provider:
    """A component, a value or an override that provides an object."""

    kind: Literal["component", "value", "override"]
    name: str
    """The part's name. An override has the name of the part that it replaces; of none or several, that of its type."""
    value: Any = field(default=None, compare=False, repr=False)
    """The object of a value or an override. A component has one while it runs."""

    def __str__(self) -> str:
        return "an override" if self.kind == "override" else repr(self.name)


class Offer(NamedTuple):
    """The keys under which a provider can be asked for, and the key of the type that it decorates."""

    provider: Provider
    keys: Sequence[Key]
    decorates: Key | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The provider of a type, and the components that decorate that type, innermost first."""

    type: Any
    provider: Provider
    decorators: tuple[str, ...] = ()

    @property
    def outermost(self) -> Provider:
        """The provider of the object that everybody gets who isn't in the chain."""
        return Provider("component", self.decorators[-1]) if self.decorators else self.provider

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components in the chain, innermost first."""
        first = (self.provider.name,) if self.provider.kind == "component" else ()
        return (*first, *self.decorators)

    def find_inner(self, decorator: str) -> Provider:
        """The provider of the object that a decorator takes."""
        place = self.decorators.index(decorator)
        return Provider("component", self.decorators[place - 1]) if place else self.provider

    def __str__(self) -> str:
        links = [*map(repr, reversed(self.decorators)), str(self.provider)]
        return ", around ".join(links)


@dataclass(frozen=True, slots=True)
class Providers:
    """The chains of a plan, by the keys and by the types that they provide."""

    by_key: Mapping[Key, tuple[Chain, ...]]
    """Several chains of one key are no fault as long as nobody asks for the one object of that key."""
    by_type: Mapping[Any, tuple[Chain, ...]]
    """In plan order, after overrides and values, which are there before anything starts."""
    decorated: Mapping[str, Chain]
    """The chain that each decorator belongs to."""

    @property
    def several(self) -> dict[Key, tuple[str, ...]]:
        """The keys that more than one chain provides, with the names of the providers."""
        return {
            key: tuple(chain.provider.name for chain in chains)
            for key, chains in self.by_key.items()
            if len(chains) > 1
        }

    def find_one(self, key: Key) -> Chain | None:
        """The only chain that provides a key; None if there is none, or more than one."""
        chains = self.by_key.get(key, ())
        return chains[0] if len(chains) == 1 else None

    def find_part(self, key: Key) -> Chain | None:
        """The only chain that provides a key, unless that is an override."""
        chain = self.find_one(key)
        return None if chain is None or chain.provider.kind == "override" else chain

    def find_chains(self, need: Need) -> tuple[Chain, ...]:
        """The chains that a need is for: of a collection every one, else the chains that provide the one key."""
        if need.collection is not None and need.key not in self.by_key:
            return self.by_type.get(need.collection.member, ())
        return self.by_key.get(need.key, ())

    def describe_fault(self, key: Key) -> str:
        """Why nobody can ask for the one object of a key, as a relative clause; empty if everybody can."""
        chains = self.by_key.get(key, ())
        if len(chains) > 1:
            return f"which {list_names(chain.provider.name for chain in chains)} provide"
        is_collection = key.name is None and find_collection(key.type) is not None
        return "" if chains or is_collection else "which nothing provides"

    def find_sources(self, need: Need, component: str | None = None) -> tuple[Provider, ...]:
        """The providers of the objects that a parameter gets; empty if nothing provides any.

        Several for a parameter that asks for one object are a problem of the plan, or an alternative of which the
        conditions are open.
        """
        if need.decorated:
            chain = None if component is None else self.decorated.get(component)
            return () if chain is None or component is None else (chain.find_inner(component),)
        return tuple(chain.outermost for chain in self.find_chains(need))


def find_providers(offers: Iterable[Offer]) -> Providers:
    """The providers of a plan. Decorators of one type come in the order of their offers.

    Whoever asks for an overridden key gets the override, also where several values provide the type. A decorator of a
    type that nothing provides, or several parts do, belongs to no chain.
    """
    given = list(offers)
    overridden = {key for offer in given if offer.provider.kind == "override" for key in offer.keys}
    found: dict[tuple[int, Any], list[str]] = {}
    by_key: dict[Key, dict[tuple[int, Any], None]] = {}
    by_type: dict[Any, dict[tuple[int, Any], None]] = {}
    for number, offer in enumerate(given):
        for key in offer.keys:
            if key != offer.decorates:
                place = (number, key.type)
                found[place] = []
                if key not in overridden or offer.provider.kind == "override":
                    by_key.setdefault(key, {})[place] = None
                by_type.setdefault(key.type, {})[place] = None
    belongs_to: dict[str, tuple[int, Any]] = {}
    for offer in given:
        places = () if offer.decorates is None else tuple(by_key.get(offer.decorates, ()))
        if len(places) == 1:
            found[places[0]].append(offer.provider.name)
            belongs_to[offer.provider.name] = places[0]
    chains = {
        (number, kind): Chain(kind, given[number].provider, tuple(decorators))
        for (number, kind), decorators in found.items()
    }
    return Providers(
        MappingProxyType({key: tuple(chains[place] for place in places) for key, places in by_key.items()}),
        MappingProxyType({kind: tuple(chains[place] for place in places) for kind, places in by_type.items()}),
        MappingProxyType({name: chains[place] for name, place in belongs_to.items()}),
    )
