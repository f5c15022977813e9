"""The servers that the launcher can run as its body, behind one small interface."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import anyio
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bandmaster.kernel.errors import BindError, ServerNotInstalledError
from bandmaster.kernel.text import listed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class Server(Protocol):
    """What the launcher needs of a server.

    The application's lifespan and the process's signals are none of its business.
    """

    version: str
    """Its name and version."""

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives at a listening socket, until stopped."""

    def stop(self) -> None:
        """Accept no more connections, end when those that are open have been answered."""

    def force(self) -> None:
        """Drop what is left."""


# -- the socket ----------------------------------------------------------------------------------------------------


def bind(settings: ServerSettings) -> socket.socket:
    """A bound socket that doesn't listen yet: an address that is taken is known before anything starts.

    Raises:
        BindError: the message says who has it, as far as that is known, and what to try.
    """
    if settings.fd is not None:
        return _inherited(settings.fd)
    if settings.uds is not None:
        return _bind_path(settings.uds)
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(
            f"{settings.host!r} is no address of this machine: {error.strerror or error}. "
            "Set BANDMASTER_SERVER_HOST to 127.0.0.1 for this machine only, or 0.0.0.0 for every interface."
        ) from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # pragma: no branch
            # For a restart while old connections linger; two listeners it doesn't allow.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _bind_error(settings, error) from error
    sock.setblocking(False)
    return sock


def listen(sock: socket.socket, settings: ServerSettings) -> str:
    """Let connections come; the answer is where, as a URL.

    Raises:
        BindError: another process began to listen there meanwhile.
    """
    try:
        sock.listen(settings.backlog)
    except OSError as error:
        raise _bind_error(settings, error) from error
    return url_of(sock, settings.root_path)


