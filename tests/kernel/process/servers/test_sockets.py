"""Tests of bandmaster.kernel.process.servers.sockets."""

import os
import socket

import pytest

from bandmaster.kernel.errors import BindError
from bandmaster.kernel.process.servers import sockets
from bandmaster.kernel.process.servers.sockets import bind, close, listen, render_url


def test_binding_does_not_listen_yet(settings):
    """A bound socket accepts no connection before `listen`."""
    sock = bind(settings())
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname(), timeout=1)
        url = listen(sock, settings(root_path="/api"))
        socket.create_connection(sock.getsockname(), timeout=1).close()
        assert url == f"http://127.0.0.1:{sock.getsockname()[1]}/api"
    finally:
        close(sock, settings())


def test_a_taken_port(settings):
    """The error about a port in use says how to find its owner, and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BindError) as taken:
            bind(settings(port=port))
    assert str(taken.value) == (
        f"127.0.0.1:{port} is taken: another process listens there already. Stop it (`ss -ltnp 'sport = :{port}'` "
        f"names "
        f"it), or choose another port with --port or BANDMASTER_SERVER_PORT: {port + 1 if port < 65535 else 8000}, "
        f"or 0 for any free one."
    )


def test_a_port_that_is_taken_while_starting(settings):
    """Two sockets may be bound to a port, but only one can listen."""
    first = bind(settings())
    port = first.getsockname()[1]
    second = bind(settings(port=port))
    try:
        listen(first, settings(port=port))
        with pytest.raises(BindError):
            listen(second, settings(port=port))
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [("EACCES", "need privileges"), ("EADDRNOTAVAIL", "no interface of this machine"), ("EIO", "can't be listened on")],
)
def test_other_reasons_against_an_address(settings, number, said):
    """Every error about an address says what to try."""
    import errno

    code = getattr(errno, number)
    error = sockets._describe_bind_error(settings(port=80), OSError(code, os.strerror(code)))
    assert said in str(error)
    assert "BANDMASTER_SERVER_" in str(error)


def test_an_unknown_host(settings, monkeypatch):
    """The error about an unknown host names the setting."""

    def fails(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(BindError) as refused:
        bind(settings(host="nowhere"))
    assert "'nowhere' is no address of this machine" in str(refused.value)
    assert "BANDMASTER_SERVER_HOST" in str(refused.value)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(settings):
    """An IPv6 address is in brackets in the URL."""
    try:
        sock = bind(settings(host="::1"))
    except BindError:
        pytest.skip("no IPv6 loopback here")
    assert render_url(sock).startswith("http://[::1]:")
    sock.close()


def test_a_unix_socket(settings, tmp_path):
    """The file of a Unix socket is removed at the end, and a stale one at the beginning."""
    chosen = settings(uds=tmp_path / "app.sock")
    bind(chosen).close()
    sock = bind(chosen)
    assert listen(sock, chosen) == f"unix:{tmp_path / 'app.sock'}"
    with pytest.raises(BindError) as taken:
        bind(chosen)
    assert "another process listens there" in str(taken.value)
    close(sock, chosen)
    assert not (tmp_path / "app.sock").exists()
    with pytest.raises(BindError) as refused:
        bind(settings(uds=tmp_path / "nowhere" / "app.sock"))
    assert "BANDMASTER_SERVER_UDS" in str(refused.value)


def test_a_path_of_something_else_than_a_socket(settings, tmp_path):
    """A directory and a file are named as such, and left as they are."""
    file = tmp_path / "app.sock"
    file.write_text("mine")
    with pytest.raises(BindError, match=r"where a file is that is no socket\. Choose another path\.$"):
        bind(settings(uds=file))
    with pytest.raises(BindError, match=r"which is a directory\. Set it to a path inside: "):
        bind(settings(uds=tmp_path))
    assert "mine" == file.read_text()


def test_an_inherited_socket(settings):
    """An inherited descriptor is duplicated, so that it stays open."""
    with socket.create_server(("127.0.0.1", 0)) as parent:
        sock = bind(settings(fd=parent.fileno()))
        assert sock.getsockname() == parent.getsockname()
        sock.close()
        assert parent.fileno() >= 0
    with pytest.raises(BindError) as refused:
        bind(settings(fd=250))
    assert "file descriptor 250 is no open socket" in str(refused.value)
