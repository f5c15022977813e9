"""Settings of the launcher: where to listen, with which server and event loop."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict, SettingsError

from bandmaster.kernel.errors import PlanError
from bandmaster.kernel.settings.base import Settings
from bandmaster.kernel.settings.environment import Environment, current_environment, use_environment
from bandmaster.kernel.settings.problems import describe_invalid, describe_unreadable

ServerName: TypeAlias = Literal["uvicorn", "hypercorn", "granian"]

# The settings that a server has no option for.
_UNSUPPORTED: dict[str, tuple[str, ...]] = {
    "uvicorn": (),
    "hypercorn": ("trusted_proxies",),
    "granian": ("websocket_message_limit",),
}


_SMALLEST_HEADER_LIMIT = {"granian": 8192}
"""Bytes; granian refuses to start with less."""
_LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a Unix socket's path: the system's structure has room for these and a zero."""
_EVERY_PROXY = "*"
_SOCKET_FORMS = ("/", "unix:")
"""How the path of a Unix socket, which a proxy may pass on as an address, begins."""


def _check_host(host: str) -> str:
    if "[" in host or host.count(":") == 1 or len(host.split()) != 1:
        raise ValueError("expected an address or a name alone: without a port, and without brackets")
    if not _may_be_host(host):
        raise ValueError("expected an address or a name; this is neither")
    return host


def _may_be_host(host: str) -> bool:
    if ":" in host:
        return _is_valid(ipaddress.IPv6Address, host)
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return _is_valid(socket.inet_aton, host)  # no name ends in a number
    # Python refuses these labels itself, with an error that isn't an OSError.
    return all(0 < len(label) <= 63 for label in labels)


def _check_proxies(proxies: frozenset[str]) -> None:
    """Refuse proxies that no request comes from; servers compare any text, and ignore what never fits."""
    if _EVERY_PROXY in proxies and len(proxies) > 1:
        raise ValueError("trusted_proxies: * is every proxy, and stands alone")
    for proxy in sorted(proxies - {_EVERY_PROXY}):
        if proxy.startswith(_SOCKET_FORMS) or _is_valid(ipaddress.ip_network, proxy):
            continue
        if "/" in proxy and _is_valid(ipaddress.ip_interface, proxy):
            network = ipaddress.ip_interface(proxy).network
            raise ValueError(f"trusted_proxies: {proxy!r} is an address inside a network; write {network}")
        raise ValueError(f"trusted_proxies: {proxy!r} is neither an address, nor a network such as 10.0.0.0/8, nor *")


def _check_socket_path(path: Path) -> Path:
    length = len(os.fsencode(path))
    if length > _LONGEST_PATH:
        raise ValueError(f"the path has {length} bytes, and that of a Unix socket at most {_LONGEST_PATH}")
    return path


def _is_valid(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except (ValueError, OSError):
        return False
    return True


_Host = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_check_host)]


