"""Compose a plan from installed parts and from those that code hands over: the one place where plans are made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import COMMANDS_GROUP, Contribution, group_of
from bandmaster.kernel.contributions.places import find_definition
from bandmaster.kernel.discovery.disabling import (
    describe_unknown,
    is_switched_off,
    list_addresses,
    parse_names,
    strip_group,
)
from bandmaster.kernel.discovery.discover import Discovery, Found, discover
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.planning.conditions import SettingsReader
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import make_plan
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings import reading
from bandmaster.kernel.settings.environment import Environment, use_environment
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.tracebacks import find_caller


class _Split(NamedTuple):
    """The parts that code hands over, with the installed ones that they replace."""

    enabled: tuple[Contribution, ...]
    disabled: tuple[Contribution, ...]
    replaced: tuple[Found, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The checked arguments from which a kernel's plan follows, for whichever role."""

    contributions: tuple[Contribution, ...]
    """The parts that code hands over."""
    discover: bool
    """Whether installed parts are taken as well."""
    disable: frozenset[str]
    """Names of installed parts to leave out, in addition to those in the settings.

    A part from code of such a name takes the place of the installed one; where none is installed, it is left out.
    """
    overrides: Mapping[Any, Any]
    settings: KernelSettings
    environment: Environment
    """The variables from which settings are read."""
    read_settings: SettingsReader | None
    """A function that reads settings of parts in place of the environment."""

    @classmethod
    def check(
        cls,
        *,
        contributions: Iterable[Contribution | LayerClass] = (),
        discover: bool = True,
        disable: str | Iterable[str] = (),
        overrides: Mapping[Any, Any] | None = None,
        settings: KernelSettings | None = None,
        env_file: str | os.PathLike[str] | None = None,
        read_settings: SettingsReader | None = None,
    ) -> Composition:
        """Check the arguments of a kernel, and read its settings where none are given.

        Raises:
            PlanError: the kernel's settings are missing or wrong, or the env file can't be read.
            ValueError: an argument is of the wrong kind; the message names it.
        """
        given = check_contributions(contributions)
        names = parse_names(disable)
        checked = check_overrides(overrides)
        environment = Environment.choose(env_file)
        _ = environment.file  # raises if it can't be read, also where no settings are read
        chosen = choose_settings(settings, checked, environment)
        return cls(
            contributions=given,
            discover=discover,
            disable=names,
            overrides=checked,
            settings=chosen,
            environment=environment,
            read_settings=read_settings,
        )

    def change(
        self,
        overrides: Mapping[Any, Any] | None,
        settings: KernelSettings | None,
    ) -> Composition:
        """A composition with further overrides on top of its own, and with other settings where some are given.

        Raises:
            PlanError, ValueError: as `check` does.
        """
        added = check_overrides(overrides)
        if settings is not None or KernelSettings in added:
            settings = choose_settings(settings, added, self.environment)
        return replace(self, overrides={**self.overrides, **added}, settings=settings or self.settings)

    def plan(
        self,
        role: str | None,
        *,
        serves: bool | None = None,
        discovery: Discovery | None = None,
        read_settings: SettingsReader | None = None,
    ) -> tuple[Discovery, Plan]:
        """Find the installed parts, unless they have been found, and plan them with those that code hands over.

        ``read_settings`` takes the place of the composition's own.

        Raises:
            DiscoveryError: installed parts can't be found, trusted or loaded.
            PlanError: the parts don't fit together, or their settings are missing or wrong.
        """
        settings = self.settings
        disabled = self.disable | settings.disable
        if discovery is None:
            discovery = self._discover(disabled) if self.discover else Discovery()
        split = self._split_disabled(discovery)
        warnings = [*settings.find_warnings(), *discovery.warnings, *split.warnings]
        if not self.discover:
            warnings += describe_unknown(disabled, ((group_of(part), part.name) for part in self.contributions))
        plan = make_plan(
            [*discovery.contributions, *split.enabled],
            role=role,
            serves=serves,
            overrides={**self.overrides, KernelSettings: settings},
            read_settings=read_settings
            or self.read_settings
            or partial(reading.read_settings, environment=self.environment),
            context=Context,
            deadlines=Deadlines(
                start=settings.start_timeout,
                stop=settings.stop_timeout,
                left_for_stops=settings.left_for_stops,
                starts=settings.start_timeouts,
                stops=settings.stop_timeouts,
            ),
            on_start_failure=settings.on_start_failure,
            processes=settings.processes,
            known=[*map(strip_group, disabled), *(part.found.name for part in discovery.left_out)],
            disabled=split.disabled,
            replaces={(part.group, part.name): part.provenance for part in split.replaced},
            left_out=map(self._name_source, discovery.left_out),
            warnings=warnings,
        )
        left_out = tuple(
            replace(part, reason=f"{part.reason}, and code replaces it") if part.found in split.replaced else part
            for part in discovery.left_out
        )
        return replace(discovery, left_out=left_out), plan

    def _split_disabled(self, discovery: Discovery) -> _Split:
        """Decide which parts from code are disabled, and which take the place of a disabled one."""
        operator = self.settings.disable
        found = [part for part in discovery.found if part.group != COMMANDS_GROUP]
        installed = frozenset[str]().union(*(list_addresses(part.group, part.name) for part in found))
        enabled: list[Contribution] = []
        disabled: list[Contribution] = []
        warnings: list[str] = []
        for part in self.contributions:
            addresses = list_addresses(group_of(part), part.name)
            switched_off = is_switched_off(addresses, self.disable, operator, installed)
            (disabled if switched_off else enabled).append(part)
            # Perhaps meant to replace an installed part, which isn't installed here. The lifespans of the host, and of
            # apps mounted in it, come from create_app.
            of_host = part.name.partition(".")[0] == "host"
            if switched_off and self.discover and not of_host and addresses.isdisjoint(operator):
                warnings.append(
                    f"{part.name!r} is disabled, and only code contributes it: it is left out. There is no installed "
                    "part of that name that it could replace"
                )
        kept = {(group_of(part), part.name) for part in enabled}
        off = self.disable | operator
        replaced = [
            part
            for part in found
            if (part.group, part.name) in kept and not off.isdisjoint(list_addresses(part.group, part.name))
        ]
        return _Split(tuple(enabled), tuple(disabled), tuple(replaced), tuple(warnings))

    def _name_source(self, left: LeftOut) -> LeftOut:
        """A part that is left out, with the setting or the argument that disables it."""
        addresses = list_addresses(left.found.group, left.found.name)
        sources = {"disable=": self.disable, "BANDMASTER_DISABLE": self.settings.disable}
        named = [source for source, names in sources.items() if addresses & names]
        return replace(left, reason=f"it is disabled by {' and '.join(named)}") if named else left

    def _discover(self, disabled: frozenset[str]) -> Discovery:
        return discover(
            mode=self.settings.plugins,
            allow=self.settings.allow,
            disable=disabled,
            lock=self.settings.lock_file,
            elsewhere=[part.name for part in self.contributions],
        )


