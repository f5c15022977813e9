"""Tests of bandmaster.kernel.settings.unread."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import TypeAliasType

from bandmaster.kernel import KernelSettings, ServerSettings
from bandmaster.kernel.settings.environment import EnvFileSettings, Environment
from bandmaster.kernel.settings.unread import find_unread


class Inner(BaseModel):
    url: str = ""
    extras: dict[str, str] = {}


class Database(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DATABASE_", env_nested_delimiter="__")

    url: str = ""
    pool_size: int = 1
    inner: Inner = Inner()
    table: dict[str, int] = {}
    other: str = Field("", validation_alias="DATABASE_ALIAS")


class Sensitive(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="Shop_", case_sensitive=True)

    Name: str = ""


class Sealed(BaseSettings):
    """Reads no variables, so that its fields excuse none."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    sealed: str = ""

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **others: Any) -> Any:
        return (init_settings,)


class Elsewhere(BaseSettings):
    """The application's own code makes these settings, unknown to the plan."""

    database_host: str = ""


READERS = [KernelSettings, ServerSettings, EnvFileSettings, Database, Sensitive]


@pytest.fixture
def find(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    class Process(Environment):
        variables: dict[str, str] = {}

        @property
        def process(self):
            return self.variables

    def find(_file="", _ignored=(), **variables):
        (tmp_path / "shop.env").write_text(_file, encoding="utf-8")
        environment = Process(tmp_path / "shop.env", "shop.env")
        monkeypatch.setattr(Process, "variables", variables)
        return find_unread(READERS, [*READERS, Sealed, Elsewhere], environment, _ignored)

    return find


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BANDMASTER_DRAIN_DELEY", "BANDMASTER_DRAIN_DELAY"),
        ("BANDMASTER_SERVR_PORT", "BANDMASTER_SERVER_PORT"),
        ("BANDMASTER_SERVER_PROT", "BANDMASTER_SERVER_PORT"),
        ("bandmaster_drain_deley", "BANDMASTER_DRAIN_DELAY"),
        ("BANDMASTER_XYZ", None),
        ("BANDMASTER_PORT", "BANDMASTER_SERVER_PORT"),
        ("BANDMASTER_HOST", "BANDMASTER_SERVER_HOST"),
        ("bandmaster_host", "BANDMASTER_SERVER_HOST"),
        ("BANDMASTER_ENV", "BANDMASTER_ENVIRONMENT"),
        ("BANDMASTER_PROXIES", "BANDMASTER_SERVER_TRUSTED_PROXIES"),
        ("BANDMASTER_SH", None),
        ("BANDMASTER_GRACE", "BANDMASTER_TERMINATION_GRACE"),
        ("BANDMASTER_", None),
        ("DATABASE_POOL", "DATABASE_POOL_SIZE"),
        ("DATABASE_EXTRAS", "DATABASE_INNER__EXTRAS"),
        ("BANDMSTER_DEBUG", "BANDMASTER_DEBUG"),
        ("BAND_MASTER_DRAIN_TIMEOUT", "BANDMASTER_DRAIN_TIMEOUT"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_SEALED", None),
        ("DATABASE_INNER__ULR", "DATABASE_INNER__URL"),
        ("Shop_Nam", "Shop_Name"),
        ("SHOP_NAME", "Shop_Name"),
    ],
)
def test_a_variable_that_nothing_reads(find, name, near):
    """A name with a known prefix, or one that is nearly a variable, is told, with the variable that was meant."""
    hint = f" Did you mean {near!r}?" if near else ""
    assert [f"{name} is set, and nothing reads it.{hint}"] == find(**{name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANDMASTER_DRAIN_DELAY", "1"),
        ("bandmaster_drain_delay", "1"),
        ("BANDMASTER_SERVER_PORT", "1"),
        ("BANDMASTER_ENV_FILE", "x"),
        ("NOTIFY_SOCKET", "x"),
        ("BANDMASTER_TEST_SERVICES_REQUIRED", "1"),
        ("DATABASE_ALIAS", "x"),
        ("DATABASE_INNER", "{}"),
        ("DATABASE_INNER__URL", "x"),
        ("DATABASE_INNER__EXTRAS__ANY", "x"),
        ("DATABASE_TABLE__ANY", "1"),
        ("DATABASE_HOST", "x"),
        ("Shop_Name", "x"),
        ("PATH", "/bin"),
        ("DATA", "x"),
        ("DATABASE_SERVICE_HOST", "10.0.0.1"),
        ("DATABASE_PORT", "tcp://10.0.0.1:5432"),
        ("DATABASE_PORT_5432_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_that_are_read_or_belong_to_others(find, name, value):
    """Neither the variables of every reader are told, nor those that Kubernetes sets for services, nor test kits'."""
    assert [] == find(**{name: value})


@dataclass
class Point:
    x: int = 0


Tags = TypeAliasType("Tags", dict[str, str])


class Kinds(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="KINDS_", env_nested_delimiter="__")

    secret: SecretStr | None = None
    path: Path | None = None
    level: Literal["a", "b"] = "a"
    anything: Any = None
    wait: timedelta | float = 0.0
    point: Point = Point()
    tags: Tags = {}
    options: Mapping[str, str] | None = None
    inner: Inner | None = None


@pytest.mark.parametrize("name", ["SECRET", "PATH", "LEVEL", "ANYTHING", "WAIT"])
def test_a_name_below_a_value_without_members(find, monkeypatch, name):
    """A plain value has no members, a secret included, so nothing reads a variable for one."""
    monkeypatch.setattr("tests.kernel.settings.test_unread.READERS", [Kinds])
    variable = f"KINDS_{name}__X"
    (warning,) = find(**{variable: "1"})
    assert warning.startswith(f"{variable} is set, and nothing reads it.")


@pytest.mark.parametrize("name", ["POINT", "TAGS", "OPTIONS", "INNER"])
def test_a_name_below_a_value_with_members(find, monkeypatch, name):
    """Mappings, dataclasses, aliases and optional models may read a variable for any member."""
    monkeypatch.setattr("tests.kernel.settings.test_unread.READERS", [Kinds])
    assert [] == find(**{f"KINDS_{name}__X": "1"})


def test_a_port_that_is_no_link(find):
    """A variable with the name of a link and another value is no link."""
    assert ["DATABASE_PORT is set, and nothing reads it."] == find(DATABASE_PORT="5432")


def test_variables_of_other_programs_can_be_named(find):
    """Names and globs of variables that other programs read silence the warning."""
    variables = {"DATABASE_USER": "x", "DATABASE_OTHER_USER": "x"}
    assert 2 == len(find(**variables))
    assert [] == find("", ["DATABASE_USER", "database_other_*"], **variables)


def test_a_line_of_the_env_file(find):
    """A line is told with its place, and so is a name that stands twice."""
    assert [
        "shop.env:3: DATABASE_URL is set already on line 2; the last line counts.",
        "shop.env:1: DATABASE_POOLSIZE is set, and nothing reads it. Did you mean 'DATABASE_POOL_SIZE'?",
    ] == find("DATABASE_POOLSIZE=3\nDATABASE_URL=a\nDATABASE_URL=b\nUNRELATED=1\n")


def test_a_type_whose_sources_cannot_be_asked_counts_as_a_reader(find, monkeypatch):
    """Rather no warning than a wrong one."""

    class Odd(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="DATABASE_")
        odd: str = ""

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **others: Any) -> Any:
            raise RuntimeError("no vault here")

    monkeypatch.setattr("tests.kernel.settings.test_unread.Sealed", Odd)
    assert [] == find(DATABASE_ODD="1")
