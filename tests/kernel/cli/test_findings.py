"""Tests of bandmaster.kernel.cli.findings, by the command that prints them."""

import json
import socket

import pytest

ROLES = """
from collections.abc import AsyncIterator, Iterator
from pydantic_settings import BaseSettings, SettingsConfigDict
from bandmaster.kernel import EventLoop, KernelSettings, LifespanBand, Plan, Problem, create_app, lifespan

class QueueSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="QUEUE_")
    url: str = ""
    echo: bool = False

class Pump: ...

def judge(settings: QueueSettings, kernel: KernelSettings, plan: Plan, loop: EventLoop) -> Iterator[Problem | str]:
    if loop is EventLoop.TRIO:
        yield Problem("asyncio only.")
    if settings.echo:
        yield from kernel.refuse_in_production("QUEUE_ECHO prints everything", "Unset it.")
    if plan.role == "pump" and not settings.url:
        yield Problem("QUEUE_URL isn't set, so there is nothing to pump.", role_unavailable=True)
    if plan.role == "pump" and settings.url == "bad":
        yield Problem("QUEUE_URL is bad.")
        yield "QUEUE_URL smells"

@lifespan(band=LifespanBand.SERVICES, check=judge)
async def queue(settings: QueueSettings) -> AsyncIterator[Pump]:
    yield Pump()

@lifespan(band=LifespanBand.SERVICES, roles={"pump"})
async def pump(pump: Pump) -> AsyncIterator[None]:
    yield
"""
SHOP = f"""{ROLES}
def app():
    return create_app(discover=False, contributions=[queue, pump])
"""
OK = "ok: shop:app fits together (1 component, no layers)\n"
NOTE = "note: the role pump has no use here: lifespan 'queue' (SERVICES, in code, shop:queue): QUEUE_URL isn't set, so "


@pytest.fixture
def shop(sandbox):
    sandbox.write("shop.py", SHOP)
    for name in ("QUEUE_URL", "QUEUE_ECHO"):
        sandbox.monkeypatch.delenv(name, raising=False)
    return sandbox


def test_a_role_that_the_environment_has_no_use_for(shop):
    """The role is a note, and a problem if somebody asks for that role."""
    assert f"{OK}{NOTE}there is nothing to pump.\n" == shop.out("check", "shop:app", "--strict")
    told = json.loads(shop.out("check", "shop:app", "--format", "json"))
    assert (True, 1) == (told["ok"], len(told["notes"]))
    code, said = shop.error("check", "shop:app", "--role", "pump")
    assert (1, True) == (code, "QUEUE_URL isn't set" in said)


def test_every_role_is_judged(shop):
    """A problem of another role names the role, and so does a warning."""
    shop.setenv(QUEUE_URL="bad")
    code, said = shop.error("check", "shop:app")
    where = "lifespan 'queue' (SERVICES, in code, shop:queue)"
    assert (1, f"warning: role pump: {where}: QUEUE_URL smells\n1 problem in the plan:\n") == (
        code,
        said.partition("  - ")[0],
    )
    assert said.endswith(f"  - role pump: {where}: QUEUE_URL is bad.\n")
    shop.setenv(QUEUE_URL="good")
    assert OK == shop.out("check", "shop:app")


def test_a_role_that_cannot_be_planned(shop):
    """The problems of a role's plan are problems, too."""
    shop.write("shop.py", f"{ROLES}\ndef app():\n    return create_app(discover=False, contributions=[pump])\n")
    code, said = shop.error("check", "shop:app")
    assert (1, True) == (code, "  - role pump: lifespan 'pump' (SERVICES, in code, shop:pump) needs a Pump" in said)


@pytest.mark.requirement("FA-11")
@pytest.mark.parametrize(
    ("environment", "code", "expected"),
    [
        ("development", 0, ""),
        ("test", 0, ""),
        ("staging", 0, "QUEUE_ECHO prints everything, which production refuses. Unset it.\n"),
        ("production", 1, "QUEUE_ECHO prints everything, which is refused in production. Unset it.\n"),
    ],
)
def test_what_production_refuses(shop, environment, code, expected):
    """Production refuses, staging warns, other environments say nothing."""
    shop.setenv(QUEUE_ECHO="1", BANDMASTER_ENVIRONMENT=environment, QUEUE_URL="x")
    result = shop.run("check", "shop:app")
    assert (code, True) == (result.exit_code, result.stderr.endswith(expected))
    assert bool(expected) == bool(result.stderr)
    assert (1 if expected else 0) == shop.run("check", "shop:app", "--strict").exit_code


