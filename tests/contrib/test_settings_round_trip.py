"""Print every setting of every installed part as a variable, and read the variable back."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings

from bandmaster.kernel.cli.known_settings import find_readers, list_own_settings
from bandmaster.kernel.cli.views.config_view import Group, Shown, render_env_lines
from bandmaster.kernel.discovery.discover import discover
from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.display import Setting, describe_settings, read_value
from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.reading import read_settings
from bandmaster.kernel.settings.texts import list_alternatives

KINDS = sorted({*list_own_settings(), *find_readers(discover().contributions)}, key=lambda kind: kind.__name__)
SETTINGS = [(kind, setting) for kind in KINDS for setting in describe_settings(kind)]

# The environment has no NUL, and files in UTF-8 have no lone surrogates.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TYPICAL = st.sampled_from(
    [
        "",
        "*",
        "a,b",
        '["a"]',
        "it's",
        "${HOME}",
        "a # b",
        "back\\",
        "none",
        "[::1]",
        "shop.example",
        "https://a.example",
        "ES256,RS256",
    ]
)
NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
"""Names of parts."""
URLS = st.sampled_from(
    ["sqlite:///a.db", "postgresql://shop@db/shop", "redis://127.0.0.1:6379/2", "unix:///run/redis.sock?db=3"]
)


@pytest.mark.requirement("FA-10", "XC-C1")
def test_the_settings_of_every_part_are_here() -> None:
    """The kernel, the launcher, the contribs and the examples have settings."""
    assert {
        "AuditSettings",
        "AuthRedisSettings",
        "AuthSettings",
        "BoxOfficeSettings",
        "DatabaseSettings",
        "EnvFileSettings",
        "KernelSettings",
        "LogSettings",
        "MetricsSettings",
        "OutboxSettings",
        "RateLimitSettings",
        "RedisSettings",
        "SentrySettings",
        "ServerSettings",
        "SessionSettings",
        "TaskIQSettings",
        "TokenStoreSettings",
        "TracingSettings",
        "WebSettings",
    } <= {kind.__name__ for kind in KINDS}


@pytest.mark.requirement("FA-10", "XC-C1")
@pytest.mark.parametrize(("kind", "setting"), SETTINGS, ids=[setting.variable for _, setting in SETTINGS])
# An example that the settings refuse counts as well: a search for accepted ones took a thousand tries for a number.
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_value_that_is_printed_is_read_back(
    kind: type[BaseSettings], setting: Setting, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The text that `bandmaster config` prints for a value means that value, in the environment and in a file."""
    values = make_values(setting.annotation)
    if setting.is_named_values:
        values = st.dictionaries(NAMES, make_values(get_args(setting.annotation)[1]), max_size=3)
    drawn = data.draw(values | TYPICAL | URLS)
    with unset_variables(kind):
        try:
            given_in_code = kind(**{setting.path[0]: drawn})
        except ValidationError:
            return
        text = read_value(given_in_code, setting.path)
        if MASK in text or "\0" in text:
            return
        expected = getattr(given_in_code, setting.path[0])
        is_nothing = not text.strip() or text.strip().lower() == "none"
        if expected is not None and is_nothing and setting.empty_is_unset:
            return  # code alone can give a path of blanks there, or a file that is named none
        assert expected == read(kind, setting, {setting.variable: text})
        if setting.secret and text:
            return  # no file is printed with the value of a secret, whether the text itself is masked or not
        path = tmp_path_factory.getbasetemp() / "printed.env"
        path.write_text(f"{print_line(setting, text)}\n", encoding="utf-8", newline="")
        assert expected == read(kind, setting, {}, path)


@pytest.mark.requirement("FA-10", "XC-C1")
@pytest.mark.parametrize(("kind", "setting"), SETTINGS, ids=[setting.variable for _, setting in SETTINGS])
def test_the_line_of_a_default_means_the_default(kind: type[BaseSettings], setting: Setting, tmp_path: Path) -> None:
    """The line of `bandmaster config --format env`, uncommented, is accepted and changes nothing."""
    if not setting.shows_default and not setting.empty_is_unset:
        assert print_line(setting, setting.default).startswith("# ")
        return
    path = tmp_path / ".env"
    path.write_text(print_line(setting, setting.default), encoding="utf-8", newline="")
    with unset_variables(kind):
        expected = read(kind, setting, {})
        assert expected == read(kind, setting, {}, path)
        # As docker compose passes ${UNSET:-}.
        if setting.empty_is_unset:
            assert expected == read(kind, setting, {setting.variable: ""})


def print_line(setting: Setting, text: str) -> str:
    """The line of a file for a value, in place of the default."""
    described = Setting(
        setting.variable,
        setting.kind,
        "",
        required=False,
        default=text,
        secret=setting.secret,
        empty_is_unset=setting.empty_is_unset,
    )
    whole = "\n".join(render_env_lines([Group("S", "x", (Shown(described, text),))]))
    line = whole.rpartition(f"#{setting.variable}=")
    return f"{setting.variable}={line[2]}" if line[1] else whole.splitlines()[-1]


def read(
    kind: type[BaseSettings], setting: Setting, variables: Mapping[str, str], env_file: Path | None = None
) -> object:
    with mock.patch.dict(os.environ, variables):
        values, problems = read_settings([kind], Environment(env_file))
    assert [] == problems
    return getattr(values[kind], setting.path[0])


def unset_variables(kind: type[BaseSettings]) -> AbstractContextManager[Any]:
    """An environment without the variables of a settings type."""
    names = {setting.variable for setting in describe_settings(kind)}
    return mock.patch.dict(os.environ, {k: v for k, v in os.environ.items() if k not in names}, clear=True)


def make_values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type, some of which a validator refuses."""
    return st.one_of(*(_make_plain(kind) for kind in list_alternatives(annotation)))


def _make_plain(kind: Any) -> st.SearchStrategy[Any]:
    made = get_origin(kind) or kind
    if kind is NoneType:
        return st.none()
    if made is Literal:
        return st.sampled_from(get_args(kind))
    if made is bool:
        return st.booleans()
    if made is int:
        return st.integers(0, 100_000)
    if made is float:
        return st.floats(0, 100_000) | st.floats(0, 1)
    if made is str:
        return TEXT
    if made is Path:
        return TEXT.map(Path)
    if made is SecretStr:
        return TEXT.map(SecretStr)
    if issubclass(made, BaseModel):
        return _make_model(made)
    if issubclass(made, Mapping):
        return st.dictionaries(TEXT | st.just("/a/*"), make_values(get_args(kind)[1]), max_size=3)
    assert issubclass(made, Collection), f"make values of {kind}"
    items = make_values(get_args(kind)[0]) | TYPICAL.filter(bool)
    return st.lists(items, max_size=3).map(tuple)


def _make_model(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    """A model's fields as a dictionary, which the settings type validates: the needed ones, and some of the others."""
    fields = {name: make_values(field.annotation) | TYPICAL for name, field in kind.model_fields.items()}
    needed = {name for name, field in kind.model_fields.items() if field.is_required()}
    return st.fixed_dictionaries(
        {name: values for name, values in fields.items() if name in needed},
        optional={name: values for name, values in fields.items() if name not in needed},
    )
