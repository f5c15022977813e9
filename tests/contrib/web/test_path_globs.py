"""Globs of request paths."""

from __future__ import annotations

from fnmatch import fnmatchcase
from time import thread_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandmaster.contrib.web.path_globs import compile_globs

_TEXT = st.text(alphabet="/ab*?[]!\n.\x00ü", max_size=8)
_GLOBS = st.builds("{}{}".format, st.sampled_from("/*?["), _TEXT)


@given(st.lists(_GLOBS, max_size=4), _TEXT)
@example(["/static/*"], "/static/css/site.css")
@example(["/a", "/b/*", "/?c"], "/b/")
@example(["/b/**"], "/b/c")
def test_a_path_matches_if_one_glob_matches(globs: list[str], path: str) -> None:
    """Globs that are compiled together match the same paths as each by itself."""
    matches = compile_globs(globs)
    expected = any(fnmatchcase(path, glob) for glob in globs)
    assert expected == (matches is not None and matches(path))


def test_no_globs_compile_to_none() -> None:
    """Without globs there is no matcher, so that callers need no look-up."""
    assert compile_globs([]) is None


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("/static/*", "/static/a/b.css", True),
        ("/static/*", "/static/", True),
        ("/static/*", "/static", False),
        ("/static/*", "/Static/a", False),
        ("/health", "/health", True),
        ("/health", "/healthy", False),
        ("/health", "/health/", False),
        ("*.map", "/a/b.map", True),
        ("*.map", "/a.map/b", False),
        ("/v[12]/items", "/v2/items", True),
        ("/v[!12]/items", "/v2/items", False),
        ("/v?/items", "/v/items", False),
        ("/*", "/a\nb", True),
        ("/a*z", "/a\nz", True),
        ("/a.b", "/axb", False),
    ],
)
def test_globs_match_whole_paths(glob: str, path: str, expected: bool) -> None:
    """The whole path is compared, case matters, and a star matches slashes."""
    matches = compile_globs([glob])
    assert matches is not None
    assert expected == matches(path)


def test_a_glob_that_matches_no_path_is_refused() -> None:
    """The message suggests the glob with a slash."""
    with pytest.raises(ValueError, match=r"'static/\*' matches no path.*did you mean '/static/\*'"):
        compile_globs(["/a", "static/*"])


def test_matching_takes_linear_time() -> None:
    """Many stars and a long path that almost matches take no time worth mentioning."""
    matches = compile_globs(["/*a*a*a*a*a*a*a*b"])
    assert matches is not None
    # The thread's own time: on a busy machine other processes take theirs meanwhile.
    began = thread_time()
    assert not matches("/" + "a" * 30_000)
    assert thread_time() - began < 1
