"""Which component fills which parameter."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution
from bandmaster.kernel.contributions.signatures import Kind, Need, is_settings, parameters, read_needs, read_provides
from bandmaster.kernel.errors import Problem, SignatureError
from bandmaster.kernel.planning.parts import Inventory, who
from bandmaster.kernel.text import near, nearest


@dataclass(frozen=True, slots=True)
class Wiring:
    """What parts need and provide, by the parts' names."""

    running: Mapping[str, LifespanContribution]
    """The components that start: those of the role that no override replaces."""
    replaced: Mapping[str, Key]
    """Components that don't start, and the override that stands in for each."""
    provides: Mapping[str, tuple[Key, ...]]
    providers: Mapping[Key, str]
    needs: Mapping[str, tuple[Need, ...]]
    layer_needs: Mapping[str, tuple[Need, ...]]

    def settings(self, overrides: Mapping[Key, Any]) -> list[type[Any]]:
        """The settings types that are wanted as such, in the order in which they are read."""
        wanted = {
            need.key.type
            for needs in (*self.needs.values(), *self.layer_needs.values())
            for need in needs
            if need.kind is Kind.SETTINGS
            and need.key not in self.providers
            # An override by name concerns that name only; one by type alone is as good as having read it.
            and (need.key.name is None or need.key not in overrides)
        }
        return sorted(wanted, key=lambda kind: (kind.__module__, kind.__qualname__))


def wire(
    parts: Inventory,
    overrides: Mapping[Key, Any],
    context: type | None,
    problems: list[Problem],
    warnings: list[str],
) -> Wiring:
    """Read every signature, and find a source for every parameter that must have one."""
    provides = _read_provides(parts, problems)
    replaced = {
        name: next(key for key in keys if key in overrides)
        for name, keys in provides.items()
        if not overrides.keys().isdisjoint(keys)
    }
    running = {name: part for name, part in parts.lifespans.items() if name not in replaced}
    wiring = Wiring(
        running=running,
        replaced=replaced,
        provides=provides,
        providers=_find_providers(running, provides, problems),
        needs=_read_needs(running, context, problems),
        layer_needs=_read_layer_needs(parts.layers, problems),
    )
    _check_overrides(wiring, overrides, warnings)
    search = _Search(parts, wiring, overrides, context)
    for name, needs in wiring.needs.items():
        problems += search.unfilled(running[name], needs)
    for name, needs in wiring.layer_needs.items():
        problems += search.unfilled(parts.layers[name], needs)
    return wiring


def layer_needs(layer: MiddlewareContribution) -> list[Need]:
    """What the constructor of a layer asks for, beside its options and the app.

    Raises:
        SignatureError: its signature can't be read.
    """
    # The app is handed over by position, whatever it is called.
    return read_needs(layer.layer, given=layer.options, positional=1 if layer.form == "asgi" else 0)


# -- reading ---------------------------------------------------------------------------------------------------------


def _read_provides(parts: Inventory, problems: list[Problem]) -> dict[str, tuple[Key, ...]]:
    provides = {}
    for name, part in parts.lifespans.items():
        returned = []
        try:
            returned = read_provides(part.factory)
        except SignatureError as error:
            problems.append(Problem(f"{who(part)}: {error}.", subject=name))
        provides[name] = tuple(dict.fromkeys([*returned, *part.provides]))
    return provides


def _read_needs(
    running: Mapping[str, LifespanContribution], context: type | None, problems: list[Problem]
) -> dict[str, tuple[Need, ...]]:
    needs: dict[str, tuple[Need, ...]] = dict.fromkeys(running, ())
    for name, part in running.items():
        try:
            needs[name] = tuple(read_needs(part.factory, context=context))
        except SignatureError as error:
            problems.append(Problem(f"{who(part)}: {error}.", subject=name))
    return needs


def _read_layer_needs(
    layers: Mapping[str, MiddlewareContribution], problems: list[Problem]
) -> dict[str, tuple[Need, ...]]:
    needs: dict[str, tuple[Need, ...]] = dict.fromkeys(layers, ())
    for name, layer in layers.items():
        try:
            needs[name] = tuple(layer_needs(layer))
            problems += _strange_options(layer)
        except SignatureError as error:
            problems.append(Problem(f"{who(layer)}: {error}.", "Or give it by name in options.", name))
    return needs


def _strange_options(layer: MiddlewareContribution) -> list[Problem]:
    if not layer.options:
        return []
    taken = parameters(layer.layer)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        return []
    if layer.form == "asgi":
        taken = taken[1:]
    names = [parameter.name for parameter in taken if parameter.kind is not parameter.VAR_POSITIONAL]
    return [
        Problem(
            f"{who(layer)} has the option {option!r}, which {layer.layer.__name__} doesn't take.",
            near(option, names).strip(),
            layer.name,
        )
        for option in layer.options
        if option not in names
    ]


