"""Tests of bandmaster.kernel.cli.output."""

import json

import pytest
import typer

from bandmaster.kernel import PermanentError, StartError, TransientError
from bandmaster.kernel.commands import PROBLEM, WRONG_USE, CommandError, Format, answering


class AwayError(TransientError):
    """A server doesn't answer."""


def _fail(error):
    """Raised from what a library raises, as contribs do."""
    try:
        raise ConnectionError("the library's own words")
    except ConnectionError as cause:
        raise error from cause


@pytest.mark.parametrize(
    "error", [AwayError("Nobody at 127.0.0.1:1."), PermanentError("Refused."), CommandError("No.")]
)
def test_what_is_refused_says_all_itself(capsys, error):
    """In its text; a traceback would hide it."""
    with pytest.raises(typer.Exit) as left, answering(Format.TEXT):
        _fail(error)
    assert (PROBLEM, ("", f"{error}\n")) == (left.value.exit_code, capsys.readouterr())


def test_a_run_that_failed_is_told_with_its_cause(capsys):
    """As the launcher tells it."""
    with pytest.raises(typer.Exit), answering(Format.TEXT):
        _fail(StartError("component 'part' failed", component="part"))
    _, told = capsys.readouterr()
    assert told.startswith("The start failed: component 'part' failed")
    assert "the library's own words" in told


def test_the_whole_is_told_where_it_is_asked_for(capsys):
    """With causes and tracebacks, and the text once more at the end."""
    with pytest.raises(typer.Exit), answering(Format.TEXT, full=True):
        _fail(AwayError("Nobody at 127.0.0.1:1."))
    _, told = capsys.readouterr()
    assert "in _fail" in told
    assert told.endswith("\nNobody at 127.0.0.1:1.\n")


def test_programs_get_json(capsys):
    """On standard output; and what was mistyped has a code of its own."""
    with pytest.raises(typer.Exit) as left, answering(Format.JSON):
        raise CommandError("No such thing.", "Is it spelt so?", misspelt=True)
    out, err = capsys.readouterr()
    assert (WRONG_USE, "") == (left.value.exit_code, err)
    problem = {"message": "No such thing.", "hint": "Is it spelt so?", "subject": ""}
    assert {"format": 1, "ok": False, "error": "CommandError", "problems": [problem]} == json.loads(out)


def test_what_is_no_refusal_is_a_bug():
    """Its traceback is needed."""
    with pytest.raises(ConnectionError), answering(Format.TEXT):
        raise ConnectionError("oops")
