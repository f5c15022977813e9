"""Read every signature, and find the provider of each type. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bandmaster.kernel.contributions.keys import Key, find_collection, type_name
from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution, ValueContribution
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.contributions.signatures import Kind, Need, is_settings, parameters, read_needs
from bandmaster.kernel.errors import Problem, Problems, SignatureError
from bandmaster.kernel.planning.chain_order import sort_decorators
from bandmaster.kernel.planning.offered_keys import list_component_keys, list_value_keys
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.planning.providers import Offer, Provider, Providers, find_providers
from bandmaster.kernel.planning.replacements import find_replaced
from bandmaster.kernel.text import suggest


@dataclass(frozen=True, slots=True)
class Wiring:
    """The needs of parts and the types that components provide, by the parts' names."""

    running: Mapping[str, LifespanContribution]
    """The components that start: those of the role that no override replaces."""
    replaced: Mapping[str, Key]
    """Components that don't start, each with the override in place of the component, or of the one it decorates."""
    provides: Mapping[str, tuple[Key, ...]]
    """The keys of each component, replaced ones included; a decorator has the key that it decorates among them."""
    providers: Providers
    values: Mapping[Key, ValueContribution]
    """The value that provides a key: those of the role that no override replaces."""
    replaced_values: Mapping[str, Key]
    """Values that aren't provided, each with the override in place of the value."""
    needs: Mapping[str, tuple[Need, ...]]
    layer_needs: Mapping[str, tuple[Need, ...]]
    ready_offers: tuple[Offer, ...]
    """The keys of overrides, and of values by name."""

    def order_providers(self, names: Iterable[str]) -> Providers:
        """The providers with the components in that order."""
        return find_providers([*self.ready_offers, *_list_offers(names, self.running, self.provides)])

    def settings_types(self, overrides: Mapping[Key, Any]) -> list[type[Any]]:
        """The settings types to read from the environment, in the order in which they are read."""
        wanted = {
            need.key.type
            for needs in (*self.needs.values(), *self.layer_needs.values())
            for need in needs
            if need.kind is Kind.SETTINGS
            and self.providers.find_part(need.key) is None
            # An override by name concerns that name only; an override by type alone takes the place of reading.
            and (need.key.name is None or need.key not in overrides)
        }
        return sorted(wanted, key=lambda kind: (kind.__module__, kind.__qualname__))


def wire(
    parts: Parts, overrides: Mapping[Key, Any], context: type | None, undecided: frozenset[str], problems: Problems
) -> Wiring:
    """Read every signature, and find the providers of every parameter.

    Two ``undecided`` parts may provide one key: only one of them will, once their conditions are answered.
    """
    provides = {name: _read_provides(part, problems) for name, part in parts.lifespans.items()}
    value_keys = _find_value_keys(parts.values)
    replaced = find_replaced(parts.lifespans, provides, value_keys, overrides)
    running = {name: part for name, part in parts.lifespans.items() if name not in replaced}
    replaced_values = {part.name: key for key, part in value_keys.items() if key in overrides}
    used = {name: part for name, part in parts.values.items() if name not in replaced_values}
    needs = {name: _read_component_needs(part, context, problems) for name, part in running.items()}
    offers = [
        *_list_override_offers(overrides, replaced, replaced_values, parts.lifespans),
        *(Offer(Provider("value", part.name, part.value), list_value_keys(part)) for part in used.values()),
    ]
    chained = sort_decorators(running, needs, find_providers([*offers, *_list_offers(running, running, provides)]))
    ranked = [*(name for name in running if name not in chained), *chained]
    wiring = Wiring(
        running=running,
        replaced=replaced,
        provides=provides,
        providers=find_providers([*offers, *_list_offers(ranked, running, provides)]),
        values=_drop_shared(_find_value_keys(used), running, provides),
        replaced_values=replaced_values,
        needs=needs,
        layer_needs={name: _read_layer_needs(layer, problems) for name, layer in parts.layers.items()},
        ready_offers=tuple(offers),
    )
    problems.extend(_find_conflicts(parts, wiring, undecided))
    _check_overrides(parts, wiring, overrides, problems)
    return wiring


def read_layer_needs(layer: MiddlewareContribution) -> list[Need]:
    """The parameters of a layer's constructor, without options and the app.

    Raises:
        SignatureError: its signature can't be read.
    """
    # The app is passed by position, whatever the name of its parameter.
    return read_needs(layer.layer, given=layer.options, positional=1 if layer.form == "asgi" else 0)


def _read_provides(part: LifespanContribution, problems: Problems) -> tuple[Key, ...]:
    try:
        return list_component_keys(part)
    except SignatureError as error:
        problems.add(f"{describe_part(part)}: {error} ({find_place(part.factory)}).", subject=part.name)
        return tuple(dict.fromkeys([*([] if part.decorates is None else [part.decorates]), *part.provides]))


def _read_component_needs(part: LifespanContribution, context: type | None, problems: Problems) -> tuple[Need, ...]:
    try:
        needs = read_needs(part.factory, context=context)
    except SignatureError as error:
        problems.add(f"{describe_part(part)}: {error} ({find_place(part.factory)}).", subject=part.name)
        return ()
    if part.decorates is None:
        return tuple(needs)
    # The decorated object comes by its name, or by its type alone, so that one function can decorate several of a type.
    keys = (part.decorates, Key(part.decorates.type))
    inner = next((key for key in keys if any(need.key == key for need in needs)), None)
    return tuple(replace(need, kind=Kind.RESOURCE, decorated=True) if need.key == inner else need for need in needs)