def check_contributions(contributions: Iterable[Contribution | LayerClass]) -> tuple[Contribution, ...]:
    """The contributions that code hands over.

    Raises:
        ValueError: one of them is something else.
    """
    if isinstance(contributions, Contribution):
        raise ValueError(
            f"contributions: expected a list, got the {type(contributions).__name__} {contributions.name!r}. Put it "
            f"into one: contributions=[...] ({find_caller()})"
        )
    if not isinstance(contributions, Iterable):
        raise ValueError(f"contributions: expected a list of contributions, got {contributions!r} ({find_caller()})")
    given: list[Contribution] = []
    for part in contributions:
        if not isinstance(part, Contribution):
            name = getattr(part, "__name__", repr(part))
            raise ValueError(
                f"contributions: {name} is no contribution; decorate it with @lifespan(...) or @middleware(...), pass "
                "it to value(...), or make a RouteContribution or an ErrorHandlerContribution of it "
                f"({find_definition(part)})"
            )
        given.append(part)
    return tuple(given)


def check_overrides(overrides: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """A copy of the overrides that code hands over.

    Raises:
        ValueError: they are something else.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ValueError(f"overrides: expected a mapping like {{Database: fake}}, got {overrides!r}")
    return dict(overrides or {})


def choose_settings(
    settings: KernelSettings | None, overrides: dict[Any, Any], environment: Environment
) -> KernelSettings:
    """The kernel's settings: as given, else as overridden (and taken out of ``overrides``), else from the environment.

    Raises:
        PlanError: they can't be read.
        ValueError: the given ones are something else, or both are given.
    """
    overridden = overrides.pop(KernelSettings, None)
    for label, value in (("settings", settings), ("overrides", overridden)):
        if value is not None and not isinstance(value, KernelSettings):
            raise ValueError(f"{label}: expected KernelSettings, got {type(value).__name__}")
    if settings is not None and overridden is not None:
        raise ValueError("settings: overrides has KernelSettings as well; give them once")
    given = settings if overridden is None else overridden
    if given is not None:
        return given
    with use_environment(environment):
        return reading.load_settings(KernelSettings)
