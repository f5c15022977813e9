"""A command line among distributions of the test's own, in a directory of the test's own."""

from __future__ import annotations

import base64
import hashlib
import importlib
import logging
import os
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.logged import HandlersWithoutPytest
from typer.testing import CliRunner

from bandmaster.kernel.cli.program import program
from bandmaster.kernel.discovery import metadata as distributions

DATA = """
from collections.abc import AsyncIterator
from pydantic import Field, PostgresDsn, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from bandmaster.kernel import (
    ErrorHandlerContribution, LifespanBand, MiddlewareBand, RouteContribution, lifespan, middleware
)

class DataSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ACME_")
    url: PostgresDsn = Field(description="Where the database is.")
    password: SecretStr = Field(SecretStr("hunter1"), description="Its password.")
    pool_size: int = Field(10, ge=1, description="Connections that are kept open.")

class Database: ...
class Cache: ...
class Broker: ...

def held(settings):
    return {"postgres": settings.pool_size, "threads": 4}

@lifespan(band=LifespanBand.PERSISTENCE, start_timeout=10, stop_timeout=5, budget=held)
async def database(settings: DataSettings) -> AsyncIterator[Database]:
    '''The pool of connections.'''
    yield Database()

@lifespan(band=LifespanBand.PERSISTENCE, after=["database"])
async def cache() -> AsyncIterator[Cache]:
    yield Cache()

@lifespan(band=LifespanBand.SERVICES, stop_timeout=2.5, budget={"postgres": 5})
async def jobs(database: Database, cache: Cache | None) -> AsyncIterator[Broker]:
    yield Broker()

@lifespan(band=LifespanBand.SERVICES, roles={"worker"})
async def reports(broker: Broker) -> AsyncIterator[None]:
    yield

@middleware(band=MiddlewareBand.OUTERMOST)
class Trace:
    def on_request(self, exchange): ...

@middleware(band=MiddlewareBand.SECURITY, scopes=["http"])
class Access:
    def __init__(self, app, database: Database, realm: str = "shop"):
        self.app = app
    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

async def home(request: Request):
    return PlainTextResponse("home")

orders = RouteContribution(name="orders", routes=[Route("/", home)], prefix="/orders", tags=["shop"])

class Conflict(Exception): ...

conflict = ErrorHandlerContribution(name="conflict", exception=Conflict, handler=home)
gone = ErrorHandlerContribution(name="gone", exception=410, handler=home)
"""
DATA_ENTRY_POINTS = """
[bandmaster.lifespan]
database = acme_data:database
cache = acme_data:cache
jobs = acme_data:jobs
reports = acme_data:reports
[bandmaster.middleware]
access = acme_data:Access
trace = acme_data:Trace
[bandmaster.routes]
orders = acme_data:orders
[bandmaster.error_handlers]
conflict = acme_data:conflict
gone = acme_data:gone
"""
URL = "postgresql://shop:hunter2@db/shop"


@dataclass
class Sandbox:
    """The directories in which a test installs distributions, writes applications, and runs commands."""

    site: Path
    work: Path
    monkeypatch: pytest.MonkeyPatch

    def install(self, name: str, entry_points: str, version: str = "1.2", *, record: bool = True, **modules: str):
        """Install a distribution with the files that pip would write."""
        files = {f"{module}.py": textwrap.dedent(text) for module, text in modules.items()}
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files[f"{info}/entry_points.txt"] = textwrap.dedent(entry_points)
        if record:
            hashes = [f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items()]
            files[f"{info}/RECORD"] = "".join([*hashes, f"{info}/RECORD,,\n"])
        for path, text in files.items():
            (self.site / path).parent.mkdir(exist_ok=True)
            (self.site / path).write_text(text)
        importlib.invalidate_caches()
        return self.site / info

    def install_data(self, url: str | None = URL):
        """Install the distribution that most tests use."""
        self.install("acme-data", DATA_ENTRY_POINTS, acme_data=DATA)
        if url is not None:
            self.setenv(ACME_URL=url)

    def write(self, path: str, text: str) -> None:
        """Write a file in the working directory."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    def setenv(self, **variables: str) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def run(self, *args: str, terminal: bool = False):
        """Run one command and return the result; on a terminal of 80 columns if asked to."""
        env = {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"} if terminal else {}
        return CliRunner().invoke(program(), args, prog_name="bandmaster", env=env, catch_exceptions=False)

    def out(self, *args: str) -> str:
        """Run a command that succeeds, and return its output."""
        result = self.run(*args)
        assert (0, "") == (result.exit_code, result.stderr)
        return result.stdout

    def error(self, *args: str) -> tuple[int, str]:
        """Run a command that fails, and return the exit code and the error."""
        result = self.run(*args)
        assert result.stdout == ""
        return result.exit_code, result.stderr


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class _SandboxPath:
    """``sys`` for discovery, without the distributions that are installed around the tests."""

    meta_path = ()

    def __init__(self, around: list[str]) -> None:
        self._around = set(around)

    @property
    def path(self) -> list[str]:
        return [entry for entry in sys.path if entry not in self._around]


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site, work = tmp_path / "site", tmp_path / "work"
    # bandmaster itself is installed; without any metadata on the path there is a warning.
    (site / "bandmaster-0.1.dist-info").mkdir(parents=True)
    (site / "bandmaster-0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bandmaster\nVersion: 0.1\n"
    )
    work.mkdir()
    for variable in list(os.environ):
        if variable.startswith(("BANDMASTER_", "ACME_", "FORCE_", "NO_COLOR")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(distributions, "sys", _SandboxPath(sys.path))
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.chdir(work)
    # `timeline --start` logs to stderr.
    monkeypatch.setattr(logging.getLogger(), "handlers", HandlersWithoutPytest())
    before = set(sys.modules)
    yield Sandbox(site, work, monkeypatch)
    for name, module in list(sys.modules.items()):
        if name not in before and str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()
