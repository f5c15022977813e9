"""Tests of bandmaster.kernel.cli.static_help."""

import sys

import pytest

from bandmaster.kernel.cli.static_help import read_command_help

MODULE = '''
"""A module."""
1 / 0  # it must not be imported
import typer
from acme_inner import inner, other as renamed
from . import sibling

def plain():
    """Count the books.

    More.
    """

def silent(): ...

group = typer.Typer(name="group", help="Work on groups. Briefly.")
bare = typer.Typer()
with_callback = typer.Typer()
computed = typer.Typer(help="a" + "b")

@with_callback.callback()
def options():
    """Work with a callback."""

@bare.command()
def one():
    """One of two."""
'''


@pytest.fixture
def modules(tmp_path, monkeypatch):
    (tmp_path / "acme.py").write_text(MODULE)
    (tmp_path / "acme_inner").mkdir()
    (tmp_path / "acme_inner" / "__init__.py").write_text(
        "from acme_inner.deep import inner\ndef other():\n    'Other.'\n"
    )
    (tmp_path / "acme_inner" / "deep.py").write_text("def inner():\n    'The inner one.'\n")
    (tmp_path / "acme_loop.py").write_text("from acme_loop import again\n")
    (tmp_path / "acme_broken.py").write_text("def (:\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nowhere"), str(tmp_path)])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("acme:plain", "Count the books."),
        ("acme:group", "Work on groups. Briefly."),
        ("acme:with_callback", "Work with a callback."),
        ("acme:inner", "The inner one."),
        ("acme:renamed", "Other."),
        ("acme:silent", None),
        ("acme:bare", None),
        ("acme:computed", None),
        ("acme:missing", None),
        ("acme:sibling", None),
        ("acme_loop:again", None),
        ("acme_broken:x", None),
        ("acme_nowhere:x", None),
        ("not a reference", None),
    ],
)
def test_the_first_line(modules, reference, expected):
    """The first line of the help is read from the source, through imports, and nothing is imported."""
    assert expected == read_command_help(reference)
    assert "acme" not in sys.modules