def url_of(sock: socket.socket, root_path: str = "") -> str:
    """Where a socket is reached: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}{root_path}"


def close(sock: socket.socket, settings: ServerSettings) -> None:
    """Close the socket, and remove its path if it has one."""
    sock.close()
    if settings.uds is not None and settings.fd is None:
        settings.uds.unlink(missing_ok=True)


def _inherited(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=os.dup(number))
    except OSError as error:
        raise BindError(
            f"file descriptor {number} is no open socket: {error.strerror}. BANDMASTER_SERVER_FD names a socket that "
            "the parent process hands down; systemd's begin at 3. Unset it to listen on host and port."
        ) from error
    sock.setblocking(False)
    return sock


def _bind_path(path: Path) -> socket.socket:
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(path))
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise BindError(
            f"{path} can't be listened on: {error.strerror or error}. Set BANDMASTER_SERVER_UDS to a path in a "
            "directory that exists and that this user may write to."
        ) from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # left behind by a process that was killed
            return
    raise BindError(
        f"{path} is taken: another process listens there already. Stop it (`ss -lxp` names it), or set "
        "BANDMASTER_SERVER_UDS to another path."
    )


def _bind_error(settings: ServerSettings, error: OSError) -> BindError:
    place = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        another = settings.port + 1 if 0 < settings.port < 65535 else 8000
        return BindError(
            f"{place} is taken: another process listens there already. Stop it (`ss -ltnp 'sport = :{settings.port}'` "
            f"names it), or choose another port: BANDMASTER_SERVER_PORT={another}, or 0 for any free one."
        )
    if error.errno == errno.EACCES:
        return BindError(
            f"{place}: this user may not listen there; ports below 1024 need privileges. "
            "Choose a higher one with BANDMASTER_SERVER_PORT, and let a proxy or port mapping do the rest."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BindError(
            f"{place}: no interface of this machine has the address {settings.host}. Set BANDMASTER_SERVER_HOST to "
            "127.0.0.1 for this machine only, or 0.0.0.0 for every interface."
        )
    return BindError(
        f"{place} can't be listened on: {error.strerror or error}. "
        "BANDMASTER_SERVER_HOST and BANDMASTER_SERVER_PORT say where to listen."
    )


# -- the servers ---------------------------------------------------------------------------------------------------


def make_server(settings: ServerSettings) -> Server:
    """The server that the settings name.

    Raises:
        ServerNotInstalledError: it, or the event loop that they name, isn't there.
    """
    if settings.loop in ("trio", "uvloop"):
        _installed(settings.loop, f"pip install {settings.loop}, or leave BANDMASTER_SERVER_LOOP unset")
    _installed(settings.server, f'pip install "bandmaster[{settings.server}]"')
    makers: dict[str, Callable[[ServerSettings], Server]] = {
        "uvicorn": Uvicorn,
        "hypercorn": Hypercorn,
        "granian": Granian,
    }
    return makers[settings.server](settings)


def _installed(name: str, remedy: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ServerNotInstalledError(f"{name} isn't installed: {remedy}.")


def _version(name: str) -> str:
    from importlib.metadata import version

    return f"{name} {version(name)}"


class Uvicorn:
    """uvicorn, with its lifespan off and its hands off the signals."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = _version("uvicorn")
        self._settings = settings
        self._server: Any = None
        self._stopping = False

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        import uvicorn

        class Quiet(uvicorn.Server):
            # It would put its own handlers in place of the launcher's.
            @contextmanager
            def capture_signals(self) -> Generator[None, None, None]:
                yield

        settings = self._settings
        limits: dict[str, Any] = {}
        if settings.header_limit is not None:
            limits |= {"http": "h11", "h11_max_incomplete_event_size": settings.header_limit}
        if settings.websocket_message_limit is not None:
            limits["ws_max_size"] = settings.websocket_message_limit
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=settings.access_log,
            backlog=settings.backlog,
            timeout_keep_alive=settings.keep_alive,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=sorted(settings.trusted_proxies),
            root_path=settings.root_path,
            **limits,
        )
        self._server = Quiet(config)
        self._server.should_exit = self._stopping
        await self._server.serve(sockets=[sock])

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered."""
        self._stopping = True
        if self._server is not None:
            self._server.should_exit = True

    def force(self) -> None:
        """Drop what is left."""
        self.stop()
        if self._server is None:
            return
        self._server.force_exit = True
        state = self._server.server_state
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            if connection.transport is not None:  # pragma: no branch
                connection.transport.abort()


class Hypercorn:
    """hypercorn, on asyncio or trio; it insists on a lifespan and gets an empty one."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = _version("hypercorn")
        self._settings = settings
        self._stopping = False
        self._asked: anyio.Event | None = None
        self._requests = _Requests()

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        from hypercorn.config import Config

        settings = self._settings
        config = Config()
        # It takes the descriptor for its own.
        config.bind = [f"fd://{sock.detach()}"]
        config.backlog = settings.backlog
        config.keep_alive_timeout = settings.keep_alive
        config.root_path = settings.root_path
        config.loglevel = "WARNING"
        config.errorlog = logging.getLogger("hypercorn.error")
        # The launcher says when it is enough.
        config.graceful_timeout = 3600
        if settings.access_log:
            config.accesslog = logging.getLogger("hypercorn.access")
        if settings.header_limit is not None:
            config.h11_max_incomplete_size = settings.header_limit
            config.h2_max_header_list_size = settings.header_limit
        if settings.websocket_message_limit is not None:
            config.websocket_max_message_size = settings.websocket_message_limit
        module = importlib.import_module("hypercorn.trio" if settings.runs_on_trio else "hypercorn.asyncio")
        self._asked = anyio.Event()
        if self._stopping:
            self._asked.set()
        serving = _with_empty_lifespan(self._requests.of(app))
        await module.serve(serving, config, shutdown_trigger=self._asked.wait, mode="asgi")

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered."""
        self._stopping = True
        if self._asked is not None:
            self._asked.set()

    def force(self) -> None:
        """Drop what is left."""
        self.stop()
        self._requests.cut()


class Granian:
    """granian inside this process, on the launcher's own event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self.version = _version("granian")
        self._settings = settings
        self._server: Any = None
        self._stopping = False
        self._requests = _Requests()
        self._sockets = _OpenSockets()

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Answer what arrives, until stopped."""
        from granian.constants import Interfaces
        from granian.http import HTTP1Settings
        from granian.log import LogLevels

        settings = self._settings
        holder = importlib.import_module("granian.net").SocketHolder
        embedded = importlib.import_module("granian.server.embed").Server

        is_path = not isinstance(sock.getsockname(), tuple)

        # It would bind the address itself, with SO_REUSEPORT: a second process could take half of the traffic unseen.
        # A hook of its own subclasses; there is no public way to hand a socket in. It takes the descriptor for its own.
        def take_socket(server: Any) -> None:
            server._ssp = None  # noqa: SLF001
            server._shd = holder(sock.detach(), is_path, server.backlog)  # noqa: SLF001

        http1 = HTTP1Settings(keep_alive=settings.keep_alive > 0)
        if settings.header_limit is not None:
            http1.max_buffer_size = max(8192, settings.header_limit)
        if settings.trusted_proxies:
            from granian.utils.proxies import wrap_asgi_with_proxy_headers

            app = wrap_asgi_with_proxy_headers(app, trusted_hosts=sorted(settings.trusted_proxies))
        on_socket = type("OnSocket", (embedded,), {"_init_shared_socket": take_socket})
        self._server = on_socket(
            self._requests.of(self._sockets.watch(app)),
            interface=Interfaces.ASGINL,
            backlog=settings.backlog,
            http1_settings=http1,
            log_level=LogLevels.error,
            # Its own would close every handler that others have set up, and write to stdout.
            log_dictconfig={"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}},
            log_access=settings.access_log,
            url_path_prefix=settings.root_path or None,
        )
        if self._stopping:
            return
        await self._server.serve()

    def stop(self) -> None:
        """Accept no more, end when what is open has been answered; asked again, also while WebSockets are open."""
        if self._server is None or self._stopping:
            self._stop_now()
        else:
            # Once asked to stop, granian sends nothing more to WebSockets, not even a close.
            self._sockets.call_when_closed(self._stop_now)
        self._stopping = True

    def _stop_now(self) -> None:
        if self._server is not None:
            self._server.stop()

    def force(self) -> None:
        """Drop what is left."""
        self._stopping = True
        self._stop_now()
        self._requests.cut()


class _OpenSockets:
    """The WebSockets that an application has accepted under granian, and hasn't closed yet."""

    def __init__(self) -> None:
        self._open: set[_GranianSocket] = set()
        self._callback: Callable[[], None] | None = None

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Pass an application's WebSockets through `_GranianSocket`."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            socket = _GranianSocket(receive, send, self)
            try:
                await app(scope, socket.receive, socket.send)
            finally:
                self.discard(socket)

        return watched

    def add(self, socket: _GranianSocket) -> None:
        """Count a WebSocket as open."""
        self._open.add(socket)

    def discard(self, socket: _GranianSocket) -> None:
        """Count a WebSocket as closed."""
        self._open.discard(socket)
        self._call_if_closed()

    def call_when_closed(self, callback: Callable[[], None]) -> None:
        """Call a function, once, as soon as no WebSocket is open."""
        self._callback = callback
        self._call_if_closed()

    def _call_if_closed(self) -> None:
        if not self._open and self._callback is not None:
            callback, self._callback = self._callback, None
            callback()


