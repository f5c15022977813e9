"""Tests of bandmaster.kernel.cli.commands.config."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Optional

import pytest
from dotenv import dotenv_values

from bandmaster.kernel.cli.known_settings import find_readers, list_own_settings
from bandmaster.kernel.cli.views.config_view import Group, Shown, render_env_lines, render_kind
from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.model import LifespanContribution
from bandmaster.kernel.settings.display import Setting, describe_settings


@pytest.mark.requirement("FA-10", "XC-C1")
def test_every_setting_for_people(sandbox):
    """A setting has variable, value, type, description, and the default if the value differs; secrets are masked."""
    sandbox.install_data()
    sandbox.setenv(
        ACME_POOL_SIZE="20", BANDMASTER_DRAIN_TIMEOUT="5", BANDMASTER_OVER_BUDGET="warn", BANDMASTER_TITLE="Shop"
    )
    shown = sandbox.out("config")
    assert "  BANDMASTER_TITLE = Shop  (str or unset, empty by default)\n" in shown
    assert "  BANDMASTER_OVER_BUDGET = warn  (refuse | warn, default refuse)\n" in shown
    assert (
        """
DataSettings  read by database (acme-data 1.2)
  ACME_URL = postgresql://shop:**********@db/shop  (PostgresDsn, required)
    Where the database is.
  ACME_PASSWORD = **********  (SecretStr)
    Its password.
  ACME_POOL_SIZE = 20  (int, default 10)
    Connections that are kept open.
"""
        in shown
    )
    assert shown.startswith("""\
KernelSettings  bandmaster
  BANDMASTER_ENVIRONMENT = development  (str)
    The environment of the process: development, test, staging or production. Production refuses debug aids and \
embedded stand-ins; staging warns of what production would refuse.
""")
    assert "  BANDMASTER_START_TIMEOUT = 30.0  (float)\n" in shown
    assert "  BANDMASTER_DRAIN_TIMEOUT = 5.0  (float, default 10)\n" in shown
    assert "  BANDMASTER_PLUGINS = auto  (auto | allowlist | locked)\n" in shown
    assert "  BANDMASTER_SERVER_PORT = 8000  (int)\n" in shown


@pytest.mark.requirement("FA-10", "XC-C1")
def test_the_kernel_describes_all_its_settings(sandbox):
    """Every setting has a variable with the kernel's prefix, a type and a description."""
    settings = [setting for kind in list_own_settings() for setting in describe_settings(kind)]
    assert [] == [setting for setting in settings if not (setting.description and setting.kind)]
    assert ["NOTIFY_SOCKET"] == [s.variable for s in settings if not s.variable.startswith("BANDMASTER_")]
    assert len(settings) == len({setting.variable for setting in settings})


@pytest.mark.requirement("FA-10")
def test_a_missing_setting(sandbox):
    """All settings are printed while a required one is missing, with the problem at that setting."""
    sandbox.install_data(url=None)
    sandbox.setenv(ACME_POOL_SIZE="many")
    result = sandbox.run("config")
    assert 1 == result.exit_code
    assert result.stdout.endswith("""
DataSettings  read by database (acme-data 1.2)
  ACME_URL = (not set)  (PostgresDsn, required)
    ! ACME_URL is not set (DataSettings needs it).
    Where the database is.
  ACME_PASSWORD  (SecretStr, default **********)
    Its password.
  ACME_POOL_SIZE  (int, default 10)
    ! ACME_POOL_SIZE is wrong (DataSettings): Input should be a valid integer, unable to parse string as an integer.
    Connections that are kept open.
""")
    assert "BANDMASTER_START_TIMEOUT = 30.0  (float)" in result.stdout
    assert result.stderr.startswith("\n2 problems in the plan:\n  - ACME_URL is not set")


def test_invalid_settings_of_the_kernel(sandbox):
    """An invalid setting of the kernel is marked, and so is a combination of settings that isn't allowed."""
    sandbox.setenv(BANDMASTER_DRAIN_TIMEOUT="60")
    result = sandbox.run("config")
    assert (1, True) == (result.exit_code, "BANDMASTER_DRAIN_TIMEOUT  (float, default 10)\n" in result.stdout)
    assert result.stdout.startswith("""\
KernelSettings  bandmaster
  ! KernelSettings is wrong: BANDMASTER_DRAIN_DELAY + BANDMASTER_DRAIN_TIMEOUT = 60 s leaves nothing of \
BANDMASTER_TERMINATION_GRACE = 30 s for the stop; raise the grace (and the platform's), or drain for less long.
  BANDMASTER_ENVIRONMENT  (str, default development)
""")


