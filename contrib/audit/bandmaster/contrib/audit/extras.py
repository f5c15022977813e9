"""Which optional distributions are installed."""

from __future__ import annotations

from importlib.util import find_spec

_PACKAGES = {
    "sql": "bandmaster.contrib.persistence",
    "oidc": "bandmaster.contrib.oidc",
    "taskiq": "bandmaster.contrib.taskiq",
}


def has_extra(extra: str) -> bool:
    """Whether the package of an extra of this distribution is installed."""
    return find_spec(_PACKAGES[extra]) is not None
