"""Explain needs that nothing provides: inactive providers, similar types, distributions to install. Pure."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from bandmaster.kernel.contribs import find_distribution
from bandmaster.kernel.contributions.keys import Collected, Key, type_name
from bandmaster.kernel.contributions.model import (
    Contribution,
    LifespanContribution,
    MiddlewareContribution,
)
from bandmaster.kernel.contributions.signatures import Kind, Need
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import Problem, Problems
from bandmaster.kernel.planning.hidden_providers import describe_left_out, describe_undeclared
from bandmaster.kernel.planning.offered_keys import find_omissions, list_keys
from bandmaster.kernel.planning.parts import Parts, describe_part
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.planning.providers import Chain
from bandmaster.kernel.planning.wiring import Wiring, find_part, render_key
from bandmaster.kernel.text import find_nearest, join_words, list_names


def check_providers(
    parts: Parts,
    wiring: Wiring,
    overrides: Mapping[Key, Any],
    context: type | None,
    undecided: Collection[str],
    problems: Problems,
    *,
    left_out: Collection[LeftOut] = (),
) -> None:
    """Report each need that nothing provides, that only the part itself provides, or that leaves a choice open.

    ``undecided`` are parts of which a condition will leave out some, so that several of them are no open choice.
    ``left_out`` are installed parts that aren't loaded; a hint may name one.
    """
    search = _Search(parts, wiring, overrides, context, undecided, left_out)
    for name, needs in wiring.needs.items():
        problems.extend(search.find_unmet(wiring.running[name], needs))
        problems.extend(search.find_undecorated(wiring.running[name], needs))
    for name, needs in wiring.layer_needs.items():
        problems.extend(search.find_unmet(parts.layers[name], needs))


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for the remedy of a need that nothing provides."""

    parts: Parts
    wiring: Wiring
    overrides: Mapping[Key, Any]
    context: type | None
    undecided: Collection[str]
    left_out: Collection[LeftOut]

    def find_unmet(
        self, part: LifespanContribution | MiddlewareContribution, needs: Sequence[Need]
    ) -> Iterator[Problem]:
        for need in needs:
            if need.kind is Kind.CONTEXT or need.key in self.overrides or need.decorated:
                continue
            chains = self.wiring.providers.find_chains(need)
            if isinstance(part, LifespanContribution) and any(part.name in chain.components for chain in chains):
                yield self._describe_own(part, need)
            elif need.collection is not None:
                yield from self._check_collection(part, need, chains)
            elif len(chains) > 1 and need.kind is Kind.RESOURCE:
                # Also if the need is optional: None would hide that the choice is open.
                yield from self._check_choice(f"{describe_part(part)} needs {render_key(need.key)}", part, need.key)
            elif not chains and need.kind is Kind.RESOURCE and not need.optional:
                message = f"{describe_part(part)} needs {render_key(need.key)}, which nothing provides."
                yield Problem(message, self._describe_remedy(need.key, part), part.name)

    def find_undecorated(self, part: LifespanContribution, needs: Sequence[Need]) -> Iterator[Problem]:
        """The problems of a decorator that has nothing to decorate, or doesn't take it."""
        key = part.decorates
        if key is None:
            return
        chains: Sequence[Chain] = self.wiring.providers.by_key.get(key, ())
        clause = f"{describe_part(part)} decorates {render_key(key)}"
        if len(chains) > 1:
            yield from self._check_choice(clause, part, key)
        elif not chains:
            yield Problem(f"{clause}, which nothing provides.", self._describe_remedy(key, part), part.name)
        elif not any(need.decorated for need in needs):
            annotation = f"Annotated[{type_name(key.type)}, Named({key.name!r})]" if key.name else type_name(key.type)
            yield Problem(
                f"{clause}, and has no parameter that takes the one of {chains[0].provider}.",
                f"Write a parameter for it, as in inner: {annotation}.",
                part.name,
            )

    def _describe_own(self, part: LifespanContribution, need: Need) -> Problem:
        others = [name for chain in self.wiring.providers.find_chains(need) for name in chain.components[:1]]
        if need.collection is not None:
            wanted = f"every {type_name(need.collection.member)}, one of which it provides itself"
            hint = "Let it provide a class of its own, which isn't among those that it collects."
        else:
            wanted = f"{render_key(need.key)}, which it provides itself"
            # The one fault that people make who want to wrap another part's object.
            around = [name for name in others if name != part.name]
            hint = f"To take the one of {around[0]!r} in between, write decorates={need.key}." if around else ""
        return Problem(f"{describe_part(part)} needs {wanted}.", hint, part.name)

    def _check_collection(
        self, part: LifespanContribution | MiddlewareContribution, need: Need, chains: Sequence[Chain]
    ) -> Iterator[Problem]:
        assert need.collection is not None
        if not chains and need.is_plain and not need.optional:
            # An empty list of hosts would rather be a forgotten option than the lack of any part.
            message = f"{describe_part(part)} needs {render_key(need.key)}, and no part provides one of them."
            yield Problem(message, self._advise(Key(need.collection.member)), part.name)
        if need.collection.kind == "mapping":
            named: dict[str, Chain] = {}
            for chain in chains:
                first = named.setdefault(chain.provider.name, chain)
                if first is not chain:
                    yield Problem(
                        f"{describe_part(part)} needs {render_key(need.key)}, and {self._describe(first)} and "
                        f"{self._describe(chain)} have the same name.",
                        "Rename one of them.",
                        part.name,
                    )

    def _check_choice(self, clause: str, part: Contribution, key: Key) -> Iterator[Problem]:
        """The problem of a part for which one of several providers would have to be chosen."""
        chains = self.wiring.providers.by_key[key]
        if any(chain.provider.name in self.undecided for chain in chains):
            return
        several = join_words(self._describe(chain) for chain in chains)
        kind = type_name(key.type)
        if all(chain.provider.kind == "value" for chain in chains):
            hint = f"Name the one that is meant: Annotated[{kind}, Named({chains[0].provider.name!r})]."
        else:
            hint = f"Let each provide Annotated[{kind}, Named('...')], and name the one that is meant."
        if isinstance(part, LifespanContribution) and part.decorates == key:
            hint += " Each can be decorated by its name."
        else:
            hint += f" All of them come by Sequence[{kind}] or Mapping[str, {kind}]."
        yield Problem(f"{clause}, which {several} provide.", hint, part.name)

    def _describe(self, chain: Chain) -> str:
        if chain.provider.kind == "override":
            return f"an override of {render_key(Key(chain.type))}"
        return describe_part(find_part(self.parts, chain.provider))

    def _describe_remedy(self, key: Key, asking: Contribution) -> str:
        if key.type is self.context:
            return "Only components have one."
        if key.type is Plan:
            return "A component with the parameter context: Context has it as context.plan."
        return (
            self._find_inactive(key)
            or describe_left_out(key, self.left_out)
            or self._find_collected(key)
            or self._find_similar(key)
            or describe_undeclared(key, (part for part in self.wiring.running.values() if part is not asking))
            or self._advise(key)
        )

    def _find_collected(self, key: Key) -> str:
        """The type to write for every provider of a type, where another kind of collection is written."""
        origin, arguments = get_origin(key.type), get_args(key.type)
        member = arguments[-1] if origin in _MAPPINGS and len(arguments) == 2 and arguments[0] is str else None
        if origin in _SEQUENCES and arguments:
            member = arguments[0]
        chains = self.wiring.providers.by_type.get(member, ()) if member is not None else ()
        if not chains:
            return ""
        wanted = Collected("sequence" if origin in _SEQUENCES else "mapping", member).key
        verb = "provides" if len(chains) == 1 else "provide"
        names = list_names(chain.provider.name for chain in chains)
        return f"{names} {verb} {type_name(member)}; write {wanted} for all of them."

    def _find_inactive(self, key: Key) -> str:
        """A part that would provide the key, but doesn't start."""
        for name, taken in self.wiring.replaced.items():
            if key in self.wiring.provides[name]:
                return f"{name!r} would, but isn't started since {taken} is overridden; override {key} as well."
        for name, part in self.parts.other_roles.items():
            if key in list_keys(part):
                return f"{name!r} would, but {self.parts.describe_roles(part)}."
        for name, value in self.parts.other_values.items():
            if key in list_keys(value):
                return f"{name!r} would, but {self.parts.describe_roles(value)}."
        omissions = find_omissions(self.parts.omitted, key)
        return f"{omissions[0].part.name!r} would, but {omissions[0].reason}." if omissions else ""

    def _find_similar(self, key: Key) -> str:
        """A part that provides the type under another name, a subclass, or the type with or without arguments."""
        for other, chains in sorted(self.wiring.providers.by_key.items(), key=str):
            provider = chains[0].provider.name
            if chains[0].provider.kind == "override":
                continue
            if other.type == key.type:
                return f"{provider!r} provides {render_key(other)}; name the one that is meant with Named."
            if other.name == key.name and get_origin(other.type) is key.type:
                return f"{provider!r} provides {render_key(other)}; resources are found by exact type, so ask for that."
            relation = "is" if _is_subclass(other.type, key.type) else ""
            if other.name == key.name and get_origin(key.type) is other.type:
                relation = "may be"
            if relation:
                return (
                    f"{provider!r} provides {render_key(other)}, which {relation} one; resources are found by exact "
                    f"type, so let it declare provides={key}."
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
        offered = {
            str(other): chains[0].provider
            for other, chains in self.wiring.providers.by_key.items()
            if chains[0].provider.kind == "component"
        }
        near = find_nearest(str(key), offered)
        if near is not None:
            name = offered[near].name
            override += f". Did you mean {near!r}, which {name!r} ({self.wiring.running[name].provenance}) provides?"
        return (
            f"Install {brought_by}, or {override}" if brought_by else f"Contribute a component that does, or {override}"
        )


def _is_subclass(kind: Any, wanted: Any) -> bool:
    try:
        return inspect.isclass(kind) and inspect.isclass(wanted) and issubclass(kind, wanted)
    except TypeError:  # a protocol that can't be checked at run time
        return False


_SEQUENCES = (list, tuple, set, frozenset, abc.Iterable, abc.Collection, abc.MutableSequence, abc.Set)
_MAPPINGS = (dict, abc.MutableMapping)


def _render_in_code(key: Key) -> str:
    return f"({Key(key.type)}, {key.name!r})" if key.name else str(key)
