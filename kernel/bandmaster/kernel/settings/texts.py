"""The text of a variable as the value of a field, and the other way round. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

NOTHING = "none"
"""The text for None, where an empty text means the default."""


def accepts_empty(kind: type[BaseModel], field: FieldInfo) -> bool:
    """Whether an empty text is a value of the field; otherwise the text means that the variable isn't set.

    Programs such as docker compose pass an empty text for ``${UNSET:-}``.
    """
    if field.default is None:
        return False
    return is_comma_list(kind, field) or any(map(_has_empty_value, list_alternatives(field.annotation)))


def is_comma_list(kind: type[BaseModel], field: FieldInfo) -> bool:
    """Whether the field is a list whose text the settings type parses, instead of pydantic-settings."""
    from pydantic_settings import NoDecode

    parses = kind.model_config.get("enable_decoding") is False or any(one is NoDecode for one in field.metadata)
    return parses and any(map(_is_list, list_alternatives(field.annotation)))


def list_alternatives(annotation: Any) -> list[Any]:
    """The types of which a value may be, without annotations: ``int | None`` is ``int`` and ``NoneType``."""
    if get_origin(annotation) is Annotated:
        return list_alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inside in get_args(annotation) for kind in list_alternatives(inside)]
    return [annotation]


def parse_list(text: str) -> list[Any]:
    """The items of a text with commas between them, or of a list in JSON. Blanks and empty items are left out.

    Raises:
        ValueError: the text begins as JSON does, and isn't a list in JSON.
    """
    start = text.lstrip()
    if start.startswith(("[", "{")):
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if isinstance(parsed, list):
            return parsed
        # An IPv6 address begins with a bracket, too.
        if start.startswith("{") or start[1:].lstrip().startswith(('"', "'", "[", "]", "{")):
            raise ValueError("expected values with commas between them, or a list in JSON")
    return [part.strip() for part in text.split(",") if part.strip()]


def render_list(items: Iterable[Any]) -> str:
    """The items of a list as a text that `parse_list` reads: with commas between them, or as JSON if need be."""
    items = list(items)
    text = ",".join(map(str, items))
    try:
        if parse_list(text) == items:
            return text
    except ValueError:
        pass
    return json.dumps(items, ensure_ascii=False)


def find_literal(annotation: Any, text: str) -> object:
    """The number or the other value that a text names among the values of a literal; the text where there is none."""
    for kind in list_alternatives(annotation):
        if get_origin(kind) is Literal:
            for value in get_args(kind):
                if not isinstance(value, str | bool | Enum) and str(value) == text.strip():
                    return value
    return text


def means_nothing(field: FieldInfo, text: str) -> bool:
    """Whether a text stands for None: not where it is a value itself, as in ``Literal["otlp", "none"] | None``."""
    kinds = list_alternatives(field.annotation)
    is_word = text.strip().lower() == NOTHING
    is_value = any(get_origin(kind) is Literal and NOTHING in get_args(kind) for kind in kinds)
    return is_word and NoneType in kinds and not is_value and not any(map(_has_empty_value, kinds))


def render_value(kind: type[BaseModel], field: FieldInfo, value: Any) -> str:
    """A value as the text of a variable. Models and secrets are plain data by then.

    The text of an optional value that is None is empty if None is the default, and otherwise ``none``.
    """
    if value is None:
        return "" if field.default is None else NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        from bandmaster.kernel.settings.named_values import is_named_values, render_named_values

        if is_named_values(field):
            return render_named_values(value)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list):
        return render_list(value) if is_comma_list(kind, field) else json.dumps(value, ensure_ascii=False)
    return str(value)


def _has_empty_value(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return "" in get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return any(member.value == "" for member in kind)
    return kind in (Any, object) or (isinstance(kind, type) and issubclass(kind, str | bytes))


def _is_list(kind: Any) -> bool:
    made = get_origin(kind) or kind
    return isinstance(made, type) and issubclass(made, Collection) and not issubclass(made, str | bytes | Mapping)
