"""A plan as people and as programs read it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bandmaster.kernel.cli.views.outline import Line, Section, Table
from bandmaster.kernel.contributions.model import Contribution, ErrorHandlerContribution
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning.budgets import BudgetShare, compare_budget
from bandmaster.kernel.planning.explanation import Explanation
from bandmaster.kernel.planning.plan import Component, Layer, Plan
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import duration, masked

# -- for people ----------------------------------------------------------------------------------------------------


def plan_sections(
    title: str,
    plan: Plan,
    settings: KernelSettings,
    left_out: Sequence[LeftOut] = (),
    problems: Sequence[Problem] = (),
    warnings: Sequence[str] = (),
) -> list[Section]:
    """A plan for people."""
    role = f" for role {plan.role!r}" if plan.role else ""
    found = [
        Section(f"Plan of {title}{role}", content=(Line(_counts(plan)),)),
        _start_order(plan),
        _stack(plan),
        _values(plan),
        _routes(plan),
        _error_handlers(plan),
        _budget(plan, settings.limits),
        _stop(plan, settings),
        Section("Not started", content=(*_not_started(plan), *_left_out(left_out))),
        findings("Problems", map(str, problems), "bold red"),
        findings("Warnings", warnings, "bold yellow"),
    ]
    return [section for section in found if section.content]


def findings(heading: str, said: Iterable[str], style: str) -> Section:
    """What was found to be wrong."""
    return Section(heading, content=tuple(Line(masked(text)) for text in said), style=style)


def explanation_section(explanation: Explanation) -> Section:
    """Why a part stands where it stands, for people."""
    first, *lines = str(explanation).split("\n")
    return Section(first, content=tuple(Line(line.strip()) for line in lines))


def _counts(plan: Plan) -> str:
    if not (plan.components or plan.layers or plan.routes or plan.error_handlers or plan.values):
        return "nothing in it: install what brings parts, such as bandmaster-web, or name an app that composes some"
    stages = f" in {_number(len(plan.stages), 'stage')}" if plan.stages else ""
    counts = [f"{_number(len(plan.components), 'component')}{stages}", _number(len(plan.layers), "layer")]
    counts += [_number(len(plan.routes), "set of routes", "sets of routes")] if plan.routes else []
    counts += [_number(len(plan.error_handlers), "error handler")] if plan.error_handlers else []
    return ", ".join(counts)


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count or 'no'} {one if count == 1 else many or f'{one}s'}"


def _start_order(plan: Plan) -> Section:
    stages = [
        Line(
            f"{stage.band} {stage.priority}",
            below=tuple(_component(plan.by_name[name]) for name in stage.components),
            style="cyan",
        )
        for stage in plan.stages
    ]
    return Section("Start order", "the stop is its exact reverse", tuple(stages))


def _component(component: Component) -> Line:
    part = component.contribution
    facts = [Line(f"provides {', '.join(map(str, component.provides))}")] if component.provides else []
    facts += [Line(f"waits for {edge.to}: {edge.why}") for edge in component.waits_for]
    times = [
        f"{duration(seconds)} to {verb}"
        for seconds, verb in ((part.start_timeout, "start"), (part.stop_timeout, "stop"))
        if seconds is not None
    ]
    facts += [Line(f"has {' and '.join(times)}")] if times else []
    held = [f"{amount} of {resource}" for resource, amount in sorted(component.budget.items())]
    facts += [Line(f"may hold {', '.join(held)}")] if held else []
    return Line(component.name, str(part.provenance), tuple(facts), "bold")


def _stack(plan: Plan) -> Section:
    layers = [
        Line(
            f"{number} {layer.name}",
            f"{layer.contribution.band} {layer.contribution.priority}, {_form(layer)}, "
            f"{' and '.join(sorted(layer.contribution.scopes))}, {layer.contribution.provenance}",
        )
        for number, layer in enumerate(plan.layers, start=1)
    ]
    return Section("Request stack", "outermost first", tuple(layers))


def _form(layer: Layer) -> str:
    return "ASGI" if layer.contribution.form == "asgi" else "hooks"


def _values(plan: Plan) -> Section:
    parts = {part.name: part for part in plan.values.values()}
    lines = [
        Line(f"{name}: {', '.join(str(key) for key in part.provides)}", str(part.provenance))
        for name, part in sorted(parts.items())
    ]
    return Section("Values", "ready before anything starts", tuple(lines))


def _routes(plan: Plan) -> Section:
    lines = [
        Line(
            f"{part.name} at {part.prefix or '/'}" + (f", tagged {', '.join(part.tags)}" if part.tags else ""),
            str(part.provenance),
        )
        for part in plan.routes
    ]
    return Section("Routes", content=tuple(lines))


def _error_handlers(plan: Plan) -> Section:
    lines = [Line(f"{part.name} for {_answered(part)}", str(part.provenance)) for part in plan.error_handlers]
    return Section("Error handlers", content=tuple(lines))


def _answered(part: ErrorHandlerContribution) -> str:
    return str(part.exception) if isinstance(part.exception, int) else part.exception.__qualname__


def _budget(plan: Plan, limits: Mapping[str, int]) -> Section:
    held = compare_budget(plan, limits)
    if not held:
        return Section("Budget")
    columns = ["resource", "one process"]
    many = plan.processes > 1
    limited = any(share.limit is not None for share in held)
    columns += [f"{plan.processes} processes"] if many else []
    columns += ["limit", "share"] if limited else []
    rows = tuple(tuple(_cells(share, many=many, limited=limited)) for share in held)
    table = Table(tuple(columns), rows, frozenset(range(1, len(columns))))
    return Section("Budget", "what components may hold at most", table)


def _cells(share: BudgetShare, *, many: bool, limited: bool) -> Iterator[str]:
    yield share.resource
    yield str(share.each)
    if many:
        yield str(share.total)
    if limited:
        yield "" if share.limit is None else str(share.limit)
        yield f"{share.percent} too much".strip() if share.is_over else share.percent


def _stop(plan: Plan, settings: KernelSettings) -> Section:
    if not plan.components:
        return Section("Stop")
    path = " → ".join(f"{component.name} {duration(component.stop_timeout)}" for component in plan.slowest_stop)
    grace = settings.termination_grace
    draining = settings.drain_delay + settings.drain_timeout
    lines = (
        Line(f"slowest path {duration(plan.stop_seconds)}: {path}"),
        Line(
            f"allowed {duration(settings.left_for_stops)}: a grace of {duration(grace)}, "
            f"less {duration(draining)} for draining"
        ),
    )
    return Section("Stop", content=lines)


def _not_started(plan: Plan) -> Iterator[Line]:
    for name, key in sorted(plan.replaced.items()):
        yield Line(f"{name}: an override provides {key}")
    for part in plan.other_roles:
        yield Line(f"{part.name}: it belongs to role {_roles(part.roles or ())}", str(part.provenance))
    if plan.unserved:
        names = ", ".join(part.name for part in plan.unserved)
        yield Line(f"layers, routes and error handlers, for no requests are served: {names}")


def _roles(roles: Iterable[str]) -> str:
    return " or ".join(map(repr, sorted(roles)))


def _left_out(left_out: Iterable[LeftOut]) -> Iterator[Line]:
    for part in left_out:
        owner = part.found.provenance
        yield Line(f"{part.found.address}: {part.reason}", "" if str(owner.distribution) in part.reason else str(owner))


# -- for programs --------------------------------------------------------------------------------------------------


def plan_json(
    target: str | None,
    plan: Plan,
    settings: KernelSettings,
    left_out: Sequence[LeftOut] = (),
    problems: Sequence[Mapping[str, str]] = (),
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """A plan for programs. Names of fields stay as they are; new ones may be added."""
    return {
        "format": 1,
        "ok": not problems,
        "target": target,
        "role": plan.role,
        "stages": [
            {"band": str(stage.band), "priority": stage.priority, "components": list(stage.components)}
            for stage in plan.stages
        ],
        "components": [_component_json(plan, component) for component in plan.components],
        "layers": [_layer_json(layer) for layer in plan.layers],
        "values": [
            {**_part_json(part), "provides": [str(key) for key in part.provides]}
            for _, part in sorted({part.name: part for part in plan.values.values()}.items())
        ],
        "routes": [{**_part_json(part), "prefix": part.prefix, "tags": list(part.tags)} for part in plan.routes],
        "error_handlers": [{**_part_json(part), "exception": _answered(part)} for part in plan.error_handlers],
        "budget": {
            "processes": plan.processes,
            "over_budget": settings.over_budget,
            "resources": {
                share.resource: {"one_process": share.each, "all_processes": share.total, "limit": share.limit}
                for share in compare_budget(plan, settings.limits)
            },
        },
        "stop": {
            "seconds": plan.stop_seconds,
            "path": [
                {"component": component.name, "seconds": component.stop_timeout} for component in plan.slowest_stop
            ],
            "allowed": settings.left_for_stops,
            "termination_grace": settings.termination_grace,
        },
        "not_started": [
            *({"name": name, "reason": "override", "by": [str(key)]} for name, key in sorted(plan.replaced.items())),
            *(
                {"name": part.name, "reason": "role", "by": sorted(part.roles or ()), **_brought(part)}
                for part in plan.other_roles
            ),
        ],
        "left_out": [
            {
                "part": part.found.address,
                "reason": part.reason,
                "distribution": part.found.provenance.distribution,
                "version": part.found.provenance.version,
            }
            for part in left_out
        ],
        "problems": list(problems),
        "warnings": list(warnings),
    }


def _part_json(part: Contribution) -> dict[str, Any]:
    return {"name": part.name, "description": part.description, **_brought(part)}


def _brought(part: Contribution) -> dict[str, Any]:
    provenance = part.provenance
    return {
        "distribution": provenance.distribution,
        "version": provenance.version,
        "entry_point": provenance.entry_point,
    }


def _component_json(plan: Plan, component: Component) -> dict[str, Any]:
    part = component.contribution
    return {
        **_part_json(part),
        "band": str(part.band),
        "priority": part.priority,
        "stage": component.stage,
        "needs": [
            {
                "parameter": need.parameter,
                "type": str(need.key),
                "kind": need.kind.value,
                "optional": need.optional,
                "from": plan.provided.get(need.key),
            }
            for need in component.needs
        ],
        "provides": [str(key) for key in component.provides],
        "waits_for": [{"component": edge.to, "why": edge.why} for edge in component.waits_for],
        "start_timeout": component.start_timeout,
        "stop_timeout": component.stop_timeout,
        "budget": dict(sorted(component.budget.items())),
        "roles": None if part.roles is None else sorted(part.roles),
        "on_crash": part.on_crash,
    }


def _layer_json(layer: Layer) -> dict[str, Any]:
    part = layer.contribution
    return {
        **_part_json(part),
        "band": str(part.band),
        "priority": part.priority,
        "form": part.form,
        "scopes": sorted(part.scopes),
        "needs": [
            {
                "parameter": need.parameter,
                "type": str(need.key),
                "kind": need.kind.value,
                "optional": need.optional,
            }
            for need in layer.needs
        ],
    }
