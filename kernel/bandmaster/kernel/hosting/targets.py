"""Resolve a target, such as ``shop.main:app``, to an application."""

from __future__ import annotations

import functools
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bandmaster.kernel.contribs import advise_module
from bandmaster.kernel.contributions.factories import unwrap
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.errors import BandmasterError, Problem, TargetError
from bandmaster.kernel.hosting.default_target import HERE, resolve_target
from bandmaster.kernel.imports import (
    FailedImport,
    MissingAttribute,
    MissingModule,
    advise_import,
    describe_object,
    import_object,
    split_reference,
)
from bandmaster.kernel.settings.error_messages import describe_failure
from bandmaster.kernel.text import list_names, suggest
from bandmaster.kernel.tracebacks import list_steps

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.lifecycle.kernel import Kernel
    from bandmaster.kernel.settings.kernel import KernelSettings

T = TypeVar("T")

WANTED = "an Application, a Kernel, any ASGI app, or a function without arguments that returns one"


def load_application(
    target: str | None = None,
    app_dir: str = HERE,
    *,
    role: str | None = "web",
    settings: KernelSettings | None = None,
) -> Application:
    """The application that a target names; without one, the default application, or everything that is installed.

    The default is found by `resolve_target`. A kernel gets an empty host, any other ASGI app becomes the host of
    everything that is installed. ``role`` and ``settings`` are for an application that is composed here: an Application
    or a Kernel has its own. Where everything installed is composed for another role than ``web``, layers and routes are
    left out: such a process serves no requests.

    Raises:
        TargetError: the target is misspelt, or its code fails.
        DiscoveryError, PlanError: the parts of the application can't be loaded or don't fit together.
    """
    target, app_dir = resolve_target(target, app_dir)
    if target is not None:
        return _compose(load(target, app_dir), target, role, settings)
    put_first(app_dir)
    subject = "What is installed"
    if role in (None, "web"):
        return _compose(None, subject, role, settings)
    from bandmaster.kernel.lifecycle.kernel import Kernel

    kernel = _run(subject, "composed", lambda: Kernel(role=role, settings=settings))
    return _compose(kernel, subject, role, settings)


def load_kernel(target: str | None, app_dir: str, role: str) -> Kernel:
    """The kernel of a process of a role that serves no requests, such as a worker; see `load_application`.

    Everything installed is composed for the role at once. A target is composed as its code says, and planned again.

    Raises:
        TargetError, DiscoveryError, PlanError: as `load_application` does.
    """
    target, app_dir = resolve_target(target, app_dir)
    kernel = load_application(target, app_dir, role="web" if target else role).kernel
    return kernel if kernel.role == role else kernel.for_role(role)


def make_application(app: object) -> Application:
    """The application that an object stands for: an Application, a Kernel, any ASGI app, or a factory of one.

    Raises:
        TargetError: the object is none of these, or the factory fails.
        DiscoveryError, PlanError: the parts of the application can't be loaded or don't fit together.
    """
    name = "the application"
    return _compose(_call_factory(app, describe_object(app), name), name, "web", None)


def _compose(app: Any, subject: str, role: str | None, settings: KernelSettings | None) -> Application:
    """Return an Application unchanged, a Kernel with an empty host, or an app as the host of all installed parts."""
    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.hosting.create import create_app
    from bandmaster.kernel.lifecycle.kernel import Kernel

    if isinstance(app, Application):
        return app
    if isinstance(app, Kernel):
        from starlette.applications import Starlette

        return Application(app, Starlette(debug=app.settings.debug))
    return _run(subject, "composed", lambda: create_app(app, role=role, settings=settings))


def load(target: str, app_dir: str = HERE) -> Any:
    """Import the application that a target names: an Application, a Kernel or another ASGI app. A factory is called.

    ``app_dir`` is put first on ``sys.path``, as servers do.

    Raises:
        TargetError: the target is misspelt, or its code fails.
        DiscoveryError, PlanError: the target composes an application, which fails.
    """
    return _call_factory(_import(target, app_dir, _is_app), f"{target}()", target)


def load_function(target: str, app_dir: str = HERE) -> Callable[..., Any]:
    """Import the function that a target names: async or plain, and neither a class nor a generator.

    Raises:
        TargetError: the target is misspelt, or its code fails.
    """
    loaded = _import(target, app_dir, inspect.isroutine)
    inner = unwrap(loaded)
    if inspect.isroutine(inner) and not (inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)):
        return cast("Callable[..., Any]", loaded)
    hint = "A function with yield is a component: pass it to create_app." if inspect.isroutine(inner) else ""
    message = f"{target} is {describe_object(loaded)}; expected a function, async or plain."
    raise TargetError(Problem(message, hint, target), misspelt=True)


