"""The settings that a command works with: those of the named application, else those of the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bandmaster.kernel.hosting.default_target import HERE, resolve_target
from bandmaster.kernel.hosting.targets import load_application

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

_S = TypeVar("_S", bound="BaseSettings")


class GivenSettings:
    """Reads settings types for a command without starting anything.

    An application may be given settings in code, so those of its plan have precedence. Without an application, and for
    a type that no part of the plan reads, the environment counts.

    Raises:
        TargetError, DiscoveryError, PlanError: the application can't be loaded or planned.
    """

    def __init__(self, target: str | None, app_dir: str = HERE) -> None:
        target, app_dir = resolve_target(target, app_dir)
        self._plan = None if target is None else load_application(target, app_dir).plan

    def read(self, kind: type[_S]) -> _S:
        """The settings of one type.

        Raises:
            PlanError: the settings can't be read from the environment.
        """
        # pydantic, which settings need, would slow down the help of commands.
        from bandmaster.kernel.settings.reading import load_settings

        found = None if self._plan is None else self._plan.settings_of(kind)
        return load_settings(kind) if found is None else found
