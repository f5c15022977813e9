"""Redact everything that is sent to Sentry, in envelopes and items of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from bandmaster.kernel import REDACTED, Redactor

if TYPE_CHECKING:
    # The import of the SDK opens a socket, so functions import the SDK where they need a class.
    from sentry_sdk.envelope import Envelope, Item

MAX_DEPTH, MAX_ITEMS, MAX_TEXT = 24, 1000, 16_384
"""The bounds of an event: the frames of a traceback stand seven levels deep, and there are a hundred breadcrumbs."""

_OF_THE_SDK = frozenset({"client_report", "session", "sessions"})
"""Items of the SDK itself: counts, and the state of a session. They hold no value of the application."""
_SHORTEST = 4


def redact_envelope(envelope: Envelope, redactor: Redactor) -> Envelope:
    """The envelope with every secret replaced. An item that can't be searched for secrets is left out."""
    from sentry_sdk.envelope import Envelope

    items = [shown for item in envelope.items if (shown := _redact_item(item, redactor)) is not None]
    return Envelope(headers=_read_object(redactor.redact(envelope.headers)), items=items)


def _redact_item(item: Item, redactor: Redactor) -> Item | None:
    if item.type in _OF_THE_SDK:
        return item
    payload = item.payload
    if payload.json is not None:
        return _make_item(item, redactor, json_value=_redact_json(payload.json, redactor))
    data = item.get_bytes()
    if item.type != "attachment":
        try:
            return _make_item(item, redactor, json_value=_redact_json(json.loads(data), redactor))
        except ValueError:
            return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else _make_item(item, redactor, data=_redact_attachment(text, redactor))


def _redact_attachment(text: str, redactor: Redactor) -> bytes:
    """The text of an attachment; one of JSON has keys, whose values may be secrets of any form."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.dumps(redactor.redact(json.loads(text))).encode()
        except (ValueError, RecursionError):
            pass
    return redactor.redact_text(text).encode("utf-8", "backslashreplace")


def _make_item(item: Item, redactor: Redactor, *, json_value: object = None, data: bytes | None = None) -> Item:
    from sentry_sdk.envelope import Item, PayloadRef

    headers = _read_object(redactor.redact(item.headers))
    headers.pop("length", None)
    return Item(payload=PayloadRef(bytes=data, json=json_value), headers=headers)


def _redact_json(value: Any, redactor: Redactor) -> object:
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        # Logs, metrics and spans come in batches, each with attributes that have a type beside the value.
        shown = _read_object(redactor.redact({**value, "items": None}))
        return shown | {"items": [_redact_attributes(each, redactor) for each in value["items"]]}
    return redactor.redact(value)


def _redact_attributes(item: Any, redactor: Redactor) -> object:
    """One log, metric or span. The attributes keep their types; the text has no value of a secret attribute."""
    attributes = item.get("attributes") if isinstance(item, dict) else None
    if not isinstance(attributes, dict):
        return redactor.redact(item)
    secrets = sorted(_list_secret_texts(attributes, redactor), key=len, reverse=True)
    shown = _read_object(redactor.redact({name: inner for name, inner in item.items() if name != "attributes"}))
    for name, inner in shown.items():
        if isinstance(inner, str):
            for secret in secrets:
                inner = inner.replace(secret, REDACTED)  # one after the other
            shown[name] = inner
    shown["attributes"] = {name: _redact_attribute(name, inner, redactor) for name, inner in attributes.items()}
    return shown


def _redact_attribute(name: str, attribute: Any, redactor: Redactor) -> object:
    if redactor.is_secret(name):
        return {"value": REDACTED, "type": "string"}
    return redactor.redact(attribute)


def _list_secret_texts(attributes: dict[str, Any], redactor: Redactor) -> Iterator[str]:
    for name, attribute in attributes.items():
        value = attribute.get("value") if isinstance(attribute, dict) else attribute
        if redactor.is_secret(name) and isinstance(value, str) and len(value) >= _SHORTEST:
            yield value


def _read_object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