@pytest.mark.parametrize(
    ("environment", "near"), [("prd", "production"), ("prodution", "production"), ("stagng", "staging"), ("qa", None)]
)
def test_an_unknown_environment(shop, environment, near):
    """The plan warns of an unknown environment, since a misspelt production refuses nothing."""
    shop.setenv(BANDMASTER_ENVIRONMENT=environment, QUEUE_URL="x")
    hint = f" Did you mean {near!r}?" if near else ""
    expected = (
        f"BANDMASTER_ENVIRONMENT is {environment!r}, which is none of 'development', 'test', 'staging' and "
        f"'production'; nothing is refused there as it is in production.{hint}\n"
    )
    assert f"warning: {expected}" == shop.run("check", "shop:app").stderr
    assert expected.strip() in " ".join(shop.run("plan", "shop:app").stdout.split())


def test_debug_in_staging(shop):
    """Production refuses debug, so staging warns of debug."""
    shop.setenv(BANDMASTER_ENVIRONMENT="staging", BANDMASTER_DEBUG="1", QUEUE_URL="x")
    assert "warning: BANDMASTER_DEBUG is on, which production refuses.\n" == shop.run("check", "shop:app").stderr


@pytest.mark.parametrize("environment", ["dev", "Local", "testing", "CI", "stage", "Staging", "prod", "PRODUCTION"])
def test_short_names_of_environments(shop, environment):
    """The usual short names are known, in capitals as well."""
    shop.setenv(BANDMASTER_ENVIRONMENT=environment, QUEUE_URL="x")
    assert OK == shop.out("check", "shop:app")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BANDMASTER_SERVER_PORT": "abc"}, "BANDMASTER_SERVER_PORT is wrong (ServerSettings): Input should be"),
        ({"BANDMASTER_SERVER_FD": "x"}, "BANDMASTER_SERVER_FD is wrong (ServerSettings): Input should be"),
        ({"BANDMASTER_SERVER_LOOP": "trio"}, "ServerSettings is wrong: BANDMASTER_SERVER_LOOP: uvicorn doesn't run"),
        (
            {"BANDMASTER_SERVER_LOOP": "trio", "BANDMASTER_SERVER_SERVER": "hypercorn"},
            "lifespan 'queue' (SERVICES, in code, shop:queue): asyncio only.",
        ),
    ],
)
def test_the_launcher_s_settings(shop, variables, expected):
    """Launcher settings that `run` refuses are refused for every role."""
    shop.setenv(QUEUE_URL="x", **variables)
    code, said = shop.error("check", "shop:app")
    assert (1, f"1 problem in the plan:\n  - {expected}") == (code, said[: len(expected) + 27])


def test_a_server_that_is_not_installed(shop, monkeypatch):
    """The server is looked for, as `run` does."""
    from bandmaster.kernel.process.servers import interface

    monkeypatch.setattr(interface.importlib.util, "find_spec", lambda name: None)
    shop.setenv(QUEUE_URL="x")
    code, said = shop.error("check", "shop:app")
    assert (1, True) == (code, "  - uvicorn isn't installed: " in said)


def test_a_role_without_a_server(shop):
    """A role that serves no requests needs neither a server nor an address."""
    shop.setenv(QUEUE_URL="x", BANDMASTER_SERVER_UDS="/nowhere/shop.sock")
    assert "ok: shop:app" in shop.out("check", "shop:app", "--role", "pump")


def test_all_problems_at_once(sandbox):
    """A plan that can't be made doesn't hide the launcher's problems and misspelt variables."""
    sandbox.install_data(url=None)
    sandbox.setenv(BANDMASTER_SERVER_PORT="abc", ACME_ULR="postgresql://here")
    code, said = sandbox.error("check")
    assert (1, True) == (
        code,
        said.startswith("warning: ACME_ULR is set, and nothing reads it. Did you mean 'ACME_URL'?\n"),
    )
    assert ["ACME_URL", "BANDMASTER_SERVER_PORT"] == [
        line.split()[1] for line in said.splitlines() if line.startswith("  - ")
    ]
    told = json.loads(sandbox.run("check", "--format", "json").stdout)
    assert (False, 2) == (told["ok"], len(told["problems"]))