def _find_providers(
    running: Mapping[str, LifespanContribution], provides: Mapping[str, tuple[Key, ...]], problems: list[Problem]
) -> dict[Key, str]:
    providers: dict[Key, str] = {}
    for name, part in running.items():
        for key in provides[name]:
            first = providers.setdefault(key, name)
            if first != name:
                problems.append(
                    Problem(
                        f"{who(running[first])} and {who(part)} both provide {_a(key)}.",
                        "Tell them apart with Annotated[..., Named('...')], or disable one.",
                        name,
                    )
                )
    return providers


def _check_overrides(wiring: Wiring, overrides: Mapping[Key, Any], warnings: list[str]) -> None:
    used = {key for keys in wiring.provides.values() for key in keys}
    used |= {need.key for needs in (*wiring.needs.values(), *wiring.layer_needs.values()) for need in needs}
    for key in sorted(overrides.keys() - used, key=str):
        # Settings are handed over on stock, also for parts that are switched off here.
        if not is_settings(key.type):
            advice = near(str(key), map(str, used))
            warnings.append(f"overrides has {_a(key)}, which nothing here provides or needs.{advice}")


# -- what nothing provides -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Search:
    """For needs that nothing fills, where one might look."""

    parts: Inventory
    wiring: Wiring
    overrides: Mapping[Key, Any]
    context: type | None

    def unfilled(self, part: LifespanContribution | MiddlewareContribution, needs: Sequence[Need]) -> Iterable[Problem]:
        """A problem for each need that must be filled and isn't, or only by the part itself."""
        for need in needs:
            provider = self.wiring.providers.get(need.key)
            if need.kind is Kind.CONTEXT or need.key in self.overrides:
                continue
            if provider is not None:
                if provider == part.name and isinstance(part, LifespanContribution):
                    yield Problem(f"{who(part)} needs {_a(need.key)}, which it provides itself.", subject=part.name)
            elif need.kind is Kind.RESOURCE and not need.optional:
                message = f"{who(part)} needs {_a(need.key)}, which nothing provides."
                yield Problem(message, self._advice(need.key), part.name)

    def _advice(self, key: Key) -> str:
        if key.type is self.context:
            return "Only components have one."
        return self._declined(key) or self._similar(key) or self._elsewhere(key)

    def _declined(self, key: Key) -> str:
        """Parts that would provide it."""
        for name, taken in self.wiring.replaced.items():
            if key in self.wiring.provides[name]:
                return f"{name!r} would, but isn't started since {taken} is overridden; override {key} as well."
        for name, part in self.parts.other_roles.items():
            if key in _provided_elsewhere(part):
                return f"{name!r} would, but {self.parts.whose(name)}."
        return ""

    def _similar(self, key: Key) -> str:
        """Parts that provide something that isn't quite it."""
        for other in sorted(self.wiring.providers, key=str):
            provider = self.wiring.providers[other]
            if other.type == key.type:
                return f"{provider!r} provides {_a(other)}; name the one that is meant with Named."
            if _is_one(other.type, key.type):
                return (
                    f"{provider!r} provides {_a(other)}, which is one; resources are found by exact type, so let it "
                    f"declare provides={key}."
                )
        return ""

    def _elsewhere(self, key: Key) -> str:
        override = f"pass overrides={{{_in_code(key)}: ...}}"
        if inspect.isclass(key.type) and key.type.__module__ == "builtins":
            return f"Plain values belong into a settings type, or a layer's options; or {override}"
        brought_by, installed = _distribution_of(key.module)
        if brought_by and installed:
            return f"{brought_by} brings it: let its part in, or {override}"
        alike = nearest(str(key), map(str, self.wiring.providers))
        if alike is not None:
            name = next(name for other, name in self.wiring.providers.items() if str(other) == alike)
            override += f". Did you mean {alike!r}, which {name!r} ({self.wiring.running[name].provenance}) provides?"
        return (
            f"Install {brought_by}, or {override}" if brought_by else f"Contribute a component that does, or {override}"
        )


def _provided_elsewhere(part: LifespanContribution) -> list[Key]:
    try:
        return [*read_provides(part.factory), *part.provides]
    except SignatureError:
        return list(part.provides)


def _is_one(kind: Any, wanted: Any) -> bool:
    try:
        return inspect.isclass(kind) and inspect.isclass(wanted) and issubclass(kind, wanted)
    except TypeError:  # a protocol that can't be checked at run time
        return False


# Whose types people ask for, and the distribution that brings a component for them.
_BRINGS = {
    "eventsourcing": "bandmaster-eventsourcing",
    "redis": "bandmaster-redis",
    "sqlalchemy": "bandmaster-persistence",
    "taskiq": "bandmaster-taskiq",
}


def _distribution_of(module: str) -> tuple[str, bool]:
    """The distribution that brings a module's types, if one is known, and whether it is installed."""
    parts = module.split(".")
    if parts[:2] == ["bandmaster", "contrib"] and len(parts) > 2:
        return f"bandmaster-{parts[2]}", True  # or its type could not have been named
    return _BRINGS.get(parts[0], ""), False


def _in_code(key: Key) -> str:
    return f"({Key(key.type)}, {key.name!r})" if key.name else str(key)


def _a(key: Key) -> str:
    return f"{'an' if str(key)[:1] in 'AEIOaeio' else 'a'} {key}"
