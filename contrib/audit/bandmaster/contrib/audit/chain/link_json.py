"""Links as JSON objects, for exports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandmaster.contrib.audit.chain.commitments import PersonalField
from bandmaster.contrib.audit.chain.link import PLAIN_TEXTS, ChainLink
from bandmaster.contrib.audit.entries.canonical import parse_canonical, render_canonical
from bandmaster.contrib.audit.entries.entry import parse_time, render_time


def render_link(link: ChainLink, *, with_personal: bool = True) -> dict[str, Any]:
    """A link as a JSON object. Without personal values it can still be verified, apart from these values."""
    return {
        "stream": link.stream,
        "sequence": link.sequence,
        "previous": link.previous,
        "hash": link.hash,
        "key": link.key_id,
        "at": render_time(link.at),
        **{name: link.texts.get(name) for name in PLAIN_TEXTS},
        "details": parse_canonical(link.details),
        "commitments": parse_canonical(link.commitments),
        "personal": {name: _render_personal(each, with_personal) for name, each in sorted(link.personal.items())},
    }


def parse_link(line: Mapping[str, Any]) -> ChainLink:
    """The link of a JSON object that `render_link` has made.

    Raises:
        ValueError: a field is missing, or of another type.
    """
    try:
        personal = line["personal"]
        texts = {name: line[name] for name in PLAIN_TEXTS}
        if type(line["sequence"]) is not int or not all(
            value is None or isinstance(value, str) for value in texts.values()
        ):
            raise ValueError("a field is of another type")
        return ChainLink(
            stream=_require_text(line["stream"]),
            sequence=line["sequence"],
            previous=_require_text(line["previous"]),
            hash=_require_text(line["hash"]),
            key_id=_require_text(line["key"]),
            at=parse_time(line["at"], "at"),
            texts=texts,
            details=render_canonical(line["details"]),
            commitments=render_canonical(line["commitments"]),
            personal={name: _parse_personal(each) for name, each in personal.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"isn't an entry of an export: {error}") from error


def _render_personal(personal: PersonalField, with_value: bool) -> dict[str, Any]:
    if personal.erased_by is not None:
        return {"erased_by": personal.erased_by}
    if not with_value:
        return {"withheld": True}
    return {"value": personal.value, "salt": personal.salt, "subject": personal.subject}


def _parse_personal(data: Mapping[str, Any]) -> PersonalField:
    return PersonalField(
        data.get("value"),
        data.get("salt"),
        data.get("subject"),
        data.get("erased_by"),
        withheld=data.get("withheld") is True,
    )


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")
    return value
