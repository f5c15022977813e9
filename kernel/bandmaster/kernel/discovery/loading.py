"""From an entry point to the object that it names; the one place where parts are imported."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, cast

from bandmaster.kernel.contributions.model import GROUPS, Contribution, RouteContribution, as_route_contribution
from bandmaster.kernel.discovery.entry_points import PREFIX, split
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.errors import DiscoveryError, Problem
from bandmaster.kernel.text import listed, near


def load(found: Found) -> Contribution:
    """Import the contribution, under the name of its entry point and with its provenance.

    Raises:
        DiscoveryError: it can't be imported or is no contribution of its group; ``__cause__`` is what was raised.
        KeyError: the group isn't one of contributions.
    """
    wanted = GROUPS[found.group]
    loaded = _resolve(found, wanted)
    if wanted is RouteContribution:
        loaded = as_route_contribution(loaded)
    if not isinstance(loaded, wanted):
        raise _failure(
            found, f"{found.value} is {_described(loaded)}, not a {wanted.__name__}.", _remedy(found, loaded)
        )
    try:
        return cast("Contribution", replace(loaded, name=found.name, provenance=found.provenance))
    except ValueError as error:
        hint = "Give the entry point another name in the distribution's pyproject.toml."
        raise _failure(found, f"its name doesn't do as {error}.", hint) from error


def load_command(found: Found) -> Any:
    """Import what a command's entry point names, whatever it is.

    Raises:
        DiscoveryError: it can't be imported; ``__cause__`` is what was raised.
    """
    return _resolve(found)


def _resolve(found: Found, wanted: type[Any] | None = None) -> Any:
    if found.problem:
        raise DiscoveryError([found.problem])
    name, attribute = split(found.value)
    try:
        module = import_module(name)
    # A module that calls sys.exit() would end the process before anything is said; KeyboardInterrupt does so rightly.
    except (Exception, SystemExit) as error:
        raise _failure(found, *_import_failed(name, error)) from error
    loaded: Any = module
    for step in attribute.split("."):
        try:
            loaded = getattr(loaded, step)
        except AttributeError as error:
            raise _failure(found, *_no_attribute(loaded, step, wanted)) from error
        except (Exception, SystemExit) as error:
            # A module that exports lazily imports only now.
            raise _failure(found, *_import_failed(found.value, error)) from error
    return loaded


def _failure(found: Found, what: str, hint: str) -> DiscoveryError:
    hint = f"{hint} Or {found.switch_off}.".lstrip()
    return DiscoveryError([Problem(f"{found} can't be loaded: {what}", hint, found.name)])


def _import_failed(name: str, error: BaseException) -> tuple[str, str]:
    if isinstance(error, SystemExit):
        return f"{name} calls sys.exit({error.code!r}) when it is imported{_where(error)}.", ""
    said = str(error).strip().partition("\n")[0].rstrip(".")
    what = f"importing {name} failed with {type(error).__name__}{said and ': '}{said}{_where(error)}."
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return what, ""
    if name == missing or name.startswith(f"{missing}."):
        return what, "The installation is damaged, or the entry point is misspelt: reinstall the distribution."
    return what, f"Install what brings {missing!r}; `pip check` lists what is missing."


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text names file and line
    place = ""
    step: TracebackType | None = error.__traceback__
    while step:
        file = step.tb_frame.f_code.co_filename
        if not file.startswith("<frozen ") and file not in (__file__, import_module.__code__.co_filename):
            place = f" ({file}:{step.tb_lineno})"
        step = step.tb_next
    return place


def _no_attribute(owner: Any, attribute: str, wanted: type[Any] | None) -> tuple[str, str]:
    is_module = isinstance(owner, ModuleType)
    there = [public for public in dir(owner) if not public.startswith("_")]
    hint = near(attribute, there).lstrip()
    if not hint and wanted and is_module:
        # Only what stands there already: a look at lazy exports would import them.
        fitting = [public for public in there if isinstance(vars(owner).get(public), wanted)]
        hint = f"There is {listed(fitting)}." if fitting else ""
    return f"{_described(owner).removeprefix('the ')} has no attribute {attribute!r}.", hint


def _described(loaded: Any) -> str:
    if isinstance(loaded, ModuleType):
        return f"the module {loaded.__name__}"
    if isinstance(loaded, type):
        return f"the class {loaded.__qualname__}"
    if hasattr(loaded, "__qualname__"):
        return f"the function {loaded.__qualname__}"
    return f"a {type(loaded).__qualname__}"


def _remedy(found: Found, loaded: Any) -> str:
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
