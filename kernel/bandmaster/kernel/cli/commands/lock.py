"""``bandmaster lock``: pin the installed parts in a file, and compare them with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, AppDir, EnvFile, Format, Role, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, CommandError, answering, show_error, show_json, show_line

if TYPE_CHECKING:
    from bandmaster.kernel.contributions.model import Contribution
    from bandmaster.kernel.discovery.lockfile import Lock
    from bandmaster.kernel.discovery.metadata import Found
    from bandmaster.kernel.planning.plan import Plan
    from bandmaster.kernel.settings.kernel import KernelSettings

Check = Annotated[
    bool,
    typer.Option("--check", help="Write nothing; compare the installed parts with the file.", show_default=False),
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
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Pin the installed parts in a lock file.

    The file has the version and a hash of every distribution that brings parts, the order of the parts, those included
    that a when= may leave out, and their reactions to a failed start. With BANDMASTER_PLUGINS=locked only these are
    loaded.
    """
    with answering(answer, full=traceback):
        from bandmaster.kernel.discovery.lockfile import Lock
        from bandmaster.kernel.discovery.metadata import find
        from bandmaster.kernel.hosting.default_target import resolve_target
        from bandmaster.kernel.hosting.targets import put_first
        from bandmaster.kernel.settings.kernel import KernelSettings
        from bandmaster.kernel.settings.reading import load_settings

        target, app_dir = resolve_target(target, app_dir)
        put_first(app_dir)
        settings = load_settings(KernelSettings)
        path = file or str(settings.lock_file)
        found = find()
        drift: list[str] = []
        if check:
            locked = Lock.read(path)
            # To compare the order, parts must be imported, which runs their code. So parts that have changed end it
            # here.
            drift = locked.drift(Lock.of(found))
            drift = drift or locked.drift(_make_lock(found, _make_plan(target, app_dir, role, settings)))
            _show_drift(path, drift, Lock.of(found), answer)
        else:
            made = _make_lock(found, _make_plan(target, app_dir, role, settings))
            _write_lock(path, made, answer)
        if drift:
            raise typer.Exit(PROBLEM)


def _make_plan(target: str | None, app_dir: str, role: str | None, settings: KernelSettings) -> Plan:
    """The plan that gives the order. The old lock may refuse the parts of which a new lock is to be made."""
    from bandmaster.kernel.cli.planned_target import plan_target
    from bandmaster.kernel.errors import DiscoveryError, Problem

    if target is None:
        return _plan_installed(role or "web", settings)
    try:
        # Without settings, as an image build is: a condition answers differently in each environment.
        return plan_target(target, app_dir, role).kernel.plan_without_settings()
    except DiscoveryError as error:
        if settings.plugins != "locked":
            raise
        hint = f"While the old lock refuses it, lock with: BANDMASTER_PLUGINS=auto bandmaster lock {target}"
        raise DiscoveryError([*error.problems, Problem(f"{target} can't be planned.", hint, target)]) from error


def _plan_installed(role: str, settings: KernelSettings) -> Plan:
    """The plan of everything installed, made without settings: the order needs none, and an image build has none."""
    from bandmaster.kernel.lifecycle.kernel import Kernel

    if settings.plugins == "locked":
        settings = settings.model_copy(update={"plugins": "auto"})
    return Kernel(role=role, settings=settings, read_settings=lambda _: ({}, ())).plan


def _make_lock(found: Iterable[Found], plan: Plan) -> Lock:
    from bandmaster.kernel.discovery.lockfile import Lock

    # As declared: the choice of operators belongs to their environment.
    declared = {
        component.name: component.contribution.on_start_failure
        for component in plan
        if component.contribution.provenance.distribution is not None
        and component.contribution.on_start_failure != "stop"
    }
    return Lock.of(found, _list_order(plan), declared)


def _list_order(plan: Plan) -> dict[str, list[str]]:
    """The order of the installed parts by group. Parts in the application's own code are under version control."""
    groups: dict[str, list[Contribution]] = {
        "lifespan": [component.contribution for component in plan.components],
        "middleware": [layer.contribution for layer in plan.layers],
    }
    return {
        group: [part.name for part in parts if part.provenance.distribution is not None]
        for group, parts in groups.items()
    }


def _show_drift(path: str, drift: Sequence[str], installed: Lock, answer: Format) -> None:
    if answer is Format.JSON:
        show_json({"format": 1, "ok": not drift, "file": path, "drift": list(drift), "warnings": installed.loose()})
        return
    _show_warnings(installed)
    if drift:
        lines = "".join(f"\n  {line}" for line in drift)
        show_error(f"What is installed isn't what {path} says:{lines}")
        show_error("If that is what you want to run, look the changes over, then run: bandmaster lock")
    else:
        show_line(f"ok: {_count_parts(installed)} as {path} says")


def _write_lock(path: str, made: Lock, answer: Format) -> None:
    try:
        made.write(path)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}.") from error
    if answer is Format.JSON:
        names = {name: pin.version for name, pin in made.distributions.items()}
        show_json({"format": 1, "ok": True, "file": path, "distributions": names, "warnings": made.loose()})
        return
    _show_warnings(made)
    show_line(f"wrote {path}: {_count_parts(made)}")


def _show_warnings(made: Lock) -> None:
    for warning in made.loose():
        show_error(f"warning: {warning}")


def _count_parts(made: Lock) -> str:
    distributions, parts = len(made.distributions), sum(len(pin.parts) for pin in made.distributions.values())
    return (
        f"{distributions} distribution{'' if distributions == 1 else 's'} with {parts} part{'' if parts == 1 else 's'}"
    )
