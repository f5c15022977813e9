"""Which of bandmaster's distributions brings a module, a command, or a component for a type. Pure."""

from __future__ import annotations

import re

from bandmaster.kernel.text import suggest

CONTRIBS = ("audit", "fastapi", "http", "logging", "oidc", "persistence", "redis", "taskiq", "tracing", "web")
"""The packages in ``bandmaster.contrib``: each is in a distribution and in an extra of bandmaster's."""
COMMANDS = {
    "apikey": "oidc",
    "audit": "audit",
    "db": "persistence",
    "deadletters": "taskiq",
    "scheduler": "taskiq",
    "worker": "taskiq",
}
"""The contrib that brings each command of bandmaster's that isn't the kernel's own."""

_PREFIX = "bandmaster.contrib."
_MENTION = re.compile(r"\bbandmaster\.contrib\.(\w+)|\bbandmaster\.contrib\s+import\s+(\w+)")
# Top-level packages with types that people ask for, and the contrib whose component provides them.
_TYPES = {"opentelemetry": "tracing", "redis": "redis", "sqlalchemy": "persistence", "taskiq": "taskiq"}


def describe_source(contrib: str) -> str:
    """Where a contrib comes from: ``bandmaster-redis: pip install 'bandmaster[redis]'``."""
    return f"bandmaster-{contrib}: pip install 'bandmaster[{contrib}]'"


def advise_module(missing: str, code: str = "") -> str:
    """The distribution to install for a module that isn't there; empty unless the module is in ``bandmaster.contrib``.

    ``code`` is the line with the import: where no contrib is installed, Python misses ``bandmaster.contrib`` itself.
    """
    if missing == _PREFIX.rstrip("."):
        mentioned = _MENTION.search(code)
        if mentioned is None:
            return f"The packages in {missing} come with distributions of their own, such as {describe_source('web')}."
        missing = f"{_PREFIX}{mentioned[1] or mentioned[2]}"
    name = missing.removeprefix(_PREFIX)
    if name == missing or "." in name:
        return ""  # the package around the module is there, so its distribution is installed
    if name in CONTRIBS:
        return f"{missing} comes with {describe_source(name)}."
    return f"No distribution of bandmaster's has {missing}.{suggest(name, CONTRIBS)}"


def find_distribution(module: str) -> tuple[str, bool]:
    """The distribution with a component for a module's types, if one is known, and whether that is installed."""
    package = module.partition(".")[0]
    if module.startswith(_PREFIX):
        return f"bandmaster-{module.removeprefix(_PREFIX).partition('.')[0]}", True  # or the type couldn't be named
    return (f"bandmaster-{_TYPES[package]}", False) if package in _TYPES else ("", False)
