"""Name and describe exceptions in telemetry. Pure."""

from __future__ import annotations


def name_error(error: BaseException) -> str:
    """The name of an exception's class, with the module unless the class is a built-in.

    >>> name_error(ValueError("x"))
    'ValueError'
    """
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe_error(error: BaseException) -> str:
    """The class and the text of an exception, also of one whose text can't be made."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # an exception of somebody else
        return type(error).__name__
