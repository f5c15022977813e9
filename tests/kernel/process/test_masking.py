"""A secret in the text of a failure is masked on every way out of the process."""

import asyncio
import contextlib
import json
import logging
import sys
from types import SimpleNamespace

import pytest
from tests.logged import capture_logs
from typer.testing import CliRunner

from bandmaster.kernel import KernelSettings, LifespanBand, LifespanContribution, create_app, get_logger, serve
from bandmaster.kernel.cli.program import program
from bandmaster.kernel.process.console_logging import log_to_stderr, print_error

pytestmark = pytest.mark.usefixtures("left_as_it_was")

URL = "postgresql://app:pa/ss@word@db/x"
MASKED = "postgresql://app:**********@db/x"


def make_failing_app():
    """An application with a component that can't be started and names its URL, in the exception and in its cause."""

    @contextlib.asynccontextmanager
    async def database():
        try:
            raise OSError(f"no route to {URL}")
        except OSError as error:
            raise ConnectionError(f"can't reach {URL}") from error
        yield

    part = LifespanContribution(name="database", factory=database, band=LifespanBand.PERSISTENCE)
    return create_app(contributions=[part], discover=False, settings=KernelSettings())


def check_masked(text):
    assert MASKED in text
    assert not [part for part in ("pa/ss", "ss@", "word") if part in text], text


@pytest.mark.requirement("AU-17")
def test_stderr_of_the_launcher(capfd):
    """The report on stderr masks a password; the log lines leave the text to the report."""
    assert serve(make_failing_app(), port=0) == 70
    out, err = capfd.readouterr()
    report = err[err.index("bandmaster: The start failed") :]
    check_masked(report)
    assert "postgresql" not in err.removesuffix(report)
    assert out == ""


def test_the_events_of_a_failed_start():
    """The logged events mask a password, however logging is configured."""
    with capture_logs() as logs, pytest.raises(Exception, match="database"):
        asyncio.run(start_and_stop(make_failing_app()))
    check_masked(repr(logs))


async def start_and_stop(app):
    async with app.running():
        pass


@pytest.mark.parametrize("options", [[], ["--traceback"], ["--format", "json"]], ids=["text", "traceback", "json"])
def test_the_answer_of_a_command(options, tmp_path, monkeypatch):
    """A command that starts the application masks a password in the text, the traceback and the JSON."""
    monkeypatch.setitem(sys.modules, "failing_shop", SimpleNamespace(app=make_failing_app))
    arguments = ["timeline", "failing_shop:app", "--start", "--app-dir", str(tmp_path), *options]
    result = CliRunner().invoke(program(), arguments)
    assert result.exit_code == 1
    check_masked(result.output)
    if "json" in options:
        assert json.loads(result.stdout)["error"] == "StartError"


def test_the_log_of_a_foreign_server(caplog):
    """uvicorn logs the message of `lifespan.startup.failed`, in which a password is masked."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(make_failing_app(), lifespan="on", log_config=None, port=0))
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    with pytest.raises(SystemExit):
        asyncio.run(server.serve())
    logger.removeHandler(caplog.handler)
    check_masked("\n".join(record.getMessage() for record in caplog.records if record.name == "uvicorn.error"))


def test_log_lines_of_other_libraries(capsys):
    """Log lines and tracebacks of other libraries are masked on their way to stderr."""
    with log_to_stderr("console", "info"):
        try:
            raise OSError(f"no route to {URL}")
        except OSError:
            logging.getLogger("some.library").exception("failed")
    check_masked(capsys.readouterr().err)


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    "fields",
    [
        {"url": URL},
        {"urls": [URL]},
        {"error": OSError(URL)},
        {"exception": OSError(URL)},
        {"url": URL, "password": "word"},
    ],
)
def test_fields_of_log_lines(fields, form, capsys):
    """Every field of a log line is masked: text, other objects, tracebacks, and values under the name of a secret."""
    with log_to_stderr(form, "info"):
        get_logger("bandmaster.shop").info("event", **fields)
        exc_info = fields.get("exception")
        extra = {name: value for name, value in fields.items() if name != "exception"}
        logging.getLogger("some.library").info("event", extra=extra, exc_info=exc_info)
    err = capsys.readouterr().err
    assert 2 == len([line for line in err.splitlines() if "event" in line])
    check_masked(err.replace("password", ""))


def test_printed_errors(capsys):
    """An error that is printed beside the log is masked."""
    print_error(f"no route to {URL}")
    assert capsys.readouterr().err == f"bandmaster: no route to {MASKED}\n"