def _read_layer_needs(layer: MiddlewareContribution, problems: Problems) -> tuple[Need, ...]:
    try:
        needs = tuple(read_layer_needs(layer))
        problems.extend(_find_unknown_options(layer))
    except SignatureError as error:
        place = find_place(layer.layer)
        problems.add(f"{describe_part(layer)}: {error} ({place}).", "Or give it by name in options.", layer.name)
        return ()
    return needs


def _find_unknown_options(layer: MiddlewareContribution) -> list[Problem]:
    if not layer.options:
        return []
    accepted = parameters(layer.layer)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted):
        return []
    if layer.form == "asgi":
        accepted = accepted[1:]
    names = [parameter.name for parameter in accepted if parameter.kind is not parameter.VAR_POSITIONAL]
    return [
        Problem(
            f"{describe_part(layer)} has the option {option!r}, which {layer.layer.__name__} doesn't take.",
            suggest(option, names).strip(),
            layer.name,
        )
        for option in layer.options
        if option not in names
    ]


def _list_override_offers(
    overrides: Mapping[Key, Any],
    replaced: Mapping[str, Key],
    replaced_values: Mapping[str, Key],
    lifespans: Mapping[str, LifespanContribution],
) -> Iterator[Offer]:
    for key, value in overrides.items():
        names = [name for name, taken in replaced.items() if taken == key and lifespans[name].decorates != key]
        names += [name for name, taken in replaced_values.items() if taken == key]
        name = names[0] if len(names) == 1 else key.name or type_name(key.type)
        yield Offer(Provider("override", name, value), (key,))


def _list_offers(
    names: Iterable[str], running: Mapping[str, LifespanContribution], provides: Mapping[str, tuple[Key, ...]]
) -> Iterator[Offer]:
    for name in names:
        yield Offer(Provider("component", name), provides[name], running[name].decorates)


def _find_value_keys(values: Mapping[str, ValueContribution]) -> dict[Key, ValueContribution]:
    """The keys of values: each type with the value's name, and the type alone where only one value has it."""
    by_key: dict[Key, list[ValueContribution]] = {}
    for part in values.values():
        for key in list_value_keys(part):
            by_key.setdefault(key, []).append(part)
    return {key: parts[0] for key, parts in by_key.items() if len(parts) == 1}


def _drop_shared(
    values: Mapping[Key, ValueContribution],
    running: Mapping[str, LifespanContribution],
    provides: Mapping[str, tuple[Key, ...]],
) -> dict[Key, ValueContribution]:
    """The keys of values without those that a component provides as well."""
    shared = {key for name, part in running.items() for key in provides[name] if key != part.decorates}
    return {key: part for key, part in values.items() if key not in shared}


def _find_conflicts(parts: Parts, wiring: Wiring, undecided: frozenset[str]) -> Iterator[Problem]:
    """Names of a type that two parts claim, and types that stand for a collection."""
    shared = [key for key, chains in wiring.providers.by_key.items() if len(chains) > 1 and key.name is not None]
    for key in sorted(shared, key=str):
        providers = [chain.provider for chain in wiring.providers.by_key[key]]
        if undecided.isdisjoint(one.name for one in providers):
            first, second = (describe_part(find_part(parts, one)) for one in providers[:2])
            yield Problem(
                f"{first} and {second} both provide {render_key(key)}.",
                "A name tells the parts of one type apart: give one of them another, or disable one.",
                providers[1].name,
            )
    for kind, chains in wiring.providers.by_type.items():
        if (collected := find_collection(kind)) is None:
            continue
        for provider in (chain.provider for chain in chains if chain.provider.kind != "override"):
            yield Problem(
                f"{describe_part(find_part(parts, provider))} provides {render_key(Key(kind))}, which to those who "
                f"ask for it means every {type_name(collected.member)} of the plan.",
                "Let it provide a class of its own, or a NewType.",
                provider.name,
            )


def find_part(parts: Parts, provider: Provider) -> LifespanContribution | ValueContribution:
    """The contribution of a provider that is no override."""
    return parts.values[provider.name] if provider.kind == "value" else parts.lifespans[provider.name]


def _check_overrides(parts: Parts, wiring: Wiring, overrides: Mapping[Key, Any], problems: Problems) -> None:
    used = {key for keys in wiring.provides.values() for key in keys}
    used |= {key for part in parts.values.values() for key in list_value_keys(part)}
    for need in (need for needs in (*wiring.needs.values(), *wiring.layer_needs.values()) for need in needs):
        used |= {need.key} if need.collection is None else {need.key, Key(need.collection.member)}
    for key in sorted(overrides.keys() - used, key=str):
        # Overrides of settings may be meant for parts that are disabled here.
        if not is_settings(key.type):
            advice = suggest(str(key), map(str, used))
            problems.warn(f"overrides has {render_key(key)}, which nothing here provides or needs.{advice}")


def render_key(key: Key) -> str:
    """A key with an article: ``a Database``, ``an Engine named 'replica'``."""
    return f"{'an' if str(key)[:1] in 'AEIOaeio' else 'a'} {key}"
