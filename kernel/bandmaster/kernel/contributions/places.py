"""Find the file and line of a definition."""

from __future__ import annotations

import inspect
from typing import Any

from bandmaster.kernel.contributions.factories import unwrap
from bandmaster.kernel.contributions.signatures import walk_wrapped
from bandmaster.kernel.tracebacks import find_caller


def find_place(defined: Any) -> str:
    """File and line of a function or a class; the module where there is no source."""
    if place := _find_code_place(defined):
        return place
    inner = unwrap(defined)
    inner = inner if isinstance(inner, type) else type(inner)
    try:
        return f"{inspect.getsourcefile(inner)}:{inspect.findsource(inner)[1] + 1}"
    except (OSError, TypeError):
        return f"in {inner.__module__}"


def find_definition(defined: Any) -> str:
    """File and line of a function; of anything else, those of the call into the kernel, such as a decorator's."""
    return _find_code_place(defined) or find_caller()


def _find_code_place(defined: Any) -> str | None:
    if isinstance(unwrap(defined), type):
        return None
    *_, written = walk_wrapped(defined)
    code = getattr(written, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else None
