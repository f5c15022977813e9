"""The lines of the access log, as JSON and as text."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandmaster.contrib.web.access_log.lines import LINE_LIMIT, json_line, text_line
from bandmaster.contrib.web.access_log.records import AccessRecord

RECORD = AccessRecord("request", "info", 1763695063.123, "GET", "/items/7", "/items/{id}", 200, 0.0012345678, 18, 4)
FULL = AccessRecord(
    event="websocket",
    level="warning",
    time=0.9996,
    method="GET",
    path="/chat",
    route="/chat",
    status=101,
    duration=3600.5,
    bytes_sent=1,
    bytes_received=2,
    client="::1",
    http_version="2",
    request_id="r",
    correlation_id="c",
    tenant="t",
    user="u",
    error="ValueError",
    slow=True,
    disconnected=True,
    incomplete=True,
    close_code=1006,
    messages_sent=3,
    messages_received=0,
    sample_rate=0.1,
    bound={"order": 7, "items": ["a b", 1], "status": "paid", "gift": True},
)

_TEXTS = st.text(
    alphabet=st.one_of(
        st.characters(codec=None, exclude_categories=()),
        st.sampled_from('\x00\x1b\n\r\x7f\x85\u2028\u2029\u202e\ud800\udfff\ufeff"\\ ='),
    )
)
_OPTIONAL = st.none() | _TEXTS
_BOUND = st.dictionaries(
    st.from_regex(r"bound_[a-z]{1,6}", fullmatch=True),
    _TEXTS | st.integers(-(2**63), 2**63) | st.lists(st.text(max_size=5), max_size=3),
    max_size=3,
)
_RECORDS = st.builds(
    AccessRecord,
    event=st.sampled_from(["request", "websocket"]),
    level=st.sampled_from(["info", "warning"]),
    time=st.floats(0, 4e9),
    method=_TEXTS,
    path=_TEXTS,
    route=_OPTIONAL,
    status=st.none() | st.integers(100, 599),
    duration=st.floats(0, 1e6),
    bytes_sent=st.integers(0, 2**63),
    bytes_received=st.integers(0, 2**63),
    client=_OPTIONAL,
    http_version=_OPTIONAL,
    request_id=_OPTIONAL,
    correlation_id=_OPTIONAL,
    tenant=_OPTIONAL,
    user=_OPTIONAL,
    error=_OPTIONAL,
    slow=st.booleans(),
    disconnected=st.booleans(),
    incomplete=st.booleans(),
    close_code=st.none() | st.integers(1000, 4999),
    messages_sent=st.none() | st.integers(0, 2**31),
    messages_received=st.none() | st.integers(0, 2**31),
    sample_rate=st.none() | st.floats(0.000001, 1),
    bound=st.none() | _BOUND,
)


def test_a_line_of_json() -> None:
    """Unknown fields are left out; times are in the format of RFC 3339, durations in seconds."""
    assert json_line(RECORD) == (
        '{"time":"2025-11-21T03:17:43.123Z","level":"info","event":"request","method":"GET","path":"/items/7",'
        '"route":"/items/{id}","status":200,"duration":0.001235,"bytes_sent":18,"bytes_received":4}\n'
    )


def test_a_line_of_text() -> None:
    """A line of text has the same fields as a line of JSON."""
    assert text_line(RECORD) == (
        "2025-11-21T03:17:43.123Z info    request GET /items/7 200 0.001235s "
        "route=/items/{id} bytes_sent=18 bytes_received=4\n"
    )


def test_every_field_is_rendered() -> None:
    """Both forms have every field, and a time is rounded to the next millisecond, also to the next second."""
    assert json.loads(json_line(FULL)) == {
        **FULL.fields(),
        "time": "1970-01-01T00:00:01.000Z",
        "level": "warning",
        "event": "websocket",
    }
    assert [*AccessRecord._fields[3:-1], "order", "items", "status_", "gift"] == list(FULL.fields())
    assert text_line(FULL) == (
        "1970-01-01T00:00:01.000Z warning websocket GET /chat 101 3600.500000s route=/chat bytes_sent=1 "
        "bytes_received=2 client=::1 http_version=2 request_id=r correlation_id=c tenant=t user=u error=ValueError "
        "slow=yes disconnected=yes incomplete=yes close_code=1006 messages_sent=3 messages_received=0 sample_rate=0.1 "
        'order=7 items=["a\\x20b",1] status_=paid gift=yes\n'
    )


def test_a_record_with_the_required_fields() -> None:
    """A cancelled request has no status, which text shows as a dash."""
    record = AccessRecord("request", "warning", 0.0, "GET", "/")
    assert '"status"' not in json_line(record)
    assert " GET / - 0.000000s" in text_line(record)


@given(_RECORDS)
@example(FULL)
@example(RECORD._replace(path="\x00" * 30_000, user="\U0001f600" * 3000, client="x" * 3000))
@example(RECORD._replace(user="\ud800", tenant="\\ud800", client="\U0001f600"))
def test_json_is_one_line_with_every_field(record: AccessRecord) -> None:
    """Any texts make one line of ASCII within the limit: strict JSON from which the fields can be read back."""
    line = json_line(record)
    assert line.isascii()
    assert re.fullmatch(r"[ -~]+\n", line)
    assert len(line) <= LINE_LIMIT
    parsed = json.loads(line)
    json.dumps(parsed, ensure_ascii=False).encode()
    assert {"time", "level", "event", *record.fields()} == set(parsed)
    texts = [value for value in record.fields().values() if not isinstance(value, int | float)]
    uncut = len("".join(map(str, texts))) < LINE_LIMIT // 12 - 90
    for name, value in record.fields().items():
        if isinstance(value, str) and not re.search("[\ud800-\udfff]", value) and uncut:
            assert value == parsed[name]
        elif isinstance(value, float):
            assert value == pytest.approx(parsed[name], abs=1e-6)
        elif not isinstance(value, str | list):
            assert value == parsed[name]


@given(_RECORDS)
@example(RECORD._replace(path="\x1b" * 30_000))
@example(RECORD._replace(user="a tenant=root", path="/ 200"))
@example(RECORD._replace(user=""))
def test_text_is_one_line_that_cannot_be_forged(record: AccessRecord) -> None:
    """Any texts make one printable line within the limit, in which each field is one word."""
    line = text_line(record)
    assert re.fullmatch(r"[ -~]+\n", line)
    assert len(line) <= LINE_LIMIT
    words = line.split()
    fields = [name for name in record.fields() if name not in ("method", "path", "status", "duration")]
    assert fields == [word.partition("=")[0] for word in words[7:]]
    assert all(word.partition("=")[2] for word in words[7:])


@given(_TEXTS.filter(lambda text: len(text) < 50))
def test_text_can_be_read_back(user: str) -> None:
    """An escaped text is the same as a Python literal."""
    word = text_line(RECORD._replace(user=user)).split()[-1].partition("=")[2]
    assert user == ("" if word == '""' and user == "" else word.encode("ascii").decode("unicode_escape"))