@pytest.mark.requirement("FA-10")
def test_variables_that_nothing_reads(sandbox):
    """`check` and `config` warn of misspelt variables; variables of other roles are read by those roles."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_DRAIN_DELEY="1")
    warning = "warning: BANDMASTER_DRAIN_DELEY is set, and nothing reads it. Did you mean 'BANDMASTER_DRAIN_DELAY'?\n"
    result = sandbox.run("check")
    assert (0, warning) == (result.exit_code, result.stderr)
    assert (1, f"{warning}Warnings fail with --strict.\n") == sandbox.error("check", "--strict")
    for form in ("text", "env"):
        result = sandbox.run("config", "--format", form)
        assert (0, warning) == (result.exit_code, result.stderr)
    told = json.loads(sandbox.run("config", "--format", "json").stdout)
    assert [warning.removeprefix("warning: ").strip()] == told["warnings"]
    sandbox.setenv(BANDMASTER_OTHER_VARIABLES="BANDMASTER_DRAIN_DELEY")
    assert "ok: " in sandbox.out("check", "--strict")


CHECKS = """
from bandmaster.kernel import CheckContribution, Problem

def judge(application):
    yield Problem(f"{type(application.host).__name__} is wrong.", "Mend it.")
    yield "careful"

def fail(application):
    raise RuntimeError("no")

judged = CheckContribution(name="x", check=judge)
failed = CheckContribution(name="x", check=fail)
"""


def test_contributed_checks(sandbox):
    """Checks of installed distributions judge the application, also one that takes no installed parts."""
    sandbox.install(
        "acme-checks",
        "[bandmaster.checks]\njudged = acme_checks:judged\nfailed = acme_checks:failed\n",
        acme_checks=CHECKS,
    )
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = lambda: create_app(discover=False)\n")
    code, said = sandbox.error("check", "shop:app")
    assert (
        1,
        [
            "warning: careful",
            "2 problems in the plan:",
            "  - check 'failed' (acme-checks 1.2) failed: RuntimeError: no.",
            "  - Starlette is wrong. Mend it.",
        ],
    ) == (code, said.splitlines())
    sandbox.setenv(BANDMASTER_DISABLE="failed")
    told = json.loads(sandbox.run("check", "shop:app", "--format", "json").stdout)
    assert ["judged"] == [problem["subject"] for problem in told["problems"]]


def test_a_check_that_the_application_disables(sandbox):
    """Code may disable a check as any other part."""
    sandbox.install("acme-checks", "[bandmaster.checks]\njudged = acme_checks:judged\n", acme_checks=CHECKS)
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = lambda: create_app(disable={'judged'})\n")
    assert "ok: shop:app" in sandbox.out("check", "shop:app", "--strict")


def test_a_check_in_code(sandbox):
    """A check may be handed over like other parts."""
    sandbox.write(
        "shop.py",
        f"{CHECKS}\nfrom bandmaster.kernel import create_app\napp = lambda: create_app(contributions=[judged])\n",
    )
    assert (1, True) == ((result := sandbox.error("check", "shop:app"))[0], "Starlette is wrong" in result[1])


def test_a_check_that_cannot_be_loaded(sandbox):
    """A check that isn't one is a problem of the installed parts, as for other parts."""
    sandbox.install("acme-checks", "[bandmaster.checks]\nodd = acme_checks:odd\n", acme_checks="odd = 3\n")
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = lambda: create_app(discover=False)\n")
    for arguments in (["check"], ["check", "shop:app"]):
        code, said = sandbox.error(*arguments)
        assert (1, True) == (code, "check 'odd' (acme-checks 1.2) can't be loaded: acme_checks:odd is an int" in said)


def test_a_socket_in_a_directory_that_is_not_there(shop):
    """`run` could not listen there."""
    shop.setenv(QUEUE_URL="x", BANDMASTER_SERVER_UDS="/nowhere/shop.sock")
    code, said = shop.error("check", "shop:app")
    assert (1, True) == (code, "BANDMASTER_SERVER_UDS is /nowhere/shop.sock, whose directory doesn't exist" in said)


