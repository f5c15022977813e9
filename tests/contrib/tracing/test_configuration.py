"""The settings of tracing, the standard variables of OpenTelemetry, and which of them win (OBS-T11)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from tests.contrib.tracing.apps import PARTS

from bandmaster.contrib.tracing import OpenTelemetrySettings, TracingSettings, describe_service, makes_spans
from bandmaster.contrib.tracing.configuration import Sampling, configure
from bandmaster.kernel import Kernel, KernelSettings, PlanError, create_app


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set environment variables for one test."""

    def set_all(**variables: str) -> tuple[TracingSettings, OpenTelemetrySettings]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return TracingSettings(), OpenTelemetrySettings()

    return set_all


@pytest.mark.parametrize(
    ("variables", "active"),
    [
        ({}, False),
        ({"TRACING_ENDPOINT": "http://c:4318"}, True),
        ({"TRACING_EXPORTER": "console"}, True),
        ({"TRACING_EXPORTER": "none"}, True),
        ({"TRACING_ENABLED": "true"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"TRACING_ENDPOINT": "http://c:4318", "TRACING_ENABLED": "false"}, False),
        ({"TRACING_ENABLED": "true", "OTEL_SDK_DISABLED": "true"}, True),
        ({"TRACING_SERVICE_NAME": "shop", "TRACING_SAMPLE_RATE": "0.5"}, False),
    ],
)
@pytest.mark.requirement("OBS-T11", "OB-3")
def test_spans_are_made_where_a_setting_says_where_they_go(set_variables: Any, variables: Any, active: bool) -> None:
    """Without an exporter or an endpoint there is nothing; the standard switches count (OBS-T11)."""
    assert makes_spans(*set_variables(**variables)) is active


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({}, "endpoint", "http://localhost:4318/v1/traces"),
        ({"TRACING_ENDPOINT": "http://c:1"}, "endpoint", "http://c:1/v1/traces"),
        ({"TRACING_ENDPOINT": "http://c:1/"}, "endpoint", "http://c:1/v1/traces"),
        ({"TRACING_ENDPOINT": "http://c:1/otlp"}, "endpoint", "http://c:1/otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:2"}, "endpoint", "http://c:2/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:2/base/"}, "endpoint", "http://c:2/base/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:3/t"}, "endpoint", "http://c:3/t"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "endpoint", "http://localhost:4317"),
        ({"TRACING_PROTOCOL": "grpc", "TRACING_ENDPOINT": "http://c:1"}, "endpoint", "http://c:1"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%2Cb, x=1"}, "headers", {"api-key": "a,b", "x": "1"}),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "3"}, "timeout", 3.0),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "4", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}, "timeout", 4.0),
        ({"TRACING_TIMEOUT": "5", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}, "timeout", 5.0),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "compression", "gzip"),
        ({"TRACING_COMPRESSION": "none", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "compression", "none"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "sampling", Sampling(0.0, False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, "sampling", Sampling(1.0, True)),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            "sampling",
            Sampling(0.25, False),
        ),
        ({"TRACING_SAMPLE_RATE": "0.5", "OTEL_TRACES_SAMPLER": "always_off"}, "sampling", Sampling(0.5, True)),
        ({"OTEL_BSP_SCHEDULE_DELAY": "250"}, "batch_delay", 0.25),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "9"}, "queue_size", 9),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}, "batch_size", 8),
    ],
    ids=str,
)
@pytest.mark.requirement("OBS-T11", "OB-8", "CF-11")
def test_standard_variables_count_where_ours_arent_set(
    set_variables: Any, variables: Any, field: str, value: Any
) -> None:
    """Each value is from our setting, the variable for traces, the variable for all, or a default (OBS-T11)."""
    assert getattr(configure(*set_variables(**variables)), field).value == value


@pytest.mark.requirement("OBS-T11")
def test_what_is_set_twice_is_told(set_variables: Any) -> None:
    """The line names the variable that has won, and the others; the same value twice is no conflict (OBS-T11)."""
    configuration = configure(
        *set_variables(
            TRACING_ENDPOINT="http://a:1",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://b:1",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://c:1",
            TRACING_TIMEOUT="3",
            OTEL_EXPORTER_OTLP_TIMEOUT="3",
        )
    )
    assert list(configuration.describe_conflicts()) == [
        "TRACING_ENDPOINT is set, so OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT don't count"
    ]


