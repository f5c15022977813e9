"""Errors encoded in results."""

import json
import sys
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taskiq import TaskiqResult
from tests.contrib.taskiq.results.helpers import make_result

from bandmaster.contrib.taskiq.errors import TaskFailed
from bandmaster.contrib.taskiq.results.error_codec import decode_error, encode_error

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class OddError(Exception):
    """An error whose constructor takes other arguments than its ``args``."""

    def __init__(self, code, *, why):
        super().__init__(f"{code}: {why}")


class NamedError(Exception):
    """An error that makes a text from the argument."""

    def __init__(self, name):
        super().__init__(f"no {name} here")


def _error_of(error):
    """An error, encoded and decoded."""
    return decode_error(json.loads(json.dumps(encode_error(error))))


def test_taskiq_can_read_an_encoded_error() -> None:
    """The encoding is TaskIQ's own."""
    dumped = json.loads(json.dumps({**make_result().model_dump(mode="json"), "error": encode_error(KeyError("k"))}))
    assert repr(KeyError("k")) == repr(TaskiqResult.model_validate(dumped).error)
    own = make_result(error=KeyError("k")).model_dump(mode="json")["error"]
    assert own == {name: value for name, value in encode_error(KeyError("k")).items() if name in own}
    assert repr(KeyError("k")) == repr(decode_error(own))


def test_a_long_chain_is_cut() -> None:
    """A long chain of causes is cut, since TaskIQ's encoding doubles with each link."""
    error = None
    for number in range(200):
        made = RuntimeError(number)
        made.__cause__, error = error, made
    start = time.process_time()
    chain = [_error_of(error)]
    assert time.process_time() - start < 1
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert list(range(199, 191, -1)) == [link.args[0] for link in chain]


def test_a_circle_of_errors_is_cut() -> None:
    """Errors that cause one another are cut."""
    first, second = ValueError(1), ValueError(2)
    first.__context__, second.__context__ = second, first
    assert 2 == _error_of(first).__context__.args[0]


def _local_error():
    class LocalError(Exception):
        pass

    return LocalError("text")


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (OddError(3, why="x"), f"{__name__}.OddError", "3: x"),
        (_local_error(), f"{__name__}._local_error.<locals>.LocalError", "text"),
        (SystemExit(3), "builtins.SystemExit", "3"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt", ""),
        (BaseExceptionGroup("g", [ValueError(1)]), "builtins.ExceptionGroup", "g (1 sub-exception)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_that_cannot_be_made_again(error, name, text) -> None:
    """An unknown or forbidden class becomes a `TaskFailed` with the name and the text."""
    made = _error_of(error)
    assert (TaskFailed, name, text) == (type(made), made.type_name, made.text)
    assert f"{name}: {text}".rstrip(": ") == str(made)


def test_a_text_isnt_made_twice() -> None:
    """A class that makes a text from its argument gets the argument, not the text."""
    made = _error_of(NamedError("bob"))
    assert (NamedError, "no bob here") == (type(made), str(made))


def _described(module, name, *message):
    return {"exc_module": module, "exc_type": name, "exc_message": list(message)}


@pytest.mark.parametrize(
    "described",
    [
        _described("os", "system", "echo owned"),
        _described("builtins", "eval", "1/0"),
        _described("builtins", "Exception.__subclasses__"),
        _described("builtins", "ValueError.__init__.__globals__"),
        _described("asyncio", "CancelledError"),
        _described("builtins", "GeneratorExit"),
        _described(None, None),
        _described(3, ["x"], {}),
        _described("nowhere", ""),
        _described("", "ValueError"),
        {"exc_message": "text"},
        {},
        [],
        "text",
        7,
    ],
    ids=repr,
)
def test_a_forged_error(described, capfd) -> None:
    """A forged error becomes a description and runs nothing."""
    made = decode_error(described)
    assert TaskFailed is type(made)
    assert ("", "") == capfd.readouterr()


def test_nothing_is_imported() -> None:
    """Decoding imports no module, and triggers no import of a module."""

    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError("was asked")

    sys.modules["lazy_one"] = Lazy("lazy_one")
    try:
        assert "xmlrpc.client" not in sys.modules
        assert TaskFailed is type(decode_error(_described("xmlrpc.client", "Fault", 1, "x")))
        assert TaskFailed is type(decode_error(_described("lazy_one", "SomeError")))
        assert TaskFailed is type(decode_error(_described("bandmaster.contrib.redis", "NothingSuchError")))
        assert "xmlrpc.client" not in sys.modules
    finally:
        del sys.modules["lazy_one"]


@given(JSON)
@settings(deadline=None)
def test_any_json_decodes_to_an_error(value) -> None:
    """Decoding never raises, whatever the JSON is."""
    assert isinstance(decode_error(value), Exception)
    assert isinstance(
        decode_error({"exc_module": "builtins", "exc_type": "ValueError", "exc_message": value}), Exception
    )
