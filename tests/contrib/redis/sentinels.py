"""Sentinels for tests, which know a master named main."""

import socket
from contextlib import contextmanager

from bandmaster.contrib.redis.testing import redis_program
from bandmaster.kernel.testing import free_port, server_process


@contextmanager
def sentinel(folder, master, *lines):
    """Run a sentinel until the block ends; yields its port."""
    port = free_port()
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    known = [f"sentinel monitor main 127.0.0.1 {master} 1", "sentinel down-after-milliseconds main 200"]
    about = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", *(known if master else []), *lines]
    configuration.write_text("\n".join(about) + "\n")

    def ready():
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))

    command = [redis_program(), configuration, "--sentinel"]
    with server_process(command, name="sentinel", log=folder / "log", ready=ready):
        yield port
