"""From ``module:attribute`` to the application that it names."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from bandmaster.kernel.errors import BandmasterError, Problem, TargetError
from bandmaster.kernel.settings.validation import validation_messages
from bandmaster.kernel.text import listed, masked, near

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.settings.kernel import KernelSettings

T = TypeVar("T")

WANTED = "an Application, a Kernel, any ASGI app, or a function without arguments that returns one"
_FRAMES = 3
_OURS = os.path.join(str(Path(__file__).parent.parent), "")  # noqa: PTH118 – compared with file names as they stand
_LIBRARIES = f"{os.sep}site-packages{os.sep}"


def load_application(
    target: str | None = None,
    app_dir: str = ".",
    *,
    role: str | None = "web",
    settings: KernelSettings | None = None,
) -> Application:
    """The application that a target names; without one, everything that is installed.

    A kernel gets an empty host, any other ASGI app becomes the host of everything that is installed. ``role`` and
    ``settings`` are for what is composed here: an Application or a Kernel has its own. Without a target, and for another
    role than ``web``, layers and routes are left out: nothing is served there.

    Raises:
        TargetError: there is nothing like that, or it fails.
        DiscoveryError, PlanError: what it is composed of can't be loaded or doesn't fit together.
    """
    if target is not None:
        return _compose(load(target, app_dir), target, role, settings)
    put_first(app_dir)
    what = "What is installed"
    if role in (None, "web"):
        return _compose(None, what, role, settings)
    from bandmaster.kernel.lifecycle.kernel import Kernel

    return _compose(_guarded(what, "composed", lambda: Kernel(role=role, settings=settings)), what, role, settings)


def make_application(app: object) -> Application:
    """The application that an object stands for: an Application, a Kernel, any ASGI app, or a factory of one.

    Raises:
        TargetError: the object is none of these, or the factory fails.
        DiscoveryError, PlanError: the parts of the application can't be loaded or don't fit together.
    """
    name = "the application"
    return _compose(_resolve(app, what_is(app), name), name, "web", None)


def _compose(app: Any, what: str, role: str | None, settings: KernelSettings | None) -> Application:
    """An Application as it is, a Kernel with an empty host, and an ASGI app as the host of everything installed."""
    from bandmaster.kernel.hosting.application import Application, create_app
    from bandmaster.kernel.lifecycle.kernel import Kernel

    if isinstance(app, Application):
        return app
    if isinstance(app, Kernel):
        from starlette.applications import Starlette

        return Application(app, Starlette(debug=app.settings.debug))
    return _guarded(what, "composed", lambda: create_app(app, role=role, settings=settings))


def load(target: str, app_dir: str = ".") -> Any:
    """What a target names: an Application, a Kernel or another ASGI app. A factory is called.

    ``app_dir`` is put first on ``sys.path``, as servers do it.

    Raises:
        TargetError: there is nothing like that, or it fails.
        DiscoveryError, PlanError: it composes an application, which fails.
    """
    name, attribute = split(target)
    put_first(app_dir)
    loaded = _attribute(_module(name), attribute, target)
    return _resolve(loaded, f"{target}()", target)


def _resolve(loaded: Any, call: str, name: str) -> Any:
    """An app as it is, and the app that a factory returns."""
    if _is_factory(loaded):
        made = _guarded(call, "called", loaded)
        return _checked(made, name, f"{call} returned {what_is(made)}")
    return _checked(loaded, name, f"{name} is {what_is(loaded)}")


def split(target: str) -> tuple[str, str]:
    """Module and attribute of a target.

    Raises:
        TargetError: it isn't of that form.
    """
    name, _, attribute = target.partition(":")
    if all(map(str.isidentifier, [*name.split("."), *attribute.split(".")])):
        return name, attribute
    stem = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".").replace("\\", ".")
    fits = all(map(str.isidentifier, stem.split(".")))
    example = f"{stem if fits else 'shop.main'}:{attribute if attribute.isidentifier() else 'app'}"
    hint = f"Write the module as it is imported, a colon, and the name in it, such as {example}"
    raise TargetError(Problem(f"{target!r} isn't of the form module:attribute.", f"{hint}.", target), misspelt=True)


def put_first(directory: str | os.PathLike[str]) -> None:
    """Import from this directory first."""
    path = os.path.abspath(directory)  # noqa: PTH100 – resolving symbolic links would give modules other names
    if sys.path[:1] != [path]:
        sys.path.insert(0, path)


def described(error: BaseException) -> str:
    """An exception in one line: its type and message, without input values and passwords."""
    return f"{type(error).__name__}: {said}" if (said := _said(error)) else type(error).__name__


def steps(error: BaseException) -> list[str]:
    """The last steps to where an exception was raised: place and line of code, without imports' own machinery.

    What bandmaster itself does is left out unless there is nothing else: the cause is where it was called.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    theirs = [frame for frame in frames if not frame.filename.startswith(_OURS)] or frames
    own = [index for index, frame in enumerate(theirs) if _LIBRARIES not in frame.filename]
    if own and own[-1] < len(theirs) - _FRAMES:
        # Deep inside a library: the last step that people can change, and where it ended.
        theirs = [theirs[own[-1]], *theirs[1 - _FRAMES :]]
    found = [_step(frame.filename, frame.lineno, f" in {frame.name}", frame.line) for frame in theirs]
    if isinstance(error, SyntaxError) and error.filename:
        found.append(_step(error.filename, error.lineno, "", error.text))
    return [line for step in found[-_FRAMES:] for line in step]


def _step(file: str, line: int | None, place: str, code: str | None) -> list[str]:
    return [f"{_short(file)}:{line}{place}", f"  {masked((code or '').strip())}"]


