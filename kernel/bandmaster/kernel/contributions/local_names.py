"""Put objects in place of annotations that are text and mention names of the functions or classes around."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, get_type_hints

from bandmaster.kernel.contributions.signatures import walk_wrapped

_NAME = re.compile(r"[^\W\d]\w*")


def resolve_local_names(defined: Any) -> None:
    """Resolve the annotations of a callable that mention local names, while the functions around are running.

    Under ``from __future__ import annotations`` an annotation is text, and only a running function can tell its local
    names. An annotation that can't be resolved now stays unchanged, for the plan to resolve or to refuse.
    """
    *_, written = walk_wrapped(defined)
    annotations: dict[str, Any] = getattr(written, "__annotations__", None) or {}
    texts = {name: text for name, text in annotations.items() if isinstance(text, str)}
    # A function at module level has no dot in its name.
    if not texts or "." not in getattr(written, "__qualname__", ""):
        return
    names = _find_local_names(written)
    for name, text in texts.items():
        if not names.keys().isdisjoint(_NAME.findall(text)):
            resolved = _resolve(text, written, names)
            if resolved is not None:
                annotations[name] = resolved


def _find_local_names(function: Any) -> Mapping[str, Any]:
    """The names in the running functions and classes around a function; those of the innermost count."""
    found: dict[str, Any] = {}
    for frame in _list_frames_around(function):
        found = {**frame.f_locals, **found}
    return found


def _list_frames_around(function: Any) -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        around = f"{frame.f_code.co_qualname}."
        if frame.f_globals is function.__globals__ and function.__qualname__.startswith(around):
            yield frame
        frame = frame.f_back


def _resolve(text: str, function: Any, names: Mapping[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"it": text}
    try:
        return get_type_hints(holder, function.__globals__, dict(names), include_extras=True)["it"]
    except Exception:  # noqa: BLE001  # the plan resolves the annotation again, and reports the error
        return None