@pytest.mark.parametrize(
    ("variables", "kernel", "expected"),
    [
        ({}, {}, {"service.name": "unknown_service:python"}),
        ({}, {"title": "Shop", "version": "2"}, {"service.name": "Shop", "service.version": "2"}),
        ({}, {"distribution": "bandmaster"}, {"service.name": "bandmaster", "service.version": "0.1.0"}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,team=web%20shop"},
            {"title": "Shop"},
            {"service.name": "a", "team": "web shop"},
        ),
        (
            {"OTEL_SERVICE_NAME": "b", "OTEL_RESOURCE_ATTRIBUTES": "service.name=a"},
            {},
            {"service.name": "b"},
        ),
        (
            {"TRACING_SERVICE_NAME": "c", "OTEL_SERVICE_NAME": "b", "TRACING_SERVICE_VERSION": "9"},
            {"version": "1"},
            {"service.name": "c", "service.version": "9"},
        ),
        (
            {"TRACING_RESOURCE_ATTRIBUTES": "team=a", "OTEL_RESOURCE_ATTRIBUTES": "team=b,zone=z"},
            {"environment": "staging"},
            {"team": "a", "zone": "z", "deployment.environment.name": "staging"},
        ),
    ],
    ids=str,
)
@pytest.mark.requirement("OB-9", "OBS-T11")
def test_the_service_is_named_by_the_nearest_setting(
    set_variables: Any, variables: Any, kernel: Any, expected: Any
) -> None:
    """Name and version are from our settings, the standard variables, the application or its distribution."""
    described = describe_service(*set_variables(**variables), KernelSettings(**kernel))
    assert {name: described.get(name) for name in expected} == expected


@pytest.mark.requirement("OBS-M4")
def test_every_process_has_an_id_of_its_own() -> None:
    """The id is the same within a process, and another one in the child of a fork (OBS-M4)."""
    from bandmaster.contrib.tracing.resource import _make_instance_id, describe_process

    assert describe_process()["service.instance.id"] == describe_process()["service.instance.id"]
    assert _make_instance_id(1) != _make_instance_id(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint": "collector:4318"}, "begins with http"),
        ({"headers": "nonsense"}, "name=value"),
        ({"request_headers": ("Authorization",)}, "has secrets and is never captured"),
        ({"request_headers": ("cookie",)}, "has secrets"),
        ({"response_headers": ("Set-Cookie",)}, "has secrets"),
        ({"request_headers": ("*",)}, "would capture secrets"),
        ({"trusted_callers": ("10.0.0.0/99",)}, "neither an address nor a network"),
        ({"trusted_callers": ("*", "10.0.0.0/8")}, "trusts everybody"),
        ({"exclude": ("static/*",)}, "did you mean '/static/"),
        ({"queue_size": 4, "batch_size": 5}, "batch_size: must not be above queue_size"),
        ({"client_key_file": "key.pem"}, "needs client_certificate_file"),
        ({"sample_rate": 1.5}, "less than or equal to 1"),
        ({"stop_timeout": 0}, "greater than 0"),
    ],
    ids=str,
)
@pytest.mark.requirement("OBS-T8")
def test_settings_that_cant_work_are_refused(settings: Any, message: str) -> None:
    """The error says why; captured headers never have Authorization or cookies (OBS-T8)."""
    with pytest.raises(ValidationError, match=message):
        TracingSettings(**settings)


def test_secrets_of_the_collector_are_shown_nowhere() -> None:
    """The headers of exports are secret in every representation."""
    settings = TracingSettings(headers="api-key=s3cret")
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def plan_of(set_variables: Any, kernel: KernelSettings | None = None, **variables: str) -> Any:
    set_variables(**variables)
    return Kernel(contributions=PARTS, discover=False, serves=True, settings=kernel or KernelSettings())


