"""Tests of bandmaster.kernel.settings.source."""

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.reading import read_settings


class Inner(BaseModel):
    host: str = "localhost"
    port: int = 1


class Plain(BaseSettings):
    """Settings of somebody who knows nothing of bandmaster."""

    model_config = SettingsConfigDict(env_prefix="PLAIN_", env_nested_delimiter="__")

    name: str = "x"
    number: int = 1
    names: list[str] = ["x"]
    inner: Inner = Inner()


class Sealed(BaseSettings):
    """Settings that no variable reaches."""

    name: str = "x"

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **others: Any) -> Any:
        return (init_settings,)


class Layered(BaseSettings):
    """Settings of a source that has precedence over variables, and of one behind them."""

    name: str = "x"
    other: str = "x"
    table: dict[str, int] = {}

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, env_settings: Any, **others: Any) -> Any:
        return (lambda: {"name": "first"}, env_settings, lambda: {"other": "last", "table": {"a": 1, "b": 1}})


class Constructed(BaseSettings):
    """Settings with a constructor of their own."""

    name: str = "x"

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"name": "constructor", **values})


class Closed(BaseSettings):
    """Settings with a constructor without arguments."""

    name: str = "x"

    def __init__(self) -> None:
        super().__init__(name="constructor")


class Own(BaseSettings):
    """Settings with an env file of their own."""

    model_config = SettingsConfigDict(env_file="own.env", extra="ignore")

    name: str = "x"
    other: str = "x"


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(kind, file="", **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "shop.env").write_text(file, encoding="utf-8")
        values, problems = read_settings([kind], Environment.choose("shop.env"))
        assert [] == problems
        return values[kind]

    return read


def test_the_process_has_precedence_over_the_file(read):
    """A variable of the file counts where the process has none of that name."""
    settings = read(Plain, "PLAIN_NAME=file\nplain_number=2\n", PLAIN_NAME="process")
    assert ("process", 2, {"name", "number"}) == (settings.name, settings.number, settings.model_fields_set)


def test_variables_of_both_make_one_value(read):
    """Fields of a nested model may come from the process and from the file."""
    settings = read(Plain, "PLAIN_INNER__PORT=2\nPLAIN_INNER__HOST=file\n", PLAIN_INNER__HOST="process")
    assert Inner(host="process", port=2) == settings.inner


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_text_is_no_value(read, text):
    """Of any settings type, an empty text means that the variable isn't set, unless it can be an empty text."""
    settings = read(Plain, PLAIN_NUMBER=text, PLAIN_NAMES=text, PLAIN_INNER__PORT=text, PLAIN_NAME=text)
    assert (1, ["x"], 1, text) == (settings.number, settings.names, settings.inner.port, settings.name)
    assert {"name"} == settings.model_fields_set


def test_an_empty_text_of_the_process_leaves_the_file(read):
    """docker compose passes an empty text for a variable that its own environment lacks."""
    assert 2 == read(Plain, "PLAIN_NUMBER=2\n", PLAIN_NUMBER="").number


def test_a_type_decides_about_its_sources(read):
    """A type that reads no variables gets none, and the order of the sources is the type's own."""
    assert "x" == read(Sealed, "NAME=file\n", NAME="process").name
    settings = read(Layered, 'NAME=file\nTABLE={"a": 2}\n')
    assert ("first", "last", {"a": 2, "b": 1}) == (settings.name, settings.other, settings.table)


def test_a_constructor_is_called(read):
    """A constructor with parameters gets the variables; without parameters the constructor's values count."""
    assert "file" == read(Constructed, "NAME=file\n").name
    assert "constructor" == read(Closed, "NAME=file\n").name


def test_a_file_of_the_type_comes_last(read, tmp_path):
    """The env file of the command has precedence over one that a type names."""
    (tmp_path / "own.env").write_text("NAME=own\nOTHER=own\n", encoding="utf-8")
    settings = read(Own, "NAME=file\n")
    assert ("file", "own") == (settings.name, settings.other)


def test_case_matters_where_the_type_says_so(read):
    """In a file, too."""

    class Sensitive(BaseSettings):
        model_config = SettingsConfigDict(case_sensitive=True)
        Shop_Name: str = "x"

    assert ["x", "file"] == [read(Sensitive, f"{name}=file\n").Shop_Name for name in ("SHOP_NAME", "Shop_Name")]
