"""Import the contributions and commands that entry points name."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any, TypeAlias, cast

from bandmaster.kernel.contribs import advise_module
from bandmaster.kernel.contributions.model import GROUPS, Contribution, RouteContribution, as_route_contribution
from bandmaster.kernel.discovery.entry_points import PREFIX, split
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.errors import BandmasterError, DiscoveryError, Problem
from bandmaster.kernel.imports import (
    FailedImport,
    MissingAttribute,
    MissingModule,
    advise_import,
    describe_object,
    import_object,
)
from bandmaster.kernel.settings.error_messages import describe_failure
from bandmaster.kernel.tracebacks import find_frames

_Failure: TypeAlias = MissingModule | MissingAttribute | FailedImport


def load(found: Found) -> Contribution:
    """Import a contribution, and add the name and the provenance of the entry point.

    Raises:
        DiscoveryError: the import fails, or the object is no contribution of the group; ``__cause__`` is the exception.
        KeyError: the group isn't one of contributions.
    """
    wanted = GROUPS[found.group]
    loaded: Any = _import(found, wanted)
    if wanted is RouteContribution:
        loaded = as_route_contribution(loaded)
    if not isinstance(loaded, wanted):
        raise _make_error(
            found, f"{found.value} is {describe_object(loaded)}, not a {wanted.__name__}.", _suggest(found, loaded)
        )
    try:
        return cast("Contribution", replace(loaded, name=found.name, provenance=found.provenance))
    except ValueError as error:
        hint = "Give the entry point another name in the distribution's pyproject.toml."
        raise _make_error(found, f"its name doesn't do as {error}.", hint) from error


def load_command(found: Found) -> Any:
    """Import the object that a command's entry point names, without a check of the type.

    Raises:
        DiscoveryError: the import fails; ``__cause__`` is the exception.
    """
    return _import(found)


def _import(found: Found, wanted: type[Any] | None = None) -> Any:
    if found.problem:
        raise DiscoveryError([found.problem])
    module, attribute = split(found.value)
    try:
        return import_object(module, attribute)
    except (MissingModule, MissingAttribute, FailedImport) as failure:
        raise _make_error(found, *_explain(failure, wanted)) from failure.__cause__
    except BandmasterError as error:
        raise _make_error(found, *_explain(FailedImport(module, error), wanted)) from error


def _make_error(found: Found, reason: str, hint: str) -> DiscoveryError:
    hint = f"{hint} Or {found.switch_off}.".lstrip()
    return DiscoveryError([Problem(f"{found} can't be loaded: {reason}", hint, found.name)])


def _explain(failure: _Failure, wanted: type[Any] | None) -> tuple[str, str]:
    """Reason and hint."""
    if isinstance(failure, MissingModule):
        damaged = "The installation is damaged, or the entry point is misspelt: reinstall the distribution."
        return f"{failure}.", advise_module(failure.name) or damaged
    if isinstance(failure, MissingAttribute):
        # An attribute of an object in the module is rarely a contribution.
        fitting = wanted if wanted and isinstance(failure.owner, ModuleType) else ()
        return f"{failure}.", failure.suggest(lambda value: isinstance(value, fitting))
    error = failure.error
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    hint = f"Install what brings {missing!r}; `pip check` lists what is missing." if missing else ""
    hint = advise_import(error) or hint
    reason, place = describe_failure(failure.subject, "imported", error), _render_place(error)
    # The kernel's own errors about a definition have the place already.
    return f"{reason.removesuffix(place)}{place}.", hint


def _render_place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text names file and line
    frames = find_frames(error)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _suggest(found: Found, loaded: Any) -> str:
    """How to make a contribution of an object of another type."""
    for group, kind in GROUPS.items():
        if isinstance(loaded, kind):
            return f"It belongs into group {group!r}."
        if loaded is kind:
            return "Name one that you made of it, not the class itself."
    short = found.group.removeprefix(PREFIX)
    if short == "lifespan" and callable(loaded):
        return "Decorate it with @lifespan(band=...)."
    if short == "middleware" and isinstance(loaded, type):
        return "Decorate it with @middleware(band=...)."
    wanted = GROUPS[found.group].__name__
    return f"Make a {wanted} of it and name that."
