"""Import the object that ``module:attribute`` names."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

from bandmaster.kernel.contribs import advise_module
from bandmaster.kernel.errors import BandmasterError
from bandmaster.kernel.text import list_names, suggest
from bandmaster.kernel.tracebacks import find_frames

_WANTED = re.compile(r"cannot import name '(\w+)' from ")
"""The text of the error about a missing name; up to Python 3.11 no attribute has the name."""


class ImportFailure(Exception):
    """An object can't be imported; ``__cause__`` is the exception. Callers raise an error of their own instead."""


class MissingModule(ImportFailure):
    """A module, or a package around the module, isn't there: misspelt, or in a distribution that isn't installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no module {name!r}")
        self.name = name
        """The module or package that isn't there."""


class MissingAttribute(ImportFailure):
    """The module has no such attribute."""

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__(f"{describe_object(owner).removeprefix('the ')} has no attribute {name!r}")
        self.owner = owner
        self.name = name

    def suggest(self, fits: Callable[[Any], bool]) -> str:
        """A hint with the attribute that was probably meant, or with those that fit; empty without any.

        ``fits`` gets attributes that exist already: lazy exports aren't imported for a hint.
        """
        names = [name for name in dir(self.owner) if not name.startswith("_")]
        values = getattr(self.owner, "__dict__", {})
        fitting = [name for name in names if name in values and fits(values[name])]
        if alike := suggest(self.name, fitting) or suggest(self.name, names):
            return alike.lstrip()
        return f"It has {list_names(fitting)}." if fitting else ""


class FailedImport(ImportFailure):
    """Code that runs while the object is imported failed, or ended the process with ``sys.exit``."""

    def __init__(self, subject: str, error: BaseException) -> None:
        super().__init__(f"{subject} can't be imported")
        self.subject = subject
        """The module, or ``module:attribute`` where the module imports the attribute on first use."""
        self.error = error


def split_reference(text: str) -> tuple[str, str] | None:
    """Module and attribute of ``module:attribute``, each dotted if need be; None for text of another form."""
    module, _, attribute = text.partition(":")
    return (module, attribute) if all(map(str.isidentifier, [*module.split("."), *attribute.split(".")])) else None


def import_object(module: str, attribute: str) -> Any:
    """Import a module, and return its attribute.

    Raises:
        ImportFailure: `MissingModule`, `MissingAttribute` or `FailedImport`.
        BandmasterError: an error that the module raised, unchanged, because its text names the part at fault.
    """
    loaded: Any = _import_module(module)
    for name in attribute.split("."):
        try:
            loaded = getattr(loaded, name)
        except AttributeError as error:
            raise MissingAttribute(loaded, name) from error
        except BandmasterError:
            raise
        except (Exception, SystemExit) as error:
            # A module that exports lazily imports only now.
            raise FailedImport(f"{module}:{attribute}", error) from error
    return loaded


def _import_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except BandmasterError:
        raise
    # A module that calls sys.exit() would end the process without a message; KeyboardInterrupt does so rightly.
    except (Exception, SystemExit) as error:
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        # A module that imports itself in vain is there: then a frame of the module is in the traceback.
        if (name == missing or name.startswith(f"{missing}.")) and not find_frames(error):
            raise MissingModule(missing) from error
        raise FailedImport(name, error) from error


def advise_import(error: BaseException) -> str:
    """What to do about an import that failed; empty if nothing is known.

    A missing module may be one of bandmaster's distributions, and a missing name may be misspelt.
    """
    if isinstance(error, AttributeError):
        return _suggest_name(error.obj, error.name)
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        found = _WANTED.match(error.msg or "")
        return "" if found is None else _suggest_name(sys.modules.get(error.name or ""), found[1])
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    frames = find_frames(error)
    return advise_module(error.name, frames[-1].line or "" if frames else "")


def _suggest_name(owner: Any, name: str | None) -> str:
    """A hint with the attribute that was probably meant, or with the members of an enum; empty without any."""
    if owner is None or not name:
        return ""
    if isinstance(owner, type) and issubclass(owner, Enum):
        members = list(owner.__members__)
        # The error of an enum has the bare name as its text.
        return f"{owner.__name__} has {list_names(members)}.{suggest(name, members)}"
    try:
        names = [each for each in dir(owner) if not each.startswith("_")]
    except Exception:  # noqa: BLE001  # an object's own method
        return ""
    return suggest(name, names).lstrip()


def describe_object(value: Any) -> str:
    """The kind and the name of an object, without a value that may be secret: ``the class Shop``, ``an int``."""
    if value is None:
        return "None"
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}{_render_parameters(value)}"
    name = type(value).__qualname__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _render_parameters(function: Any) -> str:
    try:
        return f"({', '.join(inspect.signature(function).parameters)})"
    except (TypeError, ValueError):
        return "(…)"  # compiled code may hide its signature