class ServerSettings(Settings):
    """Where and how `bandmaster run` and `serve` serve, read from variables that begin with ``BANDMASTER_SERVER_``."""

    model_config = SettingsConfigDict(env_prefix="BANDMASTER_SERVER_")

    server: ServerName = Field(default="uvicorn", description="The server that runs the application.")
    host: _Host = Field(
        default="127.0.0.1", description="Address or name to listen on; 0.0.0.0 and :: mean every interface."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="Port to listen on; 0 takes any free one."
    )
    uds: Annotated[Path, AfterValidator(_check_socket_path)] | None = Field(
        default=None, description="Path of a Unix socket to listen on, in place of host and port."
    )
    fd: NonNegativeInt | None = Field(
        default=None,
        description="A socket that this process inherits (systemd's begin at 3), in place of host and port.",
    )
    loop: Literal["auto", "asyncio", "uvloop", "trio"] = Field(
        default="auto",
        description="The event loop: auto is uvloop where it is installed, else asyncio; trio needs hypercorn.",
    )
    backlog: Annotated[int, Field(ge=1, le=2**31 - 1)] = Field(
        default=2048, description="How many connections may wait to be accepted."
    )
    keep_alive: NonNegativeInt = Field(
        default=5,
        description="Seconds that an idle connection stays open; with granian 0 means off, and any other number on.",
    )
    header_limit: PositiveInt | None = Field(
        default=None,
        description="The most bytes of a request's line and headers; unset: the server's own limit. With uvicorn it "
        "selects the parser h11, because httptools has no limit; granian's limit is 8192 or more.",
    )
    websocket_message_limit: PositiveInt | None = Field(
        default=None,
        description="The most bytes of a WebSocket message; unset: the server's own limit. Not for granian, which has "
        "none.",
    )
    trusted_proxies: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="The proxies, as addresses or networks with commas between them, that may set X-Forwarded-* "
        "headers; * is every proxy. Not for hypercorn, which can't tell proxies apart.",
    )
    root_path: str = Field(default="", description="The path under which a proxy serves this application.")
    access_log: bool = Field(default=False, description="Let the server log a line for each request.")
    notify_socket: str = Field(
        default="",
        validation_alias="NOTIFY_SOCKET",
        description="The socket on which systemd is notified of readiness and stop; systemd sets this for Type=notify.",
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> ServerSettings:
        for field in _UNSUPPORTED[self.server]:
            if getattr(self, field):
                capable = " or ".join(repr(name) for name, fields in _UNSUPPORTED.items() if field not in fields)
                raise ValueError(f"{field}: {self.server} has no such option; unset it, or choose the server {capable}")
        _check_proxies(self.trusted_proxies)  # here, since the error of a field would hide the one that is wrong
        smallest = _SMALLEST_HEADER_LIMIT.get(self.server, 1)
        if self.header_limit is not None and self.header_limit < smallest:
            raise ValueError(f"header_limit: {self.server} takes {smallest} or more; raise it, or change the server")
        if self.loop == "trio" and self.server != "hypercorn":
            raise ValueError(f"loop: {self.server} doesn't run on trio; choose the server 'hypercorn', or another loop")
        if self.uds is not None and self.fd is not None:
            raise ValueError(f"uds: {self.variable('fd')} is set, too; unset one of the two")
        return self

    @property
    def runs_on_trio(self) -> bool:
        """Whether the event loop is trio's."""
        return self.loop == "trio"

    @property
    def runs_on_uvloop(self) -> bool:
        """Whether the event loop is uvloop's."""
        if self.loop == "auto":
            return sys.platform != "win32" and importlib.util.find_spec("uvloop") is not None
        return self.loop == "uvloop"


def check_server_settings(settings: object) -> None:
    """Refuse an argument that is neither none nor settings of the launcher.

    Raises:
        ValueError: the argument is something else.
    """
    if settings is not None and not isinstance(settings, ServerSettings):
        raise ValueError(f"settings: expected ServerSettings, got {type(settings).__name__}")


def make_server_settings(
    options: Mapping[str, Any],
    base: ServerSettings | None = None,
    *,
    option_prefix: str = "",
    environment: Environment | None = None,
) -> ServerSettings:
    """Settings from the options that aren't None, then from ``base``, or without one from the environment.

    The environment is the current one unless given. ``option_prefix`` is the prefix with which an error names an
    option, such as ``--``.

    Raises:
        PlanError: the settings can't be read, or don't go together.
        ValueError: ``base`` is something else.
    """
    check_server_settings(base)
    given = {name: value for name, value in options.items() if value is not None}
    names = {name: f"{option_prefix}{name}" for name in given}
    kind = ServerSettings if base is None else type(base)
    environment = current_environment() if environment is None else environment
    try:
        with use_environment(environment):
            # An argument has precedence over the environment, so with a base nothing is read from there.
            return kind(**{**(base.model_dump(by_alias=True) if base is not None else {}), **given})
    except ValidationError as error:
        raise PlanError(describe_invalid(kind, error, environment, names=names)) from error
    except SettingsError as error:
        raise PlanError([describe_unreadable(kind, error, environment)]) from error
