"""Read every signature, and find the provider of each type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution, ValueContribution
from bandmaster.kernel.contributions.places import find_place
from bandmaster.kernel.contributions.signatures import Kind, Need, is_settings, parameters, read_needs, read_provides
from bandmaster.kernel.errors import Problem, Problems, SignatureError
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.text import suggest


@dataclass(frozen=True, slots=True)
class Wiring:
    """The needs of parts and the types that components provide, by the parts' names."""

    running: Mapping[str, LifespanContribution]
    """The components that start: those of the role that no override replaces."""
    replaced: Mapping[str, Key]
    """Components that don't start, each with the override in place of the component."""
    provides: Mapping[str, tuple[Key, ...]]
    providers: Mapping[Key, str]
    """The component that provides a key."""
    values: Mapping[Key, ValueContribution]
    """The value that provides a key: those of the role that no override replaces."""
    replaced_values: Mapping[str, Key]
    """Values that aren't provided, each with the override in place of the value."""
    needs: Mapping[str, tuple[Need, ...]]
    layer_needs: Mapping[str, tuple[Need, ...]]

    def settings_types(self, overrides: Mapping[Key, Any]) -> list[type[Any]]:
        """The settings types to read from the environment, in the order in which they are read."""
        wanted = {
            need.key.type
            for needs in (*self.needs.values(), *self.layer_needs.values())
            for need in needs
            if need.kind is Kind.SETTINGS
            and need.key not in self.providers
            and need.key not in self.values
            # An override by name concerns that name only; an override by type alone takes the place of reading.
            and (need.key.name is None or need.key not in overrides)
        }
        return sorted(wanted, key=lambda kind: (kind.__module__, kind.__qualname__))


def wire(parts: Parts, overrides: Mapping[Key, Any], context: type | None, problems: Problems) -> Wiring:
    """Read every signature, and find a provider for every parameter that must have one."""
    provides = _read_provides(parts, problems)
    replaced = {
        name: next(key for key in keys if key in overrides)
        for name, keys in provides.items()
        if not overrides.keys().isdisjoint(keys)
    }
    running = {name: part for name, part in parts.lifespans.items() if name not in replaced}
    providers = _find_providers(running, provides, problems)
    value_keys = _find_value_keys(parts.values)
    replaced_values = {part.name: key for key, part in value_keys.items() if key in overrides}
    values = {key: part for key, part in value_keys.items() if part.name not in replaced_values}
    for key in sorted(values.keys() & providers.keys(), key=str):
        problems.extend([_describe_conflict(running[providers[key]], values[key], key)])
    wiring = Wiring(
        running=running,
        replaced=replaced,
        provides=provides,
        providers=providers,
        values=values,
        replaced_values=replaced_values,
        needs=_read_component_needs(running, context, problems),
        layer_needs=_read_all_layer_needs(parts.layers, problems),
    )
    _check_overrides(wiring, overrides, problems)
    return wiring


def read_layer_needs(layer: MiddlewareContribution) -> list[Need]:
    """The parameters of a layer's constructor, without options and the app.

    Raises:
        SignatureError: its signature can't be read.
    """
    # The app is passed by position, whatever the name of its parameter.
    return read_needs(layer.layer, given=layer.options, positional=1 if layer.form == "asgi" else 0)


def _read_provides(parts: Parts, problems: Problems) -> dict[str, tuple[Key, ...]]:
    provides = {}
    for name, part in parts.lifespans.items():
        returned = []
        try:
            returned = read_provides(part.factory)
        except SignatureError as error:
            problems.add(f"{describe_part(part)}: {error} ({find_place(part.factory)}).", subject=name)
        provides[name] = tuple(dict.fromkeys([*returned, *part.provides]))
    return provides


def _read_component_needs(
    running: Mapping[str, LifespanContribution], context: type | None, problems: Problems
) -> dict[str, tuple[Need, ...]]:
    needs: dict[str, tuple[Need, ...]] = dict.fromkeys(running, ())
    for name, part in running.items():
        try:
            needs[name] = tuple(read_needs(part.factory, context=context))
        except SignatureError as error:
            problems.add(f"{describe_part(part)}: {error} ({find_place(part.factory)}).", subject=name)
    return needs


def _read_all_layer_needs(
    layers: Mapping[str, MiddlewareContribution], problems: Problems
) -> dict[str, tuple[Need, ...]]:
    needs: dict[str, tuple[Need, ...]] = dict.fromkeys(layers, ())
    for name, layer in layers.items():
        try:
            needs[name] = tuple(read_layer_needs(layer))
            problems.extend(_find_unknown_options(layer))
        except SignatureError as error:
            place = find_place(layer.layer)
            problems.add(f"{describe_part(layer)}: {error} ({place}).", "Or give it by name in options.", name)
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


def _find_providers(
    running: Mapping[str, LifespanContribution], provides: Mapping[str, tuple[Key, ...]], problems: Problems
) -> dict[Key, str]:
    providers: dict[Key, str] = {}
    for name, part in running.items():
        for key in provides[name]:
            first = providers.setdefault(key, name)
            if first != name:
                problems.extend([_describe_conflict(running[first], part, key)])
    return providers


def _find_value_keys(values: Mapping[str, ValueContribution]) -> dict[Key, ValueContribution]:
    """The keys of values: each type with the value's name, and the type alone where only one value has it."""
    by_key: dict[Key, list[ValueContribution]] = {}
    for part in values.values():
        for key in part.provides:
            by_key.setdefault(key, []).append(part)
            if key.name is None:
                by_key.setdefault(Key(key.type, part.name), []).append(part)
    return {key: parts[0] for key, parts in by_key.items() if len(parts) == 1}


def _describe_conflict(
    first: LifespanContribution, second: LifespanContribution | ValueContribution, key: Key
) -> Problem:
    return Problem(
        f"{describe_part(first)} and {describe_part(second)} both provide {render_key(key)}.",
        "Tell them apart with Annotated[..., Named('...')], or disable one.",
        second.name,
    )


def _check_overrides(wiring: Wiring, overrides: Mapping[Key, Any], problems: Problems) -> None:
    used = {key for keys in wiring.provides.values() for key in keys} | wiring.values.keys()
    used.update(wiring.replaced_values.values())
    used |= {need.key for needs in (*wiring.needs.values(), *wiring.layer_needs.values()) for need in needs}
    for key in sorted(overrides.keys() - used, key=str):
        # Overrides of settings may be meant for parts that are disabled here.
        if not is_settings(key.type):
            advice = suggest(str(key), map(str, used))
            problems.warn(f"overrides has {render_key(key)}, which nothing here provides or needs.{advice}")


def render_key(key: Key) -> str:
    """A key with an article: ``a Database``, ``an Engine named 'replica'``."""
    return f"{'an' if str(key)[:1] in 'AEIOaeio' else 'a'} {key}"
