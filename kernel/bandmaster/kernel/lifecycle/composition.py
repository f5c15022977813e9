"""Compose a plan from installed parts and from those that code hands over: the one place where plans are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution, group_of
from bandmaster.kernel.discovery.disabling import describe_unknown, list_addresses, parse_names, strip_group
from bandmaster.kernel.discovery.discover import Discovery, discover
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.planning.deadlines import Deadlines
from bandmaster.kernel.planning.make import SettingsReader, make_plan
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings import reading
from bandmaster.kernel.settings.kernel import KernelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The checked arguments from which a kernel's plan follows, for whichever role."""

    contributions: tuple[Contribution, ...]
    """The parts that code hands over."""
    discover: bool
    """Whether installed parts are taken as well."""
    disable: frozenset[str]
    """Names of parts to leave out, in addition to those in the settings."""
    overrides: Mapping[Any, Any]
    settings: KernelSettings
    read_settings: SettingsReader

    @classmethod
    def check(
        cls,
        *,
        contributions: Iterable[Contribution | LayerClass] = (),
        discover: bool = True,
        disable: str | Iterable[str] = (),
        overrides: Mapping[Any, Any] | None = None,
        settings: KernelSettings | None = None,
        read_settings: SettingsReader = reading.read_settings,
    ) -> Composition:
        """Check the arguments of a kernel, and read its settings where none are given.

        Raises:
            PlanError: the kernel's settings are missing or wrong.
            ValueError: an argument is of the wrong kind; the message names it.
        """
        given = check_contributions(contributions)
        names = parse_names(disable)
        checked = check_overrides(overrides)
        chosen = choose_settings(settings, checked)
        return cls(
            contributions=given,
            discover=discover,
            disable=names,
            overrides=checked,
            settings=chosen,
            read_settings=read_settings,
        )

    def change(self, overrides: Mapping[Any, Any] | None, settings: KernelSettings | None) -> Composition:
        """A composition with further overrides on top of its own, and with other settings where some are given.

        Raises:
            PlanError, ValueError: as `check` does.
        """
        added = check_overrides(overrides)
        if settings is not None or KernelSettings in added:
            settings = choose_settings(settings, added)
        return replace(self, overrides={**self.overrides, **added}, settings=settings or self.settings)

    def plan(self, role: str | None, *, serves: bool | None = None) -> tuple[Discovery, Plan]:
        """Find the installed parts and plan them together with those that code hands over.

        Raises:
            DiscoveryError: installed parts can't be found, trusted or loaded.
            PlanError: the parts don't fit together, or their settings are missing or wrong.
        """
        settings = self.settings
        disabled = self.disable | settings.disable
        discovery = self._discover(disabled) if self.discover else Discovery()
        warnings = list(discovery.warnings)
        if not self.discover:
            warnings += describe_unknown(disabled, ((group_of(part), part.name) for part in self.contributions))
        enabled = [part for part in self.contributions if not disabled & list_addresses(group_of(part), part.name)]
        plan = make_plan(
            [*discovery.contributions, *enabled],
            role=role,
            serves=serves,
            overrides={**self.overrides, KernelSettings: settings},
            read_settings=self.read_settings,
            context=Context,
            deadlines=Deadlines(
                start=settings.start_timeout, stop=settings.stop_timeout, left_for_stops=settings.left_for_stops
            ),
            on_start_failure=settings.on_start_failure,
            processes=settings.processes,
            known=[*map(strip_group, disabled), *(part.found.name for part in discovery.left_out)],
            warnings=warnings,
        )
        return discovery, plan

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
    if not isinstance(contributions, Iterable):
        raise ValueError(f"contributions: expected a list of contributions, got {contributions!r}")
    given: list[Contribution] = []
    for part in contributions:
        if not isinstance(part, Contribution):
            name = getattr(part, "__name__", repr(part))
            raise ValueError(
                f"contributions: {name} is no contribution; decorate it with @lifespan(...) or @middleware(...), pass "
                "it to value(...), or make a RouteContribution or an ErrorHandlerContribution of it"
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


def choose_settings(settings: KernelSettings | None, overrides: dict[Any, Any]) -> KernelSettings:
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
    return reading.read_one(KernelSettings) if given is None else given
