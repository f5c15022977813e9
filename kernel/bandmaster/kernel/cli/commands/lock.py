"""``bandmaster lock``: pins what is installed, and tells when it has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, CommandError, answering, complain, show_json

if TYPE_CHECKING:
    from bandmaster.kernel.contributions.model import Contribution
    from bandmaster.kernel.discovery.lockfile import Lock
    from bandmaster.kernel.planning.plan import Plan
    from bandmaster.kernel.settings.kernel import KernelSettings

Check = Annotated[
    bool,
    typer.Option("--check", help="Write nothing; compare what is installed with the file.", show_default=False),
]
File = Annotated[
    str | None,
    typer.Option(
        "--file", help="The lock file.", show_default="BANDMASTER_LOCK_FILE, or bandmaster.lock", metavar="FILE"
    ),
]


def lock(
    target: Target = None,
    role: Role = None,
    check: Check = False,
    file: File = None,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Pin what is installed in a lock file.

    Version and content of every distribution that brings parts, and the order of the parts. With
    BANDMASTER_PLUGINS=locked nothing but that is loaded.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.discovery.lockfile import Lock
        from bandmaster.kernel.discovery.metadata import find
        from bandmaster.kernel.hosting.targets import put_first
        from bandmaster.kernel.settings.kernel import KernelSettings
        from bandmaster.kernel.settings.reading import read_one

        put_first(app_dir)
        settings = read_one(KernelSettings)
        path = file or str(settings.lock_file)
        found = find()
        drift: list[str] = []
        if check:
            locked = Lock.read(path)
            # To import is to run: what isn't as it was locked isn't imported to compare orders as well.
            drift = locked.drift(Lock.of(found))
            drift = drift or locked.drift(Lock.of(found, _order(_planned(target, app_dir, role, settings))))
            _tell(path, drift, Lock.of(found), answer)
        else:
            made = Lock.of(found, _order(_planned(target, app_dir, role, settings)))
            _write(path, made, answer)
        if drift:
            raise typer.Exit(PROBLEM)


def _planned(target: str | None, app_dir: str, role: str | None, settings: KernelSettings) -> Plan:
    """The plan that gives the order; a new lock is made of what the old one may refuse."""
    from bandmaster.kernel.cli.planned_target import plan_target
    from bandmaster.kernel.errors import DiscoveryError, Problem

    if target is None:
        return _plan_installed(role or "web", settings)
    try:
        return plan_target(target, app_dir, role).plan
    except DiscoveryError as error:
        if settings.plugins != "locked":
            raise
        hint = f"While the old lock refuses it, lock with: BANDMASTER_PLUGINS=auto bandmaster lock {target}"
        raise DiscoveryError([*error.problems, Problem(f"{target} can't be planned.", hint, target)]) from error


def _plan_installed(role: str, settings: KernelSettings) -> Plan:
    """The plan of everything installed, made without its settings: an order needs none, and a build has none."""
    from bandmaster.kernel.lifecycle.kernel import Kernel

    if settings.plugins == "locked":
        settings = settings.model_copy(update={"plugins": "auto"})
    return Kernel(role=role, settings=settings, read_settings=lambda _: ({}, ())).plan


def _order(plan: Plan) -> dict[str, list[str]]:
    """The order of the installed parts by group; what stands in code is under version control already."""
    groups: dict[str, list[Contribution]] = {
        "lifespan": [component.contribution for component in plan.components],
        "middleware": [layer.contribution for layer in plan.layers],
    }
    return {
        group: [part.name for part in parts if part.provenance.distribution is not None]
        for group, parts in groups.items()
    }


def _tell(path: str, drift: Sequence[str], installed: Lock, answer: Format) -> None:
    if answer is Format.JSON:
        show_json({"format": 1, "ok": not drift, "file": path, "drift": list(drift), "warnings": installed.loose()})
        return
    _warn(installed)
    if drift:
        lines = "".join(f"\n  {line}" for line in drift)
        complain(f"What is installed isn't what {path} says:{lines}")
        complain("If that is what you want to run, look the changes over, then run: bandmaster lock")
    else:
        typer.echo(f"ok: {_count(installed)} as {path} says")


def _write(path: str, made: Lock, answer: Format) -> None:
    try:
        made.write(path)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}.") from error
    if answer is Format.JSON:
        names = {name: pin.version for name, pin in made.distributions.items()}
        show_json({"format": 1, "ok": True, "file": path, "distributions": names, "warnings": made.loose()})
        return
    _warn(made)
    typer.echo(f"wrote {path}: {_count(made)}")


def _warn(made: Lock) -> None:
    for warning in made.loose():
        complain(f"warning: {warning}")


def _count(made: Lock) -> str:
    distributions, parts = len(made.distributions), sum(len(pin.parts) for pin in made.distributions.values())
    return (
        f"{distributions} distribution{'' if distributions == 1 else 's'} with {parts} part{'' if parts == 1 else 's'}"
    )
