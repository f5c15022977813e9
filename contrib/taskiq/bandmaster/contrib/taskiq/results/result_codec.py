"""Results and progress encoded as JSON, and decoded without trusting the JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from taskiq import TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress, TaskState

from bandmaster.contrib.taskiq.results.error_codec import decode_error, encode_error
from bandmaster.kernel import PermanentError

_STATES = {state.value: state for state in TaskState}
_HINT = (
    "return text, numbers, booleans, None, lists, dicts, dataclasses or pydantic models, or keep the value elsewhere "
    "and return where it is"
)


def encode_result(task_id: str, result: TaskiqResult[Any]) -> str:
    """A result as JSON.

    Raises:
        PermanentError: JSON can't express the returned value.
    """
    value = _encode_value(result.return_value, f"the task {task_id!r} returned a value")
    return json.dumps(
        {
            "is_err": result.is_err,
            "log": result.log,
            "return_value": value,
            "execution_time": result.execution_time,
            "labels": {name: _encode_label(label) for name, label in result.labels.items()},
            "error": None if result.error is None else encode_error(result.error),
        }
    )


def decode_result(task_id: str, text: str | bytes) -> TaskiqResult[Any]:
    """The result that JSON encodes.

    Raises:
        PermanentError: the text isn't a result.
    """
    fields = _parse_object("result", task_id, text)
    error = fields.pop("error", None)
    try:
        result = TaskiqResult[Any].model_validate(fields)
    except ValidationError as invalid:
        raise _make_unreadable_error("result", task_id, invalid) from invalid
    # Set afterwards: TaskIQ's own validator would import modules that the JSON names.
    result.error = None if error is None else decode_error(error)
    return result


def encode_progress(task_id: str, progress: TaskProgress[Any]) -> str:
    """Progress as JSON.

    Raises:
        PermanentError: JSON can't express ``meta``.
    """
    meta = _encode_value(progress.meta, f"the task {task_id!r} reported progress with a meta")
    return json.dumps({"state": str(getattr(progress.state, "value", progress.state)), "meta": meta})


def decode_progress(task_id: str, text: str | bytes) -> TaskProgress[Any]:
    """The progress that JSON encodes.

    Raises:
        PermanentError: the text isn't progress.
    """
    fields = _parse_object("progress", task_id, text)
    try:
        progress = TaskProgress[Any].model_validate(fields)
    except ValidationError as invalid:
        raise _make_unreadable_error("progress", task_id, invalid) from invalid
    progress.state = _STATES.get(str(progress.state), progress.state)
    return progress


def _encode_value(value: Any, owner: str) -> Any:
    try:
        # As pydantic's model_dump, except that model_dump turns NaN into None.
        encoded = to_jsonable_python(value)
        json.dumps(encoded, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise PermanentError(
            f"{owner} of the type {_render_type(value)}, which JSON can't express ({error}); {_HINT}"
        ) from error
    return encoded


def _encode_label(value: object) -> str | int | float | None:
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _parse_object(kind: str, task_id: str, text: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _make_unreadable_error(kind, task_id, error) from error
    if not isinstance(fields, Mapping):
        raise _make_unreadable_error(kind, task_id, f"expected an object, got a {type(fields).__name__}")
    return dict(fields)


def _make_unreadable_error(kind: str, task_id: str, reason: object) -> PermanentError:
    return PermanentError(
        f"the {kind} of the task {task_id!r} can't be read; another program may write under the same prefix: {reason}"
    )


def _render_type(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