class _GranianSocket:
    """One WebSocket under granian, which can be closed while the application waits for a message.

    granian's own close waits for a lock that a pending ``receive`` holds until the client sends something.
    """

    def __init__(self, receive: Receive, send: Send, sockets: _OpenSockets) -> None:
        self._receive = receive
        self._send = send
        self._sockets = sockets
        self._code: int | None = None
        self._closed = anyio.Event()
        self._waiting: anyio.CancelScope | None = None

    async def receive(self) -> Message:
        """Receive what the client sends; after a close, a disconnect."""
        if self._code is None:
            with anyio.CancelScope() as self._waiting:
                return await self._receive()
        await self._closed.wait()
        return {"type": "websocket.disconnect", "code": self._code, "reason": ""}

    async def send(self, message: Message) -> None:
        """Send to the client; a close first ends the ``receive`` that waits."""
        if message["type"] == "websocket.accept":
            self._sockets.add(self)
        if message["type"] != "websocket.close":
            await self._send(message)
            return
        self._code = message.get("code", 1000)
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            await self._send(message)
        finally:
            self._closed.set()
            self._sockets.discard(self)


class _Requests:
    """What an application is answering, so that all of it can be cut short."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()

    def of(self, app: ASGIApp) -> ASGIApp:
        """The application, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            with anyio.CancelScope() as answering:
                self._scopes.add(answering)
                try:
                    await app(scope, receive, send)
                finally:
                    self._scopes.discard(answering)

        return watched

    def cut(self) -> None:
        """Cancel all of it."""
        for answering in list(self._scopes):
            answering.cancel()


def _with_empty_lifespan(app: ASGIApp) -> ASGIApp:
    async def serving(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})

    return serving
