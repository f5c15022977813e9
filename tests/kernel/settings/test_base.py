"""Tests of bandmaster.kernel.settings.base."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.kernel import KernelSettings, ServerSettings, Settings


class ShopSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    port: int | None = 80
    names: Annotated[tuple[str, ...], NoDecode] = ()
    title: str | None = None
    token: str = Field(default="", validation_alias="ACCESS")


@pytest.mark.parametrize(
    ("kind", "keywords", "expected"),
    [
        (KernelSettings, {"nope": 1}, ["nope: KernelSettings has no such setting."]),
        (
            KernelSettings,
            {"drain_timout": 1, "debgu": True},
            [
                "drain_timout: KernelSettings has no such setting. Did you mean 'drain_timeout'?",
                "debgu: KernelSettings has no such setting. Did you mean 'debug'?",
            ],
        ),
        (ServerSettings, {"prot": 2}, ["prot: ServerSettings has no such setting. Did you mean 'port'?"]),
        (ShopSettings, {"prot": 2}, ["prot: ShopSettings has no such setting. Did you mean 'port'?"]),
    ],
)
def test_a_keyword_that_is_no_setting(kind, keywords, expected):
    """A misspelt keyword is refused, with the setting that was probably meant."""
    with pytest.raises(ValidationError) as caught:
        kind(**keywords)
    assert expected == [f"{one['loc'][0]}: {one['msg']}" for one in caught.value.errors()]


def test_a_keyword_may_be_a_name_or_an_alias(monkeypatch):
    """A setting with another variable can be given in code by its own name, too."""
    monkeypatch.setenv("ACCESS", "variable")
    assert ["variable", "name", "alias"] == [
        settings.token for settings in (ShopSettings(), ShopSettings(token="name"), ShopSettings(ACCESS="alias"))
    ]


def test_a_subclass_that_takes_more():
    """A type that allows further values gets them."""

    class Open(Settings):
        model_config = SettingsConfigDict(extra="allow")

    assert 1 == Open(other=1).other


def test_texts_of_code_are_read_as_those_of_variables():
    """A list may be a text, and a word means None."""
    settings = ShopSettings(port="none", names="a, b", title="")
    assert (None, ("a", "b"), "") == (settings.port, settings.names, settings.title)


def test_settings_that_code_makes_know_the_env_file(monkeypatch, tmp_path):
    """Code that makes settings by hand reads the same variables as the kernel does."""
    path = tmp_path / "shop.env"
    path.write_text("SHOP_TITLE=file\nSHOP_PORT=81\n", encoding="utf-8")
    monkeypatch.setenv("BANDMASTER_ENV_FILE", str(path))
    monkeypatch.setenv("SHOP_PORT", "82")
    assert ("file", 82) == (ShopSettings().title, ShopSettings().port)


def test_the_variable_of_a_setting():
    """Errors name settings by their variables."""
    assert ("SHOP_PORT", "ACCESS") == (ShopSettings.variable("port"), ShopSettings.variable("token"))
