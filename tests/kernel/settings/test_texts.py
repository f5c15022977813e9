"""Tests of bandmaster.kernel.settings.texts."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from bandmaster.kernel.settings.texts import (
    accepts_empty,
    find_literal,
    means_nothing,
    parse_list,
    render_list,
    render_value,
)


class Size(Enum):
    NONE = ""
    LARGE = "large"


class Texts(BaseSettings):
    text: str = "x"
    bounded: Annotated[str, Field(max_length=3)] = "x"
    optional_text: str | None = None
    optional_with_default: str | None = "x"
    anything: Any = 1
    word: Literal["", "on"] = "on"
    other_word: Literal["off", "on"] = "on"
    size: Size = Size.LARGE
    names: Annotated[frozenset[str], NoDecode] = frozenset({"x"})
    decoded: list[str] = ["x"]
    number: int = 1
    optional_number: int | None = 1
    flag: bool = True
    path: Path = Path("x")
    secret: SecretStr = SecretStr("x")
    table: dict[str, int] = {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("text", True),
        ("bounded", True),
        ("optional_text", False),
        ("optional_with_default", True),
        ("anything", True),
        ("word", True),
        ("other_word", False),
        ("size", True),
        ("names", True),
        ("decoded", False),
        ("number", False),
        ("optional_number", False),
        ("flag", False),
        ("path", False),
        ("secret", False),
        ("table", False),
    ],
)
def test_which_settings_can_be_empty(name, expected):
    """Texts and lists with commas can; for every other setting an empty text means that the variable isn't set."""
    assert expected == accepts_empty(Texts, Texts.model_fields[name])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, ,b,", ["a", "b"]),
        ("", []),
        ('["a,b", "c"]', ["a,b", "c"]),
        ("[]", []),
        (" [ 1 ]", [1]),
        ("[::1],[::2]", ["[::1]", "[::2]"]),
    ],
)
def test_a_list_is_read_from_commas_or_json(text, expected):
    """An IPv6 address begins with a bracket and isn't JSON."""
    assert expected == parse_list(text)


@pytest.mark.parametrize("text", ['["a"', "{", '{"a": 1}', "['a']"])
def test_broken_json_is_no_list(text):
    """The text would be taken for one odd name."""
    with pytest.raises(ValueError, match="commas between them, or a list in JSON"):
        parse_list(text)


@given(st.lists(st.text()))
@example(['["a"'])
@example(["{"])
def test_a_rendered_list_is_read_back(items):
    """Every list of texts has a text that means it."""
    assert items == parse_list(render_list(items))


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (Literal[1001, 1012], "1012", 1012),
        (Literal[1001, 1012] | None, " 1001 ", 1001),
        (Literal[1001, 1012], "1013", "1013"),
        (Literal["1", 1], "2", "2"),
        (Annotated[Literal[True], Field()], "True", "True"),
        (int, "1", "1"),
    ],
)
def test_a_number_among_literals(annotation, text, expected):
    """pydantic compares a literal with the text of a variable, and a text is never a number."""
    assert expected == find_literal(annotation, text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("optional_number", "None", True),
        ("optional_number", "1", False),
        ("optional_text", "none", False),
        ("number", "none", False),
    ],
)
def test_which_texts_stand_for_none(name, text, expected):
    """The word means None where a value may be None and can't be that word."""
    assert expected == means_nothing(Texts.model_fields[name], text)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("optional_text", None, ""),
        ("optional_number", None, "none"),
        ("flag", False, "false"),
        ("names", {"b", "a"}, "a,b"),
        ("names", {"a,b"}, '["a,b"]'),
        ("decoded", ["a", "ü"], '["a", "ü"]'),
        ("table", {"a": 1}, '{"a": 1}'),
        ("number", 7, "7"),
    ],
)
def test_how_a_value_is_written(name, value, expected):
    """The text is the value that a variable of the setting would have."""
    assert expected == render_value(Texts, Texts.model_fields[name], value)