def test_a_target_that_fails_for_its_own_settings(sandbox):
    """Settings types that only a failed target composes are found by the names in its problems."""
    sandbox.write(
        "shop.py",
        """
        from collections.abc import AsyncIterator
        from pydantic import Field
        from pydantic_settings import BaseSettings, SettingsConfigDict
        from bandmaster.kernel import LifespanBand, create_app, lifespan
        class ShopSettings(BaseSettings):
            model_config = SettingsConfigDict(env_prefix="SHOP_")
            name: str = Field(description="What it is called.")
        @lifespan(band=LifespanBand.APPLICATION)
        async def shop(settings: ShopSettings) -> AsyncIterator[None]:
            yield
        app = create_app(contributions=[shop])
        """,
    )
    result = sandbox.run("config", "shop:app")
    assert result.stdout.endswith("""
ShopSettings  read by the app
  SHOP_NAME = (not set)  (str, required)
    ! SHOP_NAME is not set (ShopSettings needs it).
    What it is called.
""")
    sandbox.setenv(SHOP_NAME="Corner")
    assert "ShopSettings  read by shop (in code, shop:shop)\n  SHOP_NAME = Corner  (str, required)\n" in sandbox.out(
        "config", "shop:app"
    )


def test_parts_that_cannot_be_loaded(sandbox):
    """The settings of the other parts are listed, and the error follows."""
    sandbox.install_data()
    sandbox.install("acme-bad", "[bandmaster.lifespan]\nbad = acme_bad:bad\n", acme_bad="import reddis\n")
    result = sandbox.run("config")
    assert (1, True) == (result.exit_code, "  ACME_POOL_SIZE = 10  (int)\n" in result.stdout)
    assert "lifespan 'bad' (acme-bad 1.2) can't be loaded" in result.stderr


def test_settings_of_layers_and_of_other_roles(sandbox):
    """Settings are listed for parts of every role; options of a layer are no settings."""
    sandbox.install(
        "acme-more",
        "[bandmaster.lifespan]\nmore = acme_more:more\n[bandmaster.middleware]\nlayer = acme_more:Layer\nhook = "
        "acme_more:Hook\n",
        acme_more="""
        from collections.abc import AsyncIterator
        from pydantic_settings import BaseSettings
        from bandmaster.kernel import LifespanBand, MiddlewareBand, lifespan, middleware
        class MoreSettings(BaseSettings):
            more: int = 1
        class LayerSettings(BaseSettings):
            layer: int = 1
        class HookSettings(BaseSettings):
            hook: int = 1
        @lifespan(band=LifespanBand.SERVICES, roles=["worker"])
        async def more(settings: MoreSettings) -> AsyncIterator[None]:
            yield
        @middleware(band=MiddlewareBand.POLICY, options={"size": 3})
        class Layer:
            def __init__(self, inner, size, settings: LayerSettings): ...
            async def __call__(self, scope, receive, send): ...
        Layer = middleware(band=MiddlewareBand.POLICY, options={"size": 3})(type("L", (), {
            "__init__": lambda self, app, size, settings: None, "__call__": Layer.layer.__call__}))
        @middleware(band=MiddlewareBand.POLICY)
        class Hook:
            def __init__(self, settings: HookSettings): ...
            def on_end(self, exchange): ...
        """,
    )
    shown = sandbox.run("config").stdout
    assert "HookSettings  read by hook (acme-more 1.2)\n  HOOK = 1  (int)\n" in shown
    assert "MoreSettings  read by more (acme-more 1.2)\n  MORE = 1  (int)\n" in shown


def test_a_signature_that_cannot_be_read():
    """A signature that can't be read doesn't hide the settings of the other parts."""

    def factory(what): ...

    assert {} == find_readers([LifespanContribution(name="x", factory=factory, band=LifespanBand.SERVICES)])


def test_for_programs(sandbox):
    """The JSON has the same settings as the text."""
    sandbox.install_data()
    told = json.loads(sandbox.out("config", "--format", "json"))
    assert (1, True, []) == (told["format"], told["ok"], told["problems"])
    data = told["groups"][-1]
    assert ("DataSettings", "read by database (acme-data 1.2)") == (data["type"], data["read_by"])
    assert {
        "variable": "ACME_URL",
        "type": "PostgresDsn",
        "description": "Where the database is.",
        "required": True,
        "default": None,
        "secret": False,
        "value": "postgresql://shop:**********@db/shop",
        "problem": None,
    } == data["settings"][0]
    sandbox.monkeypatch.delenv("ACME_URL")
    result = sandbox.run("config", "--format", "json")
    told = json.loads(result.stdout)
    assert (1, "", False) == (result.exit_code, result.stderr, told["ok"])
    assert "ACME_URL is not set (DataSettings needs it)." == told["groups"][-1]["settings"][0]["problem"]


TWO_READERS = """\
from collections.abc import AsyncIterator
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from bandmaster.kernel import LifespanBand, create_app, lifespan

class Careful(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")
    signature: SecretStr = SecretStr("")

class Careless(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")
    signature: str = "hunter1"
    code: int = 1012

@lifespan(band=LifespanBand.SERVICES)
async def one(settings: Careful) -> AsyncIterator[None]:
    yield

@lifespan(band=LifespanBand.SERVICES)
async def other(settings: Careless) -> AsyncIterator[None]:
    yield

app = create_app(discover=False, contributions=[one, other])
"""


