"""The installed parts, and which of them the settings allow to load. Nothing is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bandmaster.kernel.discovery.metadata import Scan, scan
from bandmaster.kernel.discovery.trust import Admission, admit
from bandmaster.kernel.errors import DiscoveryError, Problem
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.reading import load_settings


@dataclass(frozen=True, slots=True)
class Installed:
    """The installed parts, as `discover` sees them before loading any."""

    settings: KernelSettings
    seen: Scan
    admission: Admission

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems for which nothing would be started."""
        return (*self.seen.problems, *self.admission.problems)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings, which don't prevent a start."""
        return (*self.seen.warnings, *self.admission.warnings)


def find_installed(groups: Iterable[str] | None = None) -> Installed:
    """The installed parts, admitted or left out by the settings in the environment.

    Raises:
        PlanError: the kernel's settings can't be read.
    """
    settings = load_settings(KernelSettings)
    seen = scan()
    try:
        lock = installed = None
        if settings.plugins == "locked":
            from bandmaster.kernel.discovery.lockfile import Lock

            lock, installed = Lock.read(settings.lock_file), Lock.of(seen.found)
        admission = admit(
            seen.found,
            mode=settings.plugins,
            allow=settings.allow,
            disable=settings.disable,
            lock=lock,
            installed=installed,
            groups=None if groups is None else tuple(groups),
        )
    except DiscoveryError as error:
        admission = Admission(problems=error.problems)
    return Installed(settings, seen, admission)
