"""Keep the objects that the parts of a running plan provide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.lifecycle.arguments import NOTHING
from bandmaster.kernel.lifecycle.resources import Resources
from bandmaster.kernel.planning.plan import Component, Plan
from bandmaster.kernel.planning.providers import Chain, Provider


class Provided:
    """The objects of overrides and values from the beginning, and that of each component once it has started."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._started: dict[str, Any] = {}

    def add(self, component: str, value: Any) -> None:
        """Keep the object of a component that has started."""
        self._started[component] = value

    def find(self, component: Component, need: Need) -> Any:
        """The object, or the collection of objects, for a component's parameter; `NOTHING` where nothing provides any.

        A collection lacks the objects of components that don't run.
        """
        providers = self._plan.providers
        if need.collection is None or need.key in providers.by_key:
            sources = providers.find_sources(need, component.name)
            # Of settings that several values provide, the ones from the environment are taken.
            return self._get(sources[0]) if len(sources) == 1 else NOTHING
        members = self._list_members(providers.find_chains(need))
        return need.collection.gather(members) if members else NOTHING

    def make_resources(self, degraded: Mapping[str, str]) -> Resources:
        """The objects of everything that has started, by type.

        ``degraded`` holds the names of components that failed to start and that the run goes on without, each with the
        reason.
        """
        providers = self._plan.providers
        values: dict[Key, Any] = {}
        missing: dict[Key, tuple[str, str]] = {}
        for key in providers.by_key:
            if (chain := providers.find_one(key)) is None:
                continue  # several provide it
            name = chain.outermost.name
            if (value := self._get(chain.outermost)) is not NOTHING:
                values[key] = value
            elif name in degraded:
                missing[key] = (name, degraded[name])
        members = {kind: self._list_members(chains) for kind, chains in providers.by_type.items()}
        return Resources(values, members, providers.several, degraded=missing)

    def _list_members(self, chains: tuple[Chain, ...]) -> tuple[tuple[str, Any], ...]:
        found = [(chain.provider.name, self._get(chain.outermost)) for chain in chains]
        return tuple((name, value) for name, value in found if value is not NOTHING)

    def _get(self, provider: Provider) -> Any:
        return self._started.get(provider.name, NOTHING) if provider.kind == "component" else provider.value
