"""Globs of paths."""

from __future__ import annotations

from fnmatch import fnmatchcase
from time import perf_counter

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
def test_a_path_fits_if_it_fits_one_of_the_globs(globs: list[str], path: str) -> None:
    """However they are compiled together, they say what each says by itself."""
    fits = compile_globs(globs)
    expected = any(fnmatchcase(path, glob) for glob in globs)
    assert expected == (fits is not None and fits(path))


def test_without_globs_there_is_nothing_to_ask() -> None:
    """Who has none needn't even look the path up."""
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
def test_what_globs_mean(glob: str, path: str, expected: bool) -> None:
    """The whole path counts, case counts, and a star passes slashes."""
    fits = compile_globs([glob])
    assert fits is not None
    assert expected == fits(path)


def test_a_glob_that_fits_no_path_is_refused() -> None:
    """The slash at the beginning is easily forgotten."""
    with pytest.raises(ValueError, match=r"'static/\*' matches no path.*did you mean '/static/\*'"):
        compile_globs(["/a", "static/*"])


def test_no_path_makes_it_slow() -> None:
    """Many stars and a long path that almost fits take no time worth speaking of: nothing is tried twice."""
    fits = compile_globs(["/*a*a*a*a*a*a*a*b"])
    assert fits is not None
    began = perf_counter()
    assert not fits("/" + "a" * 30_000)
    assert perf_counter() - began < 1
