"""Render a plan as text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from bandmaster.kernel.cli.views.outline import Line, Section, Table, describe_findings
from bandmaster.kernel.contributions.model import Contribution, ErrorHandlerContribution, group_of
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning.budgets import BudgetShare, compare_budget
from bandmaster.kernel.planning.deadlines import TimeoutSource, name_source
from bandmaster.kernel.planning.explanation import Explanation
from bandmaster.kernel.planning.plan import Component, Layer, Plan
from bandmaster.kernel.planning.start_policies import describe_policy
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import count_noun, join_words, render_duration


def render_plan_text(
    title: str,
    plan: Plan,
    settings: KernelSettings,
    left_out: Sequence[LeftOut] = (),
    problems: Sequence[Problem] = (),
    warnings: Sequence[str] = (),
) -> list[Section]:
    """A plan as sections, without those that would be empty."""
    role = f" for role {plan.role!r}" if plan.role else ""
    sections = [
        Section(f"Plan of {title}{role}", content=(Line(_count_parts(plan)),)),
        _describe_start_order(plan),
        _describe_stack(plan),
        _describe_values(plan),
        _describe_routes(plan),
        _describe_error_handlers(plan),
        _describe_budget(plan, settings.limits),
        _describe_stop(plan, settings),
        Section("Not started", content=(*_list_not_started(plan), *_list_left_out(left_out))),
        describe_findings("Problems", map(str, problems), "bold red"),
        describe_findings("Warnings", warnings, "bold yellow"),
    ]
    return [section for section in sections if section.content]


def render_explanation_text(explanation: Explanation) -> Section:
    """The reasons for the place of a part, as a section."""
    first, *lines = str(explanation).split("\n")
    return Section(first, content=tuple(Line(line.strip()) for line in lines))


def _count_parts(plan: Plan) -> str:
    if not (plan.components or plan.layers or plan.routes or plan.error_handlers or plan.values):
        return (
            "no parts: install a distribution that brings some, such as bandmaster-web, or name an app that composes "
            "some"
        )
    stages = f" in {count_noun(len(plan.stages), 'stage')}" if plan.stages else ""
    counts = [f"{count_noun(len(plan.components), 'component')}{stages}", count_noun(len(plan.layers), "layer")]
    counts += [count_noun(len(plan.routes), "set of routes", "sets of routes")] if plan.routes else []
    counts += [count_noun(len(plan.error_handlers), "error handler")] if plan.error_handlers else []
    return ", ".join(counts)


def _describe_start_order(plan: Plan) -> Section:
    stages = [
        Line(
            f"{stage.band} {stage.priority}",
            below=tuple(_describe_component(plan, plan.by_name[name]) for name in stage.components),
            style="cyan",
        )
        for stage in plan.stages
    ]
    return Section("Start order", "the stop is its exact reverse", tuple(stages))


def _describe_component(plan: Plan, component: Component) -> Line:
    part = component.contribution
    own = [str(key) for key in component.provides if key != part.decorates]
    facts = [Line(f"provides {', '.join(own)}")] if own else []
    if part.decorates is not None:
        inner = plan.providers.decorated[part.name].find_inner(part.name)
        facts += [Line(f"decorates {part.decorates}: takes the one of {inner}, and provides it to everybody else")]
    facts += [_describe_collection(plan, need) for need in component.needs if need.collection is not None]
    facts += [Line(f"waits for {edge.to}: {edge.why}") for edge in component.waits_for]
    timeouts: list[tuple[float, Literal["start", "stop"], TimeoutSource]] = [
        (component.start_timeout, "start", component.start_timeout_source),
        (component.stop_timeout, "stop", component.stop_timeout_source),
    ]
    times = [
        f"{render_duration(seconds)} to {phase}" + (f" ({name_source(phase, source)})" if source == "operator" else "")
        for seconds, phase, source in timeouts
        if source in ("component", "operator")
    ]
    facts += [Line(f"has {' and '.join(times)}")] if times else []
    facts += map(Line, describe_policy(plan, component))
    held = [f"{amount} of {resource}" for resource, amount in sorted(component.budget.items())]
    facts += [Line(f"may hold {', '.join(held)}")] if held else []
    facts += map(Line, component.facts)
    return Line(component.name, _describe_origin(plan, part), tuple(facts), "bold")


def _describe_collection(plan: Plan, need: Need) -> Line:
    sources = plan.providers.find_sources(need)
    return Line(f"takes {need}: {join_words(map(str, sources)) if sources else 'none'}")


def _describe_origin(plan: Plan, part: Contribution) -> str:
    replaced = plan.replaces.get((group_of(part), part.name))
    return f"{part.provenance}" if replaced is None else f"{part.provenance}, replaces the one of {replaced}"


def _describe_stack(plan: Plan) -> Section:
    layers = [
        Line(
            f"{number} {layer.name}",
            f"{layer.contribution.band} {layer.contribution.priority}, {_render_form(layer)}, "
            f"{' and '.join(sorted(layer.contribution.scopes))}, {_describe_origin(plan, layer.contribution)}",
        )
        for number, layer in enumerate(plan.layers, start=1)
    ]
    return Section("Request stack", "outermost first", tuple(layers))


def _render_form(layer: Layer) -> str:
    return "ASGI" if layer.contribution.form == "asgi" else "hooks"


def _describe_values(plan: Plan) -> Section:
    parts = {part.name: part for part in plan.values.values()}
    lines = [
        Line(f"{name}: {', '.join(str(key) for key in part.provides)}", _describe_origin(plan, part))
        for name, part in sorted(parts.items())
    ]
    return Section("Values", "ready before anything starts", tuple(lines))


def _describe_routes(plan: Plan) -> Section:
    lines = [
        Line(
            f"{part.name} at {part.prefix or '/'}" + (f", tagged {', '.join(part.tags)}" if part.tags else ""),
            _describe_origin(plan, part),
        )
        for part in plan.routes
    ]
    return Section("Routes", content=tuple(lines))


def _describe_error_handlers(plan: Plan) -> Section:
    lines = [
        Line(f"{part.name} for {render_handled(part)}", _describe_origin(plan, part)) for part in plan.error_handlers
    ]
    return Section("Error handlers", content=tuple(lines))


def render_handled(part: ErrorHandlerContribution) -> str:
    """The status code or the exception type that an error handler handles."""
    return str(part.exception) if isinstance(part.exception, int) else part.exception.__qualname__


def _describe_budget(plan: Plan, limits: Mapping[str, int]) -> Section:
    held = compare_budget(plan, limits)
    if not held:
        return Section("Budget")
    columns = ["resource", "one process"]
    many = plan.processes > 1
    limited = any(share.limit is not None for share in held)
    columns += [f"{plan.processes} processes"] if many else []
    columns += ["limit", "share"] if limited else []
    rows = tuple(tuple(_render_cells(share, many=many, limited=limited)) for share in held)
    table = Table(tuple(columns), rows, frozenset(range(1, len(columns))))
    return Section("Budget", "the most that the components may hold", table)


def _render_cells(share: BudgetShare, *, many: bool, limited: bool) -> Iterator[str]:
    yield share.resource
    yield str(share.each)
    if many:
        yield str(share.total)
    if limited:
        yield "" if share.limit is None else str(share.limit)
        yield f"{share.percent} too much".strip() if share.is_over else share.percent


def _describe_stop(plan: Plan, settings: KernelSettings) -> Section:
    if not plan.components:
        return Section("Stop")
    path = " → ".join(f"{component.name} {render_duration(component.stop_timeout)}" for component in plan.slowest_stop)
    grace = settings.termination_grace
    draining = settings.drain_delay + settings.drain_timeout
    lines = (
        Line(f"slowest path {render_duration(plan.stop_seconds)}: {path}"),
        Line(
            f"allowed {render_duration(settings.left_for_stops)}: a grace of {render_duration(grace)}, "
            f"less {render_duration(draining)} for draining"
        ),
    )
    return Section("Stop", content=lines)


def _list_not_started(plan: Plan) -> Iterator[Line]:
    for name, key in sorted(plan.replaced.items()):
        yield Line(f"{name}: an override provides {key}")
    for part in plan.other_roles:
        yield Line(f"{part.name}: it belongs to role {_render_roles(part.roles or ())}", str(part.provenance))
    for omission in plan.omitted:
        yield Line(f"{omission.part.name}: {omission.reason}", str(omission.part.provenance))
    if plan.unserved:
        names = ", ".join(part.name for part in plan.unserved)
        yield Line(f"layers, routes and error handlers, because no requests are served: {names}")


def _render_roles(roles: Iterable[str]) -> str:
    return " or ".join(map(repr, sorted(roles)))


def _list_left_out(left_out: Iterable[LeftOut]) -> Iterator[Line]:
    for part in left_out:
        owner = part.found.provenance
        yield Line(f"{part.found.address}: {part.reason}", "" if str(owner.distribution) in part.reason else str(owner))
