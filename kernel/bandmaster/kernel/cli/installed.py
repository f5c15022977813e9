"""What is installed, and what of it may be loaded; nothing is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bandmaster.kernel.discovery.metadata import Scan, scan
from bandmaster.kernel.discovery.trust import Admission, admit
from bandmaster.kernel.errors import DiscoveryError, Problem
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.reading import read_one


@dataclass(frozen=True, slots=True)
class Installed:
    """One look at the installed parts, as `discover` takes it before it loads any."""

    settings: KernelSettings
    seen: Scan
    admission: Admission

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything for which nothing would be started."""
        return (*self.seen.problems, *self.admission.problems)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that is odd."""
        return (*self.seen.warnings, *self.admission.warnings)


def look(groups: Iterable[str] | None = None) -> Installed:
    """Judge what is installed, by the settings in the environment.

    Raises:
        PlanError: the kernel's settings can't be read.
    """
    settings = read_one(KernelSettings)
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
