"""Render a plan as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bandmaster.kernel.cli.output import render_problem_json
from bandmaster.kernel.cli.views.plan_text import render_handled
from bandmaster.kernel.contributions.keys import type_name
from bandmaster.kernel.contributions.model import Contribution, group_of
from bandmaster.kernel.contributions.signatures import Need
from bandmaster.kernel.discovery.trust import LeftOut
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.planning.budgets import compare_budget
from bandmaster.kernel.planning.deadlines import name_source
from bandmaster.kernel.planning.explanation import Explanation
from bandmaster.kernel.planning.plan import Component, Layer, Plan
from bandmaster.kernel.settings.kernel import KernelSettings


def render_plan_json(
    target: str | None,
    plan: Plan,
    settings: KernelSettings,
    left_out: Sequence[LeftOut] = (),
    problems: Sequence[Problem] = (),
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """A plan as one JSON object. Fields keep their names; new ones may be added."""
    return {
        "format": 1,
        "ok": not problems,
        "target": target,
        "role": plan.role,
        "stages": [
            {"band": str(stage.band), "priority": stage.priority, "components": list(stage.components)}
            for stage in plan.stages
        ],
        "components": [_render_component(plan, component) for component in plan.components],
        "layers": [_render_layer(plan, layer) for layer in plan.layers],
        "values": [
            {**_render_part(plan, part), "provides": [str(key) for key in part.provides]}
            for _, part in sorted({part.name: part for part in plan.values.values()}.items())
        ],
        "routes": [
            {**_render_part(plan, part), "prefix": part.prefix, "tags": list(part.tags)} for part in plan.routes
        ],
        "error_handlers": [
            {**_render_part(plan, part), "exception": render_handled(part)} for part in plan.error_handlers
        ],
        "decorated": [
            {"type": type_name(chain.type), "provider": chain.provider.name, "decorators": list(chain.decorators)}
            for chain in dict.fromkeys(plan.providers.decorated.values())
        ],
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
                {"name": part.name, "reason": "role", "by": sorted(part.roles or ()), **_render_provenance(part)}
                for part in plan.other_roles
            ),
            *(
                {
                    "name": omission.part.name,
                    "reason": "disabled" if omission.settings is None else "when",
                    "by": [type_name(kind) for kind in omission.settings or ()],
                    **_render_provenance(omission.part),
                }
                for omission in plan.omitted
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
        "problems": list(map(render_problem_json, problems)),
        "warnings": list(warnings),
    }


def render_explanation_json(explanation: Explanation) -> dict[str, Any]:
    """The reasons for the place of a part as one JSON object."""
    data = asdict(explanation)
    for field in ("waits_for", "waited_for_by"):
        data[field] = [{"component": edge.to, "why": edge.why} for edge in getattr(explanation, field)]
    return {"format": 1, **data}


def _render_part(plan: Plan, part: Contribution) -> dict[str, Any]:
    replaced = plan.replaces.get((group_of(part), part.name))
    return {
        "name": part.name,
        "description": part.description,
        **_render_provenance(part),
        "replaces": None if replaced is None else str(replaced),
        "conditional": part.when is not None,
    }


def _render_provenance(part: Contribution) -> dict[str, Any]:
    provenance = part.provenance
    return {
        "distribution": provenance.distribution,
        "version": provenance.version,
        "entry_point": provenance.entry_point,
    }


def _render_component(plan: Plan, component: Component) -> dict[str, Any]:
    part = component.contribution
    return {
        **_render_part(plan, part),
        "band": str(part.band),
        "priority": part.priority,
        "stage": component.stage,
        "needs": [_render_need(plan, need, part.name) for need in component.needs],
        "provides": [str(key) for key in component.provides],
        "decorates": None if part.decorates is None else str(part.decorates),
        "waits_for": [{"component": edge.to, "why": edge.why} for edge in component.waits_for],
        "start_timeout": component.start_timeout,
        "start_timeout_from": name_source("start", component.start_timeout_source),
        "stop_timeout": component.stop_timeout,
        "stop_timeout_from": name_source("stop", component.stop_timeout_source),
        "budget": dict(sorted(component.budget.items())),
        "roles": None if part.roles is None else sorted(part.roles),
        "on_crash": part.on_crash,
        "on_start_failure": component.on_start_failure.reaction,
        "on_start_failure_by": component.on_start_failure.setting or None,
        "relies_on": list(component.relies_on),
        "facts": list(component.facts),
    }


def _render_need(plan: Plan, need: Need, component: str | None = None) -> dict[str, Any]:
    sources = plan.providers.find_sources(need, component)
    names = [source.name for source in sources if source.kind != "override"]
    data = {
        "parameter": need.parameter,
        "type": str(need.key),
        "kind": need.kind.value,
        "optional": need.optional,
        "from": names[0] if names and need.collection is None else None,
    }
    return data if need.collection is None else {**data, "each_from": [source.name for source in sources]}


def _render_layer(plan: Plan, layer: Layer) -> dict[str, Any]:
    part = layer.contribution
    return {
        **_render_part(plan, part),
        "band": str(part.band),
        "priority": part.priority,
        "form": part.form,
        "scopes": sorted(part.scopes),
        "needs": [_render_need(plan, need) for need in layer.needs],
    }