def test_a_path_where_no_socket_can_be_made(shop, tmp_path):
    """A directory and a file are refused, a link to nothing as well, and a socket that a killed process left isn't."""
    file, link, stale = tmp_path / "file", tmp_path / "link", tmp_path / "stale.sock"
    file.touch()
    link.symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(stale))
    is_file = "where a file is that is no socket. Choose another path."
    for path, expected in (
        (tmp_path, f"which is a directory. Set it to a path inside: {tmp_path / 'app.sock'}."),
        (file, is_file),
        (link, is_file),
    ):
        shop.setenv(QUEUE_URL="x", BANDMASTER_SERVER_UDS=str(path))
        code, said = shop.error("check", "shop:app")
        assert (1, True) == (code, f"BANDMASTER_SERVER_UDS is {path}, {expected}" in said)
    shop.setenv(BANDMASTER_SERVER_UDS=str(stale))
    assert 0 == shop.run("check", "shop:app").exit_code


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("UDS", "/tmp/" + "a" * 200, "the path has 205 bytes"),
        ("TRUSTED_PROXIES", "10.0.0.1,nope", "BANDMASTER_SERVER_TRUSTED_PROXIES: 'nope' is neither an address"),
        ("HOST", "300.1.1.1", "expected an address or a name; this is neither"),
    ],
)
def test_server_settings_that_the_launcher_refuses(shop, variable, value, expected):
    """The check refuses a value that no run could use, and names the variable."""
    shop.setenv(QUEUE_URL="x", **{f"BANDMASTER_SERVER_{variable}": value})
    code, said = shop.error("check", "shop:app")
    assert (1, True, True) == (code, f"BANDMASTER_SERVER_{variable}" in said, expected in said)


IDLE = """
from collections.abc import AsyncIterator
from bandmaster.kernel import LifespanBand, MiddlewareBand, Settings, create_app, lifespan, middleware

class SwitchSettings(Settings):
    model_config = {"env_prefix": "SWITCH_"}
    on: bool = False
    size: int = 1

class CacheSettings(Settings):
    model_config = {"env_prefix": "CACHE_"}
    url: str = ""
    size: int = 1

class SharedSettings(Settings):
    model_config = {"env_prefix": "SHARED_"}
    size: int = 1

def is_on(settings: SwitchSettings) -> bool:
    return settings.on

@lifespan(band=LifespanBand.SERVICES, when=is_on)
async def cache(settings: CacheSettings, switch: SwitchSettings, shared: SharedSettings) -> AsyncIterator[None]:
    yield

@middleware(band=MiddlewareBand.POLICY, when=is_on)
class Cached:
    def __init__(self, app, settings: CacheSettings) -> None: ...

    async def __call__(self, scope, receive, send) -> None: ...

@lifespan(band=LifespanBand.SERVICES)
async def shelf(settings: SharedSettings) -> AsyncIterator[None]:
    yield

def app():
    return create_app(discover=False, contributions=[cache, Cached, shelf])
"""


def test_variables_of_parts_that_are_left_out(sandbox):
    """They have no effect, unless a part of the plan, or a condition, reads them as well."""
    sandbox.write("idle.py", IDLE)
    sandbox.setenv(CACHE_URL="x", CACHE_SIZE="5", SHARED_SIZE="5", SWITCH_SIZE="5")
    told = json.loads(sandbox.out("check", "idle:app", "--format", "json"))
    (warning,) = told["warnings"]
    assert warning.startswith("CACHE_SIZE and CACHE_URL are set without effect: lifespan 'cache' (SERVICES, in code")
    assert "is left out, since its when= says no to SwitchSettings; layer 'Cached' (POLICY, in code" in warning
    sandbox.setenv(SWITCH_ON="true")
    assert [] == json.loads(sandbox.out("check", "idle:app", "--format", "json"))["warnings"]
    sandbox.setenv(SWITCH_ON="false", BANDMASTER_OTHER_VARIABLES="CACHE_*")
    assert [] == json.loads(sandbox.out("check", "idle:app", "--format", "json"))["warnings"]
