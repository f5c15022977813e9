"""The title and version that an application shows."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from bandmaster.kernel.errors import PlanError, Problem
from bandmaster.kernel.hosting.frameworks import set_openapi_info
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.text import suggest


def apply_identity(settings: KernelSettings, host: Any) -> tuple[str, str]:
    """Title and version: from the settings, else from the distribution, else from the host. A FastAPI host gets them.

    Raises:
        PlanError: the distribution that the settings name isn't installed.
    """
    title, version = settings.title, settings.version
    if settings.distribution is not None:
        metadata = _read_metadata(settings.distribution)
        title, version = title or metadata["Name"], version or metadata["Version"]
    known = {name: value for name, value in (("title", title), ("version", version)) if value is not None}
    set_openapi_info(host, **known)
    return title or getattr(host, "title", "") or "bandmaster", version or getattr(host, "version", "") or ""


def _read_metadata(distribution: str) -> Any:
    try:
        return importlib.metadata.metadata(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        installed = [other.metadata["Name"] for other in importlib.metadata.distributions()]
        message = f"BANDMASTER_DISTRIBUTION is {distribution!r}, which isn't installed."
        hint = f"Install it, or unset the variable.{suggest(distribution, filter(None, installed))}"
        raise PlanError([Problem(message, hint, "distribution")]) from error