def _import(target: str, app_dir: str, fits: Callable[[Any], bool]) -> Any:
    """The object that a target names. ``fits`` chooses the attributes of the module that a hint may name."""
    name, attribute = split(target)
    put_first(app_dir)
    try:
        return import_object(name, attribute)
    except MissingModule as failure:
        hint = advise_module(failure.name, name) or _suggest_module(failure.name)
        problem = Problem(f"There is no module {failure.name!r}.", hint, name)
        raise TargetError(problem, misspelt=True) from failure.__cause__
    except MissingAttribute as failure:
        raise TargetError(Problem(f"{failure}.", failure.suggest(fits), target), misspelt=True) from failure.__cause__
    except FailedImport as failure:
        raise _make_error(failure.subject, "imported", failure.error) from failure.error


def split(target: str) -> tuple[str, str]:
    """Module and attribute of a target.

    Raises:
        TargetError: the target isn't of the form ``module:attribute``.
    """
    if reference := split_reference(target):
        return reference
    name, _, attribute = target.partition(":")
    stem = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".").replace("\\", ".")
    fits = all(map(str.isidentifier, stem.split(".")))
    example = f"{stem if fits else 'shop.main'}:{attribute if attribute.isidentifier() else 'app'}"
    if fits and stem == target and "." in stem:
        example = f"{':'.join(stem.rsplit('.', 1))} or {example}"  # the last part may be the module or the name in it
    hint = f"Write the module as it is imported, a colon, and the name in it, such as {example}"
    raise TargetError(Problem(f"{target!r} isn't of the form module:attribute.", f"{hint}.", target), misspelt=True)


def put_first(directory: str | os.PathLike[str]) -> None:
    """Put a directory first on ``sys.path``."""
    path = os.path.abspath(directory)  # noqa: PTH100 – resolving symbolic links would give modules other names
    if sys.path[:1] != [path]:
        sys.path.insert(0, path)


def _call_factory(loaded: Any, call: str, name: str) -> Any:
    """Return an app unchanged, or the app that a factory returns."""
    if _is_factory(loaded):
        made = _run(call, "called", loaded)
        return _check_app(made, name, f"{call} returned {describe_object(made)}")
    return _check_app(loaded, name, f"{name} is {describe_object(loaded)}")


def _run(subject: str, action: str, function: Callable[[], T]) -> T:
    try:
        return function()
    except BandmasterError:
        raise  # its text says which part is at fault
    except (Exception, SystemExit) as error:
        raise _make_error(subject, action, error) from error


def _make_error(subject: str, action: str, error: BaseException) -> TargetError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    hint = f"Install what brings {missing.partition('.')[0]!r}, or correct the import." if missing else ""
    hint = advise_import(error) or hint
    problem = Problem(f"{describe_failure(subject, action, error)}.", hint, subject)
    return TargetError(problem, trace=list_steps(error))


def _suggest_module(missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    place = f"{parent}." if parent else ""
    path = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else sys.path[:1]
    there = sorted(f"{place}{module.name}" for module in pkgutil.iter_modules(path))
    if name == "py":
        return f"A module is named as it is imported: {parent}."
    if alike := suggest(missing, there).lstrip():
        return alike
    if parent:
        return f"{parent} has {list_names(there)}." if there else f"{parent} has no modules in it."
    if any(Path(path[0], "src", f"{name}{ending}").exists() for ending in ("", ".py")):
        return "It is in src: pass --app-dir src."
    return f"It was looked for in {path[0]} and among what is installed; --app-dir names another directory."


def _is_app(value: object) -> bool:
    """Whether an attribute may be an application, for suggestions."""
    if _is_bandmasters(value):
        return True
    return not inspect.isroutine(value) and not isinstance(value, ModuleType) and _is_asgi(value)


def _is_bandmasters(value: object) -> bool:
    # By name, since a class that hasn't been imported has no instances.
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


def _check_app(loaded: Any, target: str, message: str) -> Any:
    if _is_bandmasters(loaded) or _is_asgi(loaded):
        return loaded
    hint = ""
    if isinstance(loaded, Contribution):
        hint = f"It is a part of an application: name the app, create_app(contributions=[{loaded.name}])."
    elif isinstance(loaded, type):
        hint = f"Name one that you made of it: app = {loaded.__name__}(...)."
    elif inspect.iscoroutinefunction(loaded):
        hint = "A factory is a plain function: write def, not async def."
    elif inspect.isroutine(loaded):
        hint = "A factory takes no arguments; give them defaults."
    raise TargetError(Problem(f"{message}; expected {WANTED}.", hint, target), misspelt=True)
