"""Settings of the launcher: where to listen, with which server and event loop."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bandmaster.kernel.text import listed

_CANNOT: dict[str, tuple[str, ...]] = {
    "uvicorn": (),
    "hypercorn": ("trusted_proxies",),
    "granian": ("websocket_message_limit",),
}


class ServerSettings(BaseSettings):
    """Where and how `bandmaster run` serves, read from variables that begin with ``BANDMASTER_SERVER_``."""

    model_config = SettingsConfigDict(
        env_prefix="BANDMASTER_SERVER_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    server: Literal["uvicorn", "hypercorn", "granian"] = Field("uvicorn", description="The server that answers.")
    host: str = Field("127.0.0.1", description="Address or name to listen on; 0.0.0.0 and :: mean every interface.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on; 0 takes any free one.")
    uds: Path | None = Field(None, description="Path of a Unix socket to listen on, in place of host and port.")
    fd: NonNegativeInt | None = Field(
        None, description="A socket that this process inherits (systemd's begin at 3), in place of host and port."
    )
    loop: Literal["auto", "asyncio", "uvloop", "trio"] = Field(
        "auto", description="The event loop: auto is uvloop where it is installed, else asyncio; trio needs hypercorn."
    )
    backlog: Annotated[int, Field(ge=1)] = Field(
        2048, description="How many connections the system may hold before they are accepted."
    )
    keep_alive: NonNegativeInt = Field(
        5, description="Seconds that an idle connection stays open; granian knows only 0 (off) and any other (on)."
    )
    header_limit: PositiveInt | None = Field(
        None,
        description="Most bytes of a request's line and headers; unset: the server's own. With uvicorn it selects the "
        "h11 parser, for httptools has no limit; granian takes 8192 at least.",
    )
    websocket_message_limit: PositiveInt | None = Field(
        None,
        description="Most bytes of a WebSocket message; unset: the server's own. Not with granian, which has none.",
    )
    trusted_proxies: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Addresses or networks, comma separated, whose X-Forwarded-* headers are believed; * is all. "
        "Not with hypercorn, which can't tell proxies apart.",
    )
    root_path: str = Field("", description="The path under which a proxy serves this application.")
    access_log: bool = Field(False, description="Let the server log a line for each request.")
    notify_socket: str = Field(
        "",
        validation_alias="NOTIFY_SOCKET",
        description="Where systemd is told of readiness and stop; it sets this itself for services of Type=notify.",
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _agree(self) -> ServerSettings:
        for field in _CANNOT[self.server]:
            if getattr(self, field):
                able = [name for name, fields in _CANNOT.items() if field not in fields]
                raise ValueError(f"{field}: {self.server} can't do that; leave it out, or choose {listed(able)}")
        if self.loop == "trio" and self.server != "hypercorn":
            raise ValueError(f"loop: {self.server} doesn't run on trio; choose 'hypercorn', or another loop")
        if self.uds is not None and self.fd is not None:
            raise ValueError("uds: there is an fd, too; leave one of the two out")
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
