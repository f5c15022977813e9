"""Entries are checked when they are made and when they are loaded, are in UTC, and come back from JSON unchanged."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.audit import AuditEntry, Result
from bandmaster.contrib.audit.entries.canonical import parse_canonical, render_canonical

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(
    str.strip
)
maybe = st.none() | texts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
zones = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))) | st.just(UTC)
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)  # noqa: DTZ001
entries = st.builds(
    AuditEntry,
    action=texts,
    result=st.sampled_from(Result),
    resource_type=maybe,
    resource_id=maybe,
    actor=maybe,
    address=maybe,
    tenant=maybe,
    details=st.dictionaries(st.text(max_size=10), json_values, max_size=4),
    personal=st.dictionaries(texts.filter(lambda name: name not in ("actor", "address")), json_values, max_size=3),
    subject=maybe,
    request_id=maybe,
    correlation_id=maybe,
    task=maybe,
    task_id=maybe,
    schedule=maybe,
    at=times,
)


@pytest.mark.requirement("P-08")
@given(entries)
def test_an_entry_comes_back_from_json_unchanged(entry) -> None:
    """P-08: an entry with nested details is the same after a way through JSON, and so is its text."""
    text = entry.to_json()
    back = AuditEntry.from_json(text)
    assert entry == back
    assert text == back.to_json()
    # Equality of Python hides that 1, 1.0 and True are different in JSON.
    assert json.dumps(entry.to_dict()["details"], sort_keys=True) == json.dumps(
        back.to_dict()["details"], sort_keys=True
    )


@pytest.mark.requirement("P-09")
@given(entries, times)
def test_times_are_in_utc(entry, moment) -> None:
    """P-09: whatever zone a time comes in, the entry has the same moment in UTC."""
    assert UTC == entry.at.tzinfo
    made = AuditEntry(action="a", at=moment)
    assert (UTC, moment) == (made.at.tzinfo, made.at)


@pytest.mark.requirement("P-09")
def test_a_time_without_a_zone_is_refused() -> None:
    """P-09: nobody knows which moment it is."""
    with pytest.raises(ValueError, match="at: has no time zone"):
        AuditEntry(action="a", at=datetime(2026, 1, 1))  # noqa: DTZ001
    fields = AuditEntry(action="a").to_dict() | {"at": "2026-01-01T00:00:00"}
    with pytest.raises(ValueError, match="at: has no time zone"):
        AuditEntry.from_dict(fields)
    assert timedelta(0) == AuditEntry(action="a").at.utcoffset()


@given(json_values)
def test_canonical_text_is_canonical(value) -> None:
    """The text of a value, parsed and written again, is the same text: hashes of exports equal those of the table."""
    text = render_canonical(value)
    assert text == render_canonical(parse_canonical(text))
    assert text.isascii()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("action", "", "action: is blank"),
        ("action", None, "action: expected text"),
        ("action", "a" * 129, "action: has more than 128"),
        ("action", "a\nb", "action: has control characters"),
        ("result", "maybe", "result: expected one of success, failure, refused"),
        ("result", None, "result: expected one of"),
        ("actor", 7, "actor: expected text, got int"),
        ("tenant", " ", "tenant: is blank"),
        ("resource_id", "a\0b", "resource_id: has control characters"),
        ("resource_id", "\ud800", "resource_id: has control characters"),
        ("request_id", "x" * 256, "request_id: has more than 255"),
        ("details", [], "details: expected a dict"),
        ("details", {"a": float("nan")}, "details.a: JSON has no nan"),
        ("details", {"a": (1,)}, "details.a: expected a value that JSON has, got tuple"),
        ("details", {1: 2}, "details: expected keys that are text"),
        ("details", {"a": {"b": b""}}, "details.a.b: expected a value that JSON has, got bytes"),
        ("personal", {"actor": "x"}, "'actor' is a field of its own"),
        ("id", "7", "id: expected 32 hexadecimal digits"),
        ("at", "yesterday", "at: expected a time"),
        ("erased", "actor", "erased: expected a list"),
    ],
)
def test_a_field_that_is_not_valid_is_refused(field, value, message) -> None:
    """The error names the field, when an entry is loaded."""
    fields = AuditEntry(action="a").to_dict() | {field: value}
    with pytest.raises(ValueError, match=message):
        AuditEntry.from_dict(fields)


@pytest.mark.parametrize("field", ["id", "at", "action", "result"])
def test_a_missing_field_is_refused(field) -> None:
    """The seeds' fault: an entry without a required field was loaded all the same."""
    fields = AuditEntry(action="a").to_dict()
    del fields[field]
    with pytest.raises(ValueError, match=f"{field}: is missing"):
        AuditEntry.from_dict(fields)


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field isn't dropped."""
    with pytest.raises(ValueError, match="has no field 'acter'"):
        AuditEntry.from_dict(AuditEntry(action="a").to_dict() | {"acter": "x"})


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"at": NaN}'])
def test_what_is_no_entry_is_refused(text) -> None:
    """Text that is no JSON object is a ValueError as well."""
    with pytest.raises(ValueError):
        AuditEntry.from_json(text)


def test_the_repr_has_no_personal_fields() -> None:
    """A repr stands in tracebacks and logs."""
    shown = repr(AuditEntry(action="a", actor="ann-who-acts", address="192.0.2.7", personal={"mail": "ann@x"}))
    assert "ann" not in shown
    assert "192.0.2.7" not in shown


def test_nested_details_are_copies() -> None:
    """What the caller does to its own dict later changes no entry."""
    inner = {"b": 1}
    entry = AuditEntry(action="a", details={"a": inner})
    inner["b"] = 2
    assert {"b": 1} == entry.details["a"]
