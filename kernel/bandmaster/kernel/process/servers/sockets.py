"""Bind, open and close the socket on which the launcher listens."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from bandmaster.kernel.errors import BindError, Problem
from bandmaster.kernel.process.servers.settings import ServerSettings


def bind(settings: ServerSettings) -> socket.socket:
    """A bound socket that doesn't listen yet, so that an address in use is known before anything starts.

    Raises:
        BindError: the address can't be used; the message has the reason, and a remedy.
    """
    if settings.fd is not None:
        return _open_inherited(settings.fd)
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
        if os.name == "posix":  # pragma: no branch  # the tests run on POSIX
            # A restart must succeed while the system still keeps old connections in TIME_WAIT. On POSIX the option
            # doesn't allow a second listener; on Windows it would.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _describe_bind_error(settings, error) from error
    sock.setblocking(False)
    return sock


def find_path_problem(path: Path) -> Problem | None:
    """The reason for which no Unix socket can be made at a path. A socket that is there may be a stale one."""
    if not path.parent.is_dir():
        return Problem(f"BANDMASTER_SERVER_UDS is {path}, whose directory doesn't exist.", "Make the directory.")
    if path.is_dir():
        return Problem(
            f"BANDMASTER_SERVER_UDS is {path}, which is a directory.", f"Set it to a path inside: {path / 'app.sock'}."
        )
    if os.path.lexists(path) and not path.is_socket():
        return Problem(f"BANDMASTER_SERVER_UDS is {path}, where a file is that is no socket.", "Choose another path.")
    return None


def listen(sock: socket.socket, settings: ServerSettings) -> str:
    """Begin to accept connections, and return the URL of the socket.

    Raises:
        BindError: another process began to listen on the address in the meantime.
    """
    try:
        sock.listen(settings.backlog)
    except OSError as error:
        raise _describe_bind_error(settings, error) from error
    return render_url(sock, settings.root_path)


def render_url(sock: socket.socket, root_path: str = "") -> str:
    """The URL of a socket: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}{root_path}"


def close(sock: socket.socket, settings: ServerSettings) -> None:
    """Close the socket, and remove the file of a Unix socket that `bind` has made."""
    sock.close()
    if settings.uds is not None and settings.fd is None:
        settings.uds.unlink(missing_ok=True)


def _open_inherited(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=os.dup(number))
    except OSError as error:
        raise BindError(
            f"file descriptor {number} is no open socket: {error.strerror}. BANDMASTER_SERVER_FD names a socket that "
            "the parent process passes on; systemd's begin at 3. Unset it to listen on host and port."
        ) from error
    sock.setblocking(False)
    return sock


def _bind_path(path: Path) -> socket.socket:
    try:
        if problem := find_path_problem(path):
            raise BindError(str(problem))
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
            path.unlink()  # a process that was killed has left it behind
            return
    raise BindError(
        f"{path} is taken: another process listens there already. Stop it (`ss -lxp` names it), or set "
        "BANDMASTER_SERVER_UDS to another path."
    )


def _describe_bind_error(settings: ServerSettings, error: OSError) -> BindError:
    place = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        another = settings.port + 1 if 0 < settings.port < 65535 else 8000
        return BindError(
            f"{place} is taken: another process listens there already. Stop it (`ss -ltnp 'sport = :{settings.port}'` "
            f"names it), or choose another port with --port or BANDMASTER_SERVER_PORT: {another}, or 0 for any free "
            f"one."
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