@pytest.mark.requirement("OB-3")
def test_nothing_is_planned_without_settings(set_variables: Any) -> None:
    """An application without a collector has neither the components nor the layer."""
    plan = plan_of(set_variables).plan
    assert "tracing" not in plan.by_name
    assert "tracing" not in [layer.name for layer in plan.layers]


@pytest.mark.requirement("OBS-T10", "OBS-T11")
def test_the_plan_says_where_spans_go(set_variables: Any) -> None:
    """The facts name the collector, the share, the variables that have won, and the global provider (OBS-T10)."""
    plan = plan_of(
        set_variables,
        TRACING_ENDPOINT="http://user:s3cret@collector:4318",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://other:4318",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.1",
    ).plan
    facts = "\n".join(plan.by_name["tracing"].facts)
    assert "spans go to http://collector:4318/v1/traces (TRACING_ENDPOINT) by http/protobuf" in facts
    assert "records 0.1 of traces (OTEL_TRACES_SAMPLER); callers have no say" in facts
    assert "TRACING_ENDPOINT is set, so OTEL_EXPORTER_OTLP_ENDPOINT doesn't count" in facts
    assert "the global provider is nobody's" in facts
    assert "s3cret" not in facts


@pytest.mark.requirement("OB-11", "P-15", "CF-26")
def test_the_layer_is_the_outermost_of_all_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every installed package the request's span is around all other layers."""
    monkeypatch.setenv("TRACING_ENDPOINT", "http://127.0.0.1:4318")
    application = create_app(Starlette(), settings=KernelSettings(environment="test"))
    assert application.plan.layers[0].name == "tracing"


def find(kernel: Kernel) -> str:
    try:
        return "\n".join(kernel.check_start())
    except PlanError as error:
        return f"refused: {error}"


@pytest.mark.requirement("OB-3")
def test_the_console_is_refused_in_production(set_variables: Any) -> None:
    """Spans on standard output are for development."""
    production = KernelSettings(environment="production", title="shop")
    found = find(plan_of(set_variables, production, TRACING_EXPORTER="console"))
    assert found.startswith("refused")
    assert "TRACING_EXPORTER is console" in found
    development = KernelSettings(title="shop")
    assert find(plan_of(set_variables, development, TRACING_EXPORTER="console")) == ""


@pytest.mark.requirement("OB-9")
def test_a_service_without_a_name_is_warned_of(set_variables: Any) -> None:
    """The check names the variables that mend it."""
    found = find(plan_of(set_variables, TRACING_ENDPOINT="http://c:4318"))
    assert "unknown_service" in found
    assert "TRACING_SERVICE_NAME or OTEL_SERVICE_NAME" in found


def test_an_unknown_propagator_is_refused(set_variables: Any) -> None:
    """The check lists the propagators that are installed."""
    found = find(plan_of(set_variables, TRACING_ENDPOINT="http://c", OTEL_PROPAGATORS="tracecontext,b33"))
    assert "OTEL_PROPAGATORS names 'b33'" in found
    assert "baggage" in found


def test_a_stop_that_doesnt_fit_the_grace_is_warned_of(set_variables: Any) -> None:
    """The time for the flush belongs to the time that the platform leaves."""
    kernel = KernelSettings(title="shop", termination_grace=12, drain_timeout=10)
    found = find(plan_of(set_variables, kernel, TRACING_ENDPOINT="http://c", TRACING_STOP_TIMEOUT="5"))
    assert "TRACING_STOP_TIMEOUT is 5 s" in found


def test_other_programs_variables_arent_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_... is read by the zero-code launcher, and a misspelt name of ours is still noticed."""
    from bandmaster.kernel.settings.environment import Environment
    from bandmaster.kernel.settings.unread import find_unread

    readers = [TracingSettings, OpenTelemetrySettings]

    def warn(*names: str) -> list[str]:
        for name in names:
            monkeypatch.setenv(name, "x")
        return find_unread(readers, [], Environment())

    assert warn("OTEL_PYTHON_LOG_CORRELATION", "OTEL_SEMCONV_STABILITY_OPT_IN") == []
    (warning,) = warn("OTEL_EXPORTER_OTLP_ENDPIONT")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in warning
