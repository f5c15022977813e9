"""Tests of bandmaster.kernel.logs."""

import io
import json
import logging
import pickle
import subprocess
import sys
import textwrap

import pytest
from tests.logged import capture_logs

from bandmaster.kernel import get_logger

URL = "postgresql://app:hunter2@db/shop"


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_record_has_event_and_fields(caplog):
    """A record has the event and the fields as attributes, and both together as the message."""
    with caplog.at_level(logging.INFO, "bandmaster"):
        get_logger("bandmaster.shop").info("order placed", order=7, items=["a", "b"], note="two words", empty="")
    (record,) = caplog.records
    assert "order placed" == record.event
    assert {"order": 7, "items": ["a", "b"], "note": "two words", "empty": ""} == record.fields
    assert 'order placed order=7 items=a,b note="two words" empty=""' == record.getMessage()
    assert ("bandmaster.shop", "INFO", "test_logs.py", "test_a_record_has_event_and_fields") == (
        record.name,
        record.levelname,
        record.filename,
        record.funcName,
    )


def test_records_of_one_kind_have_one_template(caplog):
    """The values are arguments, so that trackers of errors group records by the text without them."""
    for number in (1, 2):
        get_logger("bandmaster.shop").warning("100% sold", show=number)
    assert {"100%% sold show=%s"} == {record.msg for record in caplog.records}
    assert ["100% sold show=1", "100% sold show=2"] == caplog.messages


def test_an_event_without_fields(caplog):
    """A per cent sign in an event is one in the message."""
    get_logger("bandmaster.shop").warning("100% sold")
    assert ["100% sold"] == caplog.messages


def test_values_of_several_lines_stand_below(caplog):
    """A value of several lines stands below the line, under its name."""
    get_logger("bandmaster.shop").warning("stuck", where="one\ntwo", seconds=3)
    assert ["stuck seconds=3\nwhere:\n  one\n  two"] == caplog.messages


@pytest.mark.parametrize("text", ["\x1b[31mred", "back\rto the start", "bell\x07", "\x9b31m"])
def test_a_terminal_is_sent_no_control_characters(caplog, text):
    """Text of others can't move the cursor or begin a line that looks like another record."""
    get_logger("bandmaster.shop").warning(text, value=text, lines=f"{text}\nand more")
    (message,) = caplog.messages
    assert all(sign.isprintable() or sign == "\n" for sign in message)


@pytest.mark.requirement("AU-17")
def test_secrets_are_masked(caplog):
    """Secrets are masked in the event, in fields, in values under the name of a secret and in tracebacks."""
    error = raised(LookupError(f"no {URL}"))
    fields = {"url": URL, "urls": [URL], "password": "hunter2", "none": None}
    get_logger("bandmaster.shop").error(f"no {URL}", exception=error, **fields)
    (record,) = caplog.records
    shown = [record.getMessage(), repr(record.fields), record.event, record.exc_text, caplog.text]
    assert [] == [text for text in shown if "hunter2" in text]
    assert [list, type(None)] == [type(record.fields[name]) for name in ("urls", "none")]


def test_an_exception_is_a_traceback_without_values(caplog):
    """The traceback is text already; the exception itself is there for trackers of errors."""
    error = raised(LookupError("no luck"))
    get_logger("bandmaster.shop").error("failed", exception=error)
    get_logger("bandmaster.shop").error("failed", exception="as text")
    first, second = caplog.records
    assert error is first.exc_info[1]
    assert first.exc_text.startswith("Traceback")
    assert first.exc_text.endswith("LookupError: no luck")
    assert (None, "as text") == (second.exc_info, second.exc_text)


def test_the_standard_library_steers_records():
    """Levels, handlers and `logging.disable` work as for every logger of the standard library."""
    log = get_logger("bandmaster.shop")
    stream = io.StringIO()
    logger = logging.getLogger("bandmaster.shop")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        log.info("not at this level")
        log.warning("shown", number=1)
        logging.disable(logging.CRITICAL)
        log.error("not while disabled")
    finally:
        logging.disable(logging.NOTSET)
        logger.removeHandler(handler)
    assert "shown number=1\n" == stream.getvalue()


def test_records_can_be_sent_to_another_process():
    """A record without an exception can be pickled, with its fields."""
    records = []
    logger = logging.getLogger("bandmaster.shop")
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    get_logger("bandmaster.shop").warning("sent", number=1, names=("a", "b"))
    logger.removeHandler(handler)
    copy = pickle.loads(pickle.dumps(records[0]))
    assert ("sent number=1 names=a,b", {"number": 1, "names": ("a", "b")}) == (copy.getMessage(), copy.fields)


def test_a_script_without_logging_is_quiet():
    """A program that configured no logging sees warnings on stderr, and nothing else anywhere."""
    code = """
        import asyncio
        from bandmaster.kernel import create_app, get_logger

        async def main():
            async with create_app(discover=False).running():
                get_logger("bandmaster.shop").warning("seen", number=1)

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    assert ("", "seen number=1\n") == (done.stdout, done.stderr)


def test_the_kernel_imports_no_library_for_its_log():
    """Starting a kernel imports neither structlog nor libraries for colours."""
    code = """
        import asyncio, sys
        from bandmaster.kernel import create_app

        async def main():
            async with create_app(discover=False).running():
                pass

        asyncio.run(main())
        print(sorted({"structlog", "rich", "pygments"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    assert "[]\n" == done.stdout


def test_captured_records():
    """The helper of these tests shows records as dictionaries."""
    with capture_logs() as logs:
        get_logger("bandmaster.shop").debug("seen", number=1)
    assert [{"event": "seen", "log_level": "debug", "number": 1}] == json.loads(json.dumps(logs))
