"""Describe an exception in a sentence, without refused values and passwords."""

from __future__ import annotations

from typing import Any

from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.settings.validation import validation_messages


def describe_error(error: BaseException) -> str:
    """The type and the message of an exception: ``KeyError: 'region'``."""
    message = _render_message(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def describe_failure(subject: str, action: str, error: BaseException) -> str:
    """A clause for code that failed, without a full stop: ``shop can't be imported: KeyError: 'region'``.

    Code that was called is the program's own, and may be right to raise: ``shop() raised KeyError: 'region'``.
    """
    if action == "called":
        if isinstance(error, SystemExit):
            return f"{subject} called sys.exit({error.code!r})"
        return f"{subject} raised {describe_error(error).rstrip('.')}"
    if isinstance(error, SystemExit):
        return f"{subject} can't be {action}: it calls sys.exit({error.code!r}) when it is {action}"
    return f"{subject} can't be {action}: {describe_error(error).rstrip('.')}"


def _render_message(error: Any) -> str:
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        # pydantic's own text repeats the input, which may be a secret.
        return f"{getattr(error, 'title', '')}: {'; '.join(validation_messages(error))}".removeprefix(": ")
    return masked(str(error).strip())
