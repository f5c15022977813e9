"""``bandmaster config``: print every setting of every installed part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import AppDir, EnvFile, Format, Target, Traceback
from bandmaster.kernel.cli.output import PROBLEM, answering, render_problem_json, show, show_error, show_json

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    from bandmaster.kernel.cli.known_settings import Readers
    from bandmaster.kernel.cli.views.config_view import Group
    from bandmaster.kernel.contributions.model import Contribution
    from bandmaster.kernel.errors import DiscoveryError, PlanError, Problem


class ConfigFormat(StrEnum):
    """The form in which settings are printed."""

    TEXT = "text"
    JSON = "json"
    ENV = "env"


Answer = Annotated[
    ConfigFormat,
    typer.Option("--format", help="text is for people, json for programs; env is an example of a .env file."),
]


def config(
    target: Target = None,
    answer: Answer = ConfigFormat.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Print every setting with its current value.

    Secrets are masked. Works also while required settings are missing.
    """
    with answering(Format.JSON if answer is ConfigFormat.JSON else Format.TEXT, full=traceback):
        from bandmaster.kernel.cli.known_settings import find_unread_variables
        from bandmaster.kernel.cli.views.config_view import render_config_json, render_config_text, render_env_lines
        from bandmaster.kernel.settings.kernel import KernelSettings

        parts, values, failure = _read(target, app_dir)
        problems = failure.problems if failure is not None else ()
        groups = list(_make_groups(parts, values, problems))
        kernel = values.get(KernelSettings)
        ignored = kernel.other_variables if isinstance(kernel, KernelSettings) else ()
        warnings = find_unread_variables(parts, ignored)
        if answer is ConfigFormat.ENV:
            for line in render_env_lines(groups):
                typer.echo(line)
        elif answer is ConfigFormat.JSON:
            shown = list(map(render_problem_json, problems))
            shown_groups = render_config_json(groups)
            ok = not problems and not any(group.is_wrong for group in groups)
            show_json({"format": 1, "ok": ok, "groups": shown_groups, "problems": shown, "warnings": warnings})
        else:
            show(render_config_text(groups))
        if answer is not ConfigFormat.JSON:
            for warning in warnings:
                show_error(f"warning: {warning}")
        if failure is not None:
            _report_failure(failure, target, answer)
        elif answer is not ConfigFormat.ENV and any(group.is_wrong for group in groups):
            raise typer.Exit(PROBLEM)  # the problems stand at their settings


def _report_failure(failure: DiscoveryError | PlanError, target: str | None, answer: ConfigFormat) -> None:
    from bandmaster.kernel.errors import PlanError

    if answer is ConfigFormat.ENV and isinstance(failure, PlanError):
        # People want the file because settings are missing, so that is no failure here.
        if target is not None:
            show_error(
                f"{target} can't be planned with the present settings; settings of its own parts may be missing here."
            )
        return
    if answer is not ConfigFormat.JSON:
        show_error(f"\n{failure}")
    raise typer.Exit(PROBLEM)


def _read(
    target: str | None, app_dir: str
) -> tuple[list[Contribution], Mapping[type, BaseSettings], DiscoveryError | PlanError | None]:
    """The parts, the settings that their plan has read, and the error if there is no plan."""
    from bandmaster.kernel.cli.known_settings import load_installed
    from bandmaster.kernel.cli.planned_target import plan_target
    from bandmaster.kernel.errors import DiscoveryError, PlanError
    from bandmaster.kernel.settings.kernel import KernelSettings

    try:
        planned = plan_target(target, app_dir)
    except (PlanError, DiscoveryError) as error:
        return list(load_installed()), {}, error
    kernel = planned.kernel
    return list(kernel.plan.contributions), {**kernel.plan.settings, KernelSettings: kernel.settings}, None


def _make_groups(
    parts: Iterable[Contribution], values: Mapping[type, BaseSettings], problems: Iterable[Problem]
) -> Iterator[Group]:
    from bandmaster.kernel.cli.known_settings import find_by_name, find_readers, list_own_settings
    from bandmaster.kernel.settings.secrets import secret_variables

    problems = list(problems)
    readers = find_readers(parts)
    # The parts that a target composes are unknown after it has failed. The problems still name their settings types.
    for kind in find_by_name({problem.subject for problem in problems} - {kind.__name__ for kind in readers}):
        readers[kind] = {}
    own = list_own_settings()
    # One type may read as plain text what another declares to be secret.
    secrets = secret_variables([*own, *readers])
    for kind in own:
        yield _make_group(kind, "bandmaster", values, problems, secrets)
    for kind in sorted(readers, key=lambda kind: (kind.__name__, kind.__module__)):
        if kind not in own:
            yield _make_group(kind, _describe_owners(readers, kind), values, problems, secrets)


def _describe_owners(readers: Readers, kind: type[BaseSettings]) -> str:
    owners = [f"{name} ({provenance})" for name, provenance in sorted(readers[kind].items())]
    return f"read by {', '.join(owners)}" if owners else "read by the app"


def _make_group(
    kind: type[BaseSettings],
    owner: str,
    values: Mapping[type, BaseSettings],
    problems: Iterable[Problem],
    secrets: frozenset[str],
) -> Group:
    from bandmaster.kernel.cli.views.config_view import Group, Shown, render_setting_kind
    from bandmaster.kernel.settings.display import describe_settings, read_value
    from bandmaster.kernel.settings.reading import read_settings

    value = values.get(kind)
    wrong = [problem for problem in problems if problem.subject == kind.__name__]
    if value is None and not wrong:
        # There is no plan, or no part in the plan reads this type.
        read, wrong = read_settings([kind])
        value = read.get(kind)
    by_variable: dict[str, list[str]] = {}
    for problem in wrong:
        by_variable.setdefault(problem.message.partition(" ")[0].partition(".")[0], []).append(problem.message)
    shown = [
        Shown(
            replace(setting, kind=render_setting_kind(setting)),
            None if value is None else read_value(value, setting.path, secrets),
            " ".join(by_variable.pop(setting.variable, ())),
        )
        for setting in describe_settings(kind, secrets)
    ]
    # The problems that are left are about several settings together.
    whole = tuple(message for messages in by_variable.values() for message in messages)
    return Group(kind.__name__, owner, tuple(shown), whole)