def _short(file: str) -> str:
    return file.removeprefix(f"{os.getcwd()}{os.sep}")  # noqa: PTH109 – joined to a file name as it stands


def _is_machinery(file: str) -> bool:
    return file.startswith("<") or file in (__file__, importlib.__file__)


def _said(error: Any) -> str:
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        # pydantic's text repeats the input, which may be a secret.
        return f"{getattr(error, 'title', '')}: {'; '.join(validation_messages(error))}".removeprefix(": ")
    return masked(str(error).strip())


def _guarded(what: str, doing: str, function: Callable[[], T]) -> T:
    try:
        return function()
    except BandmasterError:
        raise  # it says itself what is wrong
    except (Exception, SystemExit) as error:
        raise _failure(what, doing, error) from error


def _failure(what: str, doing: str, error: BaseException) -> TargetError:
    if isinstance(error, SystemExit):
        said = f"it calls sys.exit({error.code!r}) when it is {doing}"
    else:
        said = described(error).rstrip(".")
    return TargetError(Problem(f"{what} can't be {doing}: {said}.", _to_install(error), what), trace=steps(error))


def _to_install(error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    return f"Install what brings {error.name.partition('.')[0]!r}, or correct the import."


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except BandmasterError:
        raise  # the module composes an application
    except (Exception, SystemExit) as error:
        if missing := _missing(name, error):
            raise TargetError(
                Problem(f"There is no module {missing!r}.", _nearby(missing), name), misspelt=True
            ) from error
        raise _failure(name, "imported", error) from error


def _missing(name: str, error: BaseException) -> str:
    """The part of a module's name that isn't there; nothing where the module is there and an import in it fails."""
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    is_part = name == missing or name.startswith(f"{missing}.")
    in_it = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    return missing if is_part and not in_it else ""


def _nearby(missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    place = f"{parent}." if parent else ""
    path = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else sys.path[:1]
    there = sorted(f"{place}{module.name}" for module in pkgutil.iter_modules(path))
    if name == "py":
        return f"A module is named as it is imported: {parent}."
    if alike := near(missing, there).lstrip():
        return alike
    if parent:
        return f"{parent} has {listed(there)}." if there else f"{parent} has no modules in it."
    if any(Path(path[0], "src", f"{name}{ending}").exists() for ending in ("", ".py")):
        return "It is in src: pass --app-dir src."
    return f"It was looked for in {path[0]} and among what is installed; --app-dir names another directory."


def _attribute(module: ModuleType, attribute: str, target: str) -> Any:
    loaded: Any = module
    for step in attribute.split("."):
        try:
            loaded = getattr(loaded, step)
        except AttributeError as error:
            kind, name = ("module", loaded.__name__) if loaded is module else ("object", repr(loaded))
            message = f"{kind} {name} has no attribute {step!r}."
            raise TargetError(Problem(message, _instead(loaded, step), target), misspelt=True) from error
        except BandmasterError:
            raise
        except (Exception, SystemExit) as error:
            # A module that exports lazily imports only now.
            raise _failure(target, "imported", error) from error
    return loaded


def _instead(owner: Any, attribute: str) -> str:
    members = (
        {name: value for name, value in vars(owner).items() if name[0] != "_"} if hasattr(owner, "__dict__") else {}
    )
    apps = [name for name, value in members.items() if _is_app(value)]
    if alike := (near(attribute, apps) or near(attribute, members)).lstrip():
        return alike
    return f"It has {listed(sorted(apps))}." if apps else ""


def _is_app(value: object) -> bool:
    """Whether a member of a module looks as if it were meant."""
    if _is_ours(value):
        return True
    return not inspect.isroutine(value) and not isinstance(value, ModuleType) and _is_asgi(value)


def _is_ours(value: object) -> bool:
    # By name: what hasn't been imported can't be what it is.
    names = {base.__module__ + "." + base.__qualname__ for base in type(value).__mro__}
    return bool(
        names & {"bandmaster.kernel.hosting.application.Application", "bandmaster.kernel.lifecycle.kernel.Kernel"}
    )


def _is_factory(loaded: Any) -> bool:
    if not (inspect.isroutine(loaded) or isinstance(loaded, functools.partial)) or inspect.iscoroutinefunction(loaded):
        return False
    return _accepts(loaded, 0, unknown=False)


def _is_asgi(loaded: Any) -> bool:
    return callable(loaded) and not isinstance(loaded, type) and _accepts(loaded, 3, unknown=True)


def _accepts(function: Callable[..., Any], arguments: int, *, unknown: bool) -> bool:
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return False
    except ValueError:
        return unknown  # compiled code may hide its signature
    return True


def _checked(loaded: Any, target: str, is_what: str) -> Any:
    if _is_ours(loaded) or _is_asgi(loaded):
        return loaded
    hint = ""
    if isinstance(loaded, type):
        hint = f"Name one that you made of it: app = {loaded.__name__}(...)."
    elif inspect.iscoroutinefunction(loaded):
        hint = "A factory is a plain function: write def, not async def."
    elif inspect.isroutine(loaded):
        hint = "A factory takes no arguments; give them defaults."
    raise TargetError(Problem(f"{is_what}; expected {WANTED}.", hint, target), misspelt=True)


def what_is(loaded: Any) -> str:
    """A value as an error names it: ``the class Shop``, ``an int``."""
    if loaded is None:
        return "None"
    if isinstance(loaded, ModuleType):
        return f"the module {loaded.__name__}"
    if isinstance(loaded, type):
        return f"the class {loaded.__qualname__}"
    if inspect.isroutine(loaded):
        return f"the function {loaded.__name__}{_signature(loaded)}"
    name = type(loaded).__qualname__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _signature(function: Any) -> str:
    try:
        return f"({', '.join(inspect.signature(function).parameters)})"
    except ValueError:
        return "(…)"