@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize("form", ["text", "json", "env"])
def test_a_variable_that_one_of_two_types_keeps_secret(sandbox, form):
    """A variable that one type declares secret is masked for the type that reads it as plain text, too."""
    sandbox.write("shop.py", TWO_READERS)
    sandbox.setenv(SHOP_SIGNATURE="hunter2")
    output = sandbox.run("config", "shop:app", "--format", form).output
    assert "hunter" not in output
    assert "1012" in output
    assert "SHOP_SIGNATURE" in output


def test_an_example_of_an_env_file(sandbox):
    """The file has required settings first, then the others as comments, and no present secret."""
    sandbox.install_data(url=None)
    sandbox.setenv(ACME_PASSWORD="hunter2", ACME_POOL_SIZE="20")
    text = sandbox.run("config", "--format", "env").stdout
    assert text.startswith("""\
# Settings of this application. Copy to .env, fill in, and keep it out of version control.

# -- required ------------------------------------------------------------

# Where the database is.
# PostgresDsn
ACME_URL=

# -- KernelSettings: bandmaster """)
    assert text.endswith("""
# -- DataSettings: read by database (acme-data 1.2) ----------------------

# Its password.
# SecretStr, secret
#ACME_PASSWORD=

# Connections that are kept open.
# int
#ACME_POOL_SIZE=10
""")
    assert "" == sandbox.run("config", "--format", "env").stderr


def test_an_env_file_of_an_incomplete_list(sandbox):
    """If the target can't be planned, a note says that settings may be missing; if parts can't be loaded, it fails."""
    sandbox.install_data(url=None)
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = create_app()\n")
    result = sandbox.run("config", "shop:app", "--format", "env")
    assert (
        0,
        "shop:app can't be planned with the present settings; settings of its own parts may be missing here.\n",
    ) == (
        result.exit_code,
        result.stderr,
    )
    sandbox.install("acme-bad", "[bandmaster.lifespan]\nbad = acme_bad:bad\n", acme_bad="import reddis\n")
    result = sandbox.run("config", "--format", "env")
    assert (1, True, True) == (result.exit_code, "ACME_URL=\n" in result.stdout, "can't be loaded" in result.stderr)


def test_the_env_file_holds_the_defaults(sandbox):
    """With every line uncommented, the settings are the same as without the file."""
    sandbox.install_data()
    lines = sandbox.out("config", "--format", "env").splitlines()
    used = "\n".join(line.removeprefix("#") for line in lines if line.startswith("#") and line[1:2] not in (" ", ""))
    read = dotenv_values(stream=io.StringIO(used))
    described = {s.variable: s.default for kind in list_own_settings() for s in describe_settings(kind)}
    assert described == {name: value for name, value in read.items() if name in described}


@pytest.mark.parametrize(
    "value", ["", "a b", "a # b", "it's", 'say "hi"', 'it\'s "both"', "back\\slash", '{"a": 1}', "$x"]
)
def test_values_in_an_env_file_are_quoted(value):
    """Every default is read back from the file as the same value."""
    shown = Shown(Setting("NAME", "str", "", required=False, default=value, secret=False), value)
    (line,) = [line for line in render_env_lines([Group("S", "x", (shown,))]) if line.startswith("#NAME")]
    assert value == dotenv_values(stream=io.StringIO(line[1:]), interpolate=False)["NAME"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, "int"),
        (Path, "Path"),
        (Optional[Annotated[int, "x"]], "int or unset"),  # noqa: UP045
        (int | str, "int or str"),
        (Literal["a", 1], "a | 1"),
        (frozenset[str], "list of str"),
        (Mapping[str, int], "JSON object of int"),
        (type[int], "type[int]"),
    ],
)
def test_types_in_plain_words(annotation, expected):
    """A type is rendered without the jargon of typing."""
    assert expected == render_kind(annotation)


@pytest.mark.requirement("AU-17")
@pytest.mark.parametrize("command", ["plan", "check", "config", "plugins", "lock", "timeline --start"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_command_shows_a_secret(sandbox, command, form):
    """No command shows a secret or the password of a URL, in any format, with or without an error."""
    sandbox.install_data(url="postgresql://shop:hunter2@db/shop")
    sandbox.setenv(ACME_PASSWORD="hunter3")
    result = sandbox.run(*command.split(), "--format", form)
    assert 0 == result.exit_code
    sandbox.setenv(ACME_URL="hunter2://hunter2:hunter2@db", ACME_POOL_SIZE="hunter2")
    failed = sandbox.run(*command.split(), "--format", form, "--traceback")
    for output in (result.output, failed.output):
        assert "hunter" not in output
