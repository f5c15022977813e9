"""The resource: the attributes that say which service and which of its processes telemetry comes from."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import socket
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bandmaster.contrib.tracing.key_values import parse_key_values
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.kernel import KernelSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

UNKNOWN_SERVICE = "unknown_service:python"
"""The name of a service that nobody has named, as the specification of OpenTelemetry has it."""


def describe_service(
    settings: TracingSettings, standard: OpenTelemetrySettings, kernel: KernelSettings
) -> dict[str, str]:
    """The attributes of this service, by the semantic conventions, without those of the process.

    A name is from ``TRACING_SERVICE_NAME``, ``OTEL_SERVICE_NAME``, the attributes in ``TRACING_RESOURCE_ATTRIBUTES``
    and ``OTEL_RESOURCE_ATTRIBUTES``, the application's title, or the distribution, in this order.
    """
    attributes = {
        "deployment.environment.name": kernel.environment,
        **parse_key_values(standard.otel_resource_attributes),
        **parse_key_values(settings.resource_attributes),
    }
    name = settings.service_name or standard.otel_service_name or attributes.get("service.name")
    version = settings.service_version or attributes.get("service.version") or kernel.version
    attributes["service.name"] = name or kernel.title or kernel.distribution or UNKNOWN_SERVICE
    if version is None and kernel.distribution is not None:
        version = _read_version(kernel.distribution)
    if version is not None:
        attributes["service.version"] = version
    return attributes


def describe_process() -> dict[str, str | int]:
    """The attributes of this process. To be called in the process that serves, after the last fork."""
    pid = os.getpid()
    return {"service.instance.id": _make_instance_id(pid), "process.pid": pid, "host.name": socket.gethostname()}


def make_resource(service: Mapping[str, str]) -> Resource:
    """The resource of OpenTelemetry's SDK for the service and this process.

    Everything in one process has the same ``service.instance.id``: spans, metrics and logs. Workers have one each.
    """
    from opentelemetry.sdk.resources import Resource

    # Not Resource.create: that reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES again, with another precedence.
    return Resource(
        {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": importlib.metadata.version("opentelemetry-sdk"),
            **describe_process(),
            **service,
        }
    )


@functools.cache
def _make_instance_id(pid: int) -> str:
    """The id of the process with this number: a child made by a fork has another number, and so another id."""
    return str(uuid.uuid4())


def _read_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None  # the kernel refuses such a distribution with a hint
