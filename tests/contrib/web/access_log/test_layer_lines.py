"""The lines that the access log's layer writes for any request."""

from __future__ import annotations

import io
import json
import re
import sys
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.asgi_cases import http_scope
from tests.contrib.web.access_log.layers import (
    build_stack,
)

from bandmaster.contrib.web.access_log.records import PATH_LIMIT

pytestmark = pytest.mark.anyio


def _render_lines(form, scope):
    """The output of one request to an empty application, without an event loop."""

    async def answering(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message=None):
        return {}

    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        built, layer = build_stack(answering, None, access_log=form)
    with pytest.raises(StopIteration):
        built(scope, nothing, nothing).send(None)
    assert 0 == layer.lost
    return out.getvalue()


_PATHS = st.binary(max_size=40).map(lambda path: b"/" + path)


@given(_PATHS, st.lists(st.tuples(st.binary(), st.binary()), max_size=3), st.text(max_size=5))
@example(b'/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff\xed\xa0\x80"\\', [(b"x-request-id", b"\n")], "GET\n")
@example(b"/?\n", [], "GET")
def test_any_request_makes_one_line_of_json(raw, headers, method) -> None:
    """Any path, headers and method make one line of JSON, from which the path can be read back."""
    line = _render_lines("json", {**http_scope(headers), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    parsed = json.loads(line)
    assert unquote_to_bytes(raw.partition(b"?")[0]) == unquote_to_bytes(parsed["path"])
    if raw.isascii():
        assert raw.partition(b"?")[0].decode() == parsed["path"]
    assert method == parsed["method"] or re.search("[\ud800-\udfff]", method)


@given(_PATHS, st.text(max_size=5))
@example(b"/\x00\x1b[31m\r\n\x7f\xe2\x80\xa8\xff", "\x1b\n ")
def test_any_request_makes_one_line_of_text(raw, method) -> None:
    """No control character reaches the terminal, and no request makes a second line."""
    line = _render_lines("text", {**http_scope(), "raw_path": raw, "method": method})
    assert re.fullmatch(r"[ -~]+\n", line)
    assert 7 <= len(line.split())


@given(st.text(max_size=40))
@example("\ud800\udfff")
def test_a_path_without_its_raw_form(path) -> None:
    """A path that the server reports only decoded is encoded again."""
    line = _render_lines("json", {**http_scope(), "raw_path": None, "path": "/" + path})
    logged = json.loads(line)["path"]
    assert ("/" + path).encode("utf-8", "surrogatepass") == unquote_to_bytes(logged) or len(logged) > PATH_LIMIT
    assert re.fullmatch(r"[!-~]+", logged)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_long_path_is_cut(form) -> None:
    """A client can't fill the disk with long paths."""
    line = _render_lines(form, {**http_scope(), "raw_path": b"/" * 30_000})
    assert re.search("[^/]" + "/" * PATH_LIMIT + r"\.\.\.[^/]", line)
    assert len(line) < PATH_LIMIT + 400
