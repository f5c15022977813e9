"""Explain needs that nothing provides: inactive providers, similar types, distributions to install. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandmaster.kernel.contribs import find_distribution
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.model import LifespanContribution, MiddlewareContribution
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import Problem, Problems
from bandmaster.kernel.planning.hidden_providers import describe_left_out, describe_undeclared, list_provides
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.planning.wiring import Wiring, render_key
from bandmaster.kernel.text import find_nearest, list_names


def check_providers(
    parts: Parts,
    wiring: Wiring,
    overrides: Mapping[Key, Any],
    context: type | None,
    problems: Problems,
    *,
    left_out: Collection[LeftOut] = (),
) -> None:
    """Report each need that nothing provides, or that only the part itself provides.

    ``left_out`` are installed parts that aren't loaded; a hint may name one.
    """
    search = _Search(parts, wiring, overrides, context, left_out)
    for name, needs in wiring.needs.items():
        problems.extend(search.find_unmet(wiring.running[name], needs))
    for name, needs in wiring.layer_needs.items():
        problems.extend(search.find_unmet(parts.layers[name], needs))


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for the remedy of a need that nothing provides."""

    parts: Parts
    wiring: Wiring
    overrides: Mapping[Key, Any]
    context: type | None
    left_out: Collection[LeftOut]

    def find_unmet(
        self, part: LifespanContribution | MiddlewareContribution, needs: Sequence[Need]
    ) -> Iterator[Problem]:
        for need in needs:
            provider = self.wiring.providers.get(need.key)
            if need.kind is Kind.CONTEXT or need.key in self.overrides or need.key in self.wiring.values:
                continue
            if provider is not None:
                if provider == part.name and isinstance(part, LifespanContribution):
                    yield Problem(
                        f"{describe_part(part)} needs {render_key(need.key)}, which it provides itself.",
                        subject=part.name,
                    )
            elif need.kind is Kind.RESOURCE and (several := self._find_several(need.key)):
                # Also if the need is optional: None would hide that the choice is open.
                message = f"{describe_part(part)} needs {render_key(need.key)}, which several parts provide."
                hint = f"{list_names(several)} provide one each; name the one that is meant with Named."
                yield Problem(message, hint, part.name)
            elif need.kind is Kind.RESOURCE and not need.optional:
                message = f"{describe_part(part)} needs {render_key(need.key)}, which nothing provides."
                yield Problem(message, self._describe_remedy(need.key), part.name)

    def _find_several(self, key: Key) -> list[str]:
        """The names of several values of a type that is needed without a name."""
        if key.name is not None:
            return []
        names = sorted(other.name for other in self.wiring.values if other.type == key.type and other.name)
        return names if len(names) > 1 else []

    def _describe_remedy(self, key: Key) -> str:
        if key.type is self.context:
            return "Only components have one."
        if key.type is Plan:
            return "A component with the parameter context: Context has it as context.plan."
        return (
            self._find_inactive(key)
            or describe_left_out(key, self.left_out)
            or self._find_similar(key)
            or describe_undeclared(key, self.wiring.running.values())
            or self._advise(key)
        )

    def _find_inactive(self, key: Key) -> str:
        """A part that would provide the key, but doesn't start."""
        for name, taken in self.wiring.replaced.items():
            if key in self.wiring.provides[name]:
                return f"{name!r} would, but isn't started since {taken} is overridden; override {key} as well."
        for name, part in self.parts.other_roles.items():
            if key in list_provides(part):
                return f"{name!r} would, but {self.parts.describe_roles(part)}."
        for name, value in self.parts.other_values.items():
            if key in value.provides:
                return f"{name!r} would, but {self.parts.describe_roles(value)}."
        return ""

    def _find_similar(self, key: Key) -> str:
        """A part that provides the type under another name, or provides a subclass."""
        named = {**self.wiring.providers, **{other: part.name for other, part in self.wiring.values.items()}}
        for other in sorted(named, key=str):
            provider = named[other]
            if other.type == key.type:
                return f"{provider!r} provides {render_key(other)}; name the one that is meant with Named."
            if _is_subclass(other.type, key.type):
                return (
                    f"{provider!r} provides {render_key(other)}, which is one; resources are found by exact type, so "
                    f"let it declare provides={key}."
                )
        return ""

    def _advise(self, key: Key) -> str:
        """The distribution to install, or the override to pass."""
        override = f"pass overrides={{{_render_in_code(key)}: ...}}"
        if inspect.isclass(key.type) and key.type.__module__ == "builtins":
            return f"Plain values belong into a settings type, or a layer's options; or {override}"
        brought_by, installed = find_distribution(key.module)
        if brought_by and installed:
            return f"{brought_by} brings it: let its part in, or {override}"
        near = find_nearest(str(key), map(str, self.wiring.providers))
        if near is not None:
            name = next(name for other, name in self.wiring.providers.items() if str(other) == near)
            override += f". Did you mean {near!r}, which {name!r} ({self.wiring.running[name].provenance}) provides?"
        return (
            f"Install {brought_by}, or {override}" if brought_by else f"Contribute a component that does, or {override}"
        )


def _is_subclass(kind: Any, wanted: Any) -> bool:
    try:
        return inspect.isclass(kind) and inspect.isclass(wanted) and issubclass(kind, wanted)
    except TypeError:  # a protocol that can't be checked at run time
        return False


def _render_in_code(key: Key) -> str:
    return f"({Key(key.type)}, {key.name!r})" if key.name else str(key)
