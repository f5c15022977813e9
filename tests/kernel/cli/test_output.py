"""Tests of bandmaster.kernel.cli.output."""

import json

import pytest
import typer

from bandmaster.kernel import PermanentError, StartError, TransientError
from bandmaster.kernel.commands import PROBLEM, WRONG_USE, CommandError, Format, answering


class AwayError(TransientError):
    """A server doesn't answer."""


def raise_with_cause(error):
    """Raise an error from the exception of a library, as contribs do."""
    try:
        raise ConnectionError("the library's own words")
    except ConnectionError as cause:
        raise error from cause


@pytest.mark.parametrize(
    "error", [AwayError("Nobody at 127.0.0.1:1."), PermanentError("Refused."), CommandError("No.")]
)
def test_an_error_with_its_own_text(capsys, error):
    """An error that states its reason is printed without a traceback."""
    with pytest.raises(typer.Exit) as left, answering(Format.TEXT):
        raise_with_cause(error)
    assert (PROBLEM, ("", f"{error}\n")) == (left.value.exit_code, capsys.readouterr())


def test_a_failed_run(capsys):
    """A failed run is printed with its cause, as the launcher does."""
    with pytest.raises(typer.Exit), answering(Format.TEXT):
        raise_with_cause(StartError("component 'part' failed", component="part"))
    _, told = capsys.readouterr()
    assert told.startswith("The start failed: component 'part' failed")
    assert "the library's own words" in told


def test_the_whole_traceback(capsys):
    """With full=True the causes and tracebacks are printed before the error."""
    with pytest.raises(typer.Exit), answering(Format.TEXT, full=True):
        raise_with_cause(AwayError("Nobody at 127.0.0.1:1."))
    _, told = capsys.readouterr()
    assert "in raise_with_cause" in told
    assert told.endswith("\nNobody at 127.0.0.1:1.\n")


def test_an_error_for_programs(capsys):
    """An error is JSON on standard output; a mistake in the command line has its own exit code."""
    with pytest.raises(typer.Exit) as left, answering(Format.JSON):
        raise CommandError("No such thing.", "Is it spelt so?", misspelt=True)
    out, err = capsys.readouterr()
    assert (WRONG_USE, "") == (left.value.exit_code, err)
    problem = {"message": "No such thing.", "hint": "Is it spelt so?", "subject": ""}
    assert {"format": 1, "ok": False, "error": "CommandError", "problems": [problem]} == json.loads(out)


def test_a_bug():
    """An exception of another kind passes through, because its traceback is needed."""
    with pytest.raises(ConnectionError), answering(Format.TEXT):
        raise ConnectionError("oops")
