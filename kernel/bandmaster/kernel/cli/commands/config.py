"""``bandmaster config``: every setting of everything that is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import AppDir, Format, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, complain, problem_json, show, show_json

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    from bandmaster.kernel.cli.known_settings import Readers
    from bandmaster.kernel.cli.views.config_view import Group
    from bandmaster.kernel.contributions.model import Contribution
    from bandmaster.kernel.errors import DiscoveryError, PlanError, Problem


class ConfigFormat(StrEnum):
    """For whom settings are written."""

    TEXT = "text"
    JSON = "json"
    ENV = "env"


Answer = Annotated[
    ConfigFormat,
    typer.Option("--format", help="text is for people, json for programs, env an example of a .env file."),
]


def config(
    target: Target = None,
    answer: Answer = ConfigFormat.TEXT,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print every setting, with its value now.

    Secrets are masked. It works as well while a required setting is missing.
    """
    with answering(Format.JSON if answer is ConfigFormat.JSON else Format.TEXT, full=traceback):
        from bandmaster.kernel.cli.views.config_view import config_json, config_sections, env_lines

        parts, values, failed = _gather(target, app_dir)
        problems = failed.problems if failed is not None else ()
        groups = list(_groups(parts, values, problems))
        if answer is ConfigFormat.ENV:
            for line in env_lines(groups):
                typer.echo(line)
        elif answer is ConfigFormat.JSON:
            told = [problem_json(problem) for problem in problems]
            show_json({"format": 1, "ok": not problems, "groups": config_json(groups), "problems": told})
        else:
            show(config_sections(groups))
        if failed is not None:
            _tell(failed, target, answer)


def _tell(failed: DiscoveryError | PlanError, target: str | None, answer: ConfigFormat) -> None:
    from bandmaster.kernel.errors import PlanError

    if answer is ConfigFormat.ENV and isinstance(failed, PlanError):
        # What is missing is why people want the file.
        if target is not None:
            complain(f"{target} can't be planned as it is set now; of what it brings itself, this may lack some.")
        return
    if answer is not ConfigFormat.JSON:
        complain(f"\n{failed}")
    raise typer.Exit(PROBLEM)


def _gather(
    target: str | None, app_dir: str
) -> tuple[list[Contribution], Mapping[type, BaseSettings], DiscoveryError | PlanError | None]:
    """The parts to look at, the settings that a plan has read, and why there is no plan."""
    from bandmaster.kernel.cli.planned_target import plan_target
    from bandmaster.kernel.errors import DiscoveryError, PlanError
    from bandmaster.kernel.settings.kernel import KernelSettings

    try:
        planned = plan_target(target, app_dir)
    except (PlanError, DiscoveryError) as error:
        return list(_loadable()), {}, error
    kernel = planned.kernel
    return list(kernel.plan.contributions), {**kernel.plan.settings, KernelSettings: kernel.settings}, None


def _loadable() -> Iterator[Contribution]:
    """The installed parts that can be loaded; why the others can't, the error at hand says."""
    from bandmaster.kernel.cli.installed import look
    from bandmaster.kernel.contributions.model import GROUPS
    from bandmaster.kernel.discovery.loading import load
    from bandmaster.kernel.errors import DiscoveryError, PlanError

    try:
        admitted = look(GROUPS).admission.admitted
    except PlanError:
        return
    for part in admitted:
        with suppress(DiscoveryError):
            yield load(part)


def _groups(
    parts: Iterable[Contribution], values: Mapping[type, BaseSettings], problems: Iterable[Problem]
) -> Iterator[Group]:
    from bandmaster.kernel.cli.known_settings import called, own_settings, read_by
    from bandmaster.kernel.settings.secrets import secret_variables

    problems = list(problems)
    readers = read_by(parts)
    # What an app composes by itself is known to nobody once that has failed, but for what the problems name.
    for kind in called({problem.subject for problem in problems} - {kind.__name__ for kind in readers}):
        readers[kind] = {}
    own = own_settings()
    # One type may read as plain text what another declares to be secret.
    secrets = secret_variables([*own, *readers])
    for kind in own:
        yield _group(kind, "bandmaster", values, problems, secrets)
    for kind in sorted(readers, key=lambda kind: (kind.__name__, kind.__module__)):
        if kind not in own:
            yield _group(kind, _owners(readers, kind), values, problems, secrets)


def _owners(readers: Readers, kind: type[BaseSettings]) -> str:
    owners = [f"{name} ({provenance})" for name, provenance in sorted(readers[kind].items())]
    return f"read by {', '.join(owners)}" if owners else "read by the app"


def _group(
    kind: type[BaseSettings],
    owner: str,
    values: Mapping[type, BaseSettings],
    problems: Iterable[Problem],
    secrets: frozenset[str],
) -> Group:
    from bandmaster.kernel.cli.views.config_view import Group, Shown, kind_text
    from bandmaster.kernel.settings.display import current_value, describe_settings
    from bandmaster.kernel.settings.reading import read_settings

    value = values.get(kind)
    wrong = [problem for problem in problems if problem.subject == kind.__name__]
    if value is None and not wrong:
        # There is no plan, or nothing in it reads them.
        read, wrong = read_settings([kind])
        value = read.get(kind)
    by_variable: dict[str, list[str]] = {}
    for problem in wrong:
        by_variable.setdefault(problem.message.partition(" ")[0].partition(".")[0], []).append(problem.message)
    shown = [
        Shown(
            replace(setting, kind=kind_text(kind.model_fields[name].annotation)),
            None if value is None else current_value(value, name, secrets),
            " ".join(by_variable.pop(setting.variable, ())),
        )
        for name, setting in zip(kind.model_fields, describe_settings(kind, secrets), strict=True)
    ]
    # What is left is about how several of them go together.
    whole = tuple(message for messages in by_variable.values() for message in messages)
    return Group(kind.__name__, owner, tuple(shown), whole)
