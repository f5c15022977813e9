"""Start real servers for tests on loopback, wait until they answer, and stop them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, NoReturn

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel.testing.guardian import guarded_process

_PAUSE = 0.02
_TAIL = 4000
"""The most characters of a server's output that an error shows. The last ones are shown."""


class ServiceSettings(BaseSettings):
    """Settings of tests that need servers, read from variables that begin with ``BANDMASTER_TEST_``."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="BANDMASTER_TEST_", extra="ignore")

    services_required: bool = Field(
        default=False, description="Let a test fail, rather than skip it, when its server can't be started."
    )


class ServerUnavailable(Exception):
    """A server for tests can't be started; the text names the reason and the remedy."""


def free_port() -> int:
    """Find a TCP port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def skip_or_fail(error: ServerUnavailable) -> NoReturn:
    """Skip the test; fail it where services are required (``BANDMASTER_TEST_SERVICES_REQUIRED=1``)."""
    # Programs that aren't tests start servers, too, and may have no pytest.
    import pytest

    if ServiceSettings().services_required:
        pytest.fail(f"{error} (and services are required here)", pytrace=False)
    pytest.skip(str(error))


@contextmanager
def server_process(
    command: Sequence[str | os.PathLike[str]],
    *,
    name: str,
    log: Path,
    ready: Callable[[], bool],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
    timeout: float = 20.0,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends: then ``stop_signal``, and SIGKILL if the server runs ``timeout`` seconds later.

    ``ready`` is called until it returns true; a connection error counts as false. ``environment`` is the server's whole
    environment; None passes on this process' own. ``user`` and ``group`` are the ids that the server runs as: some
    servers refuse to run as root.

    Raises:
        ServerUnavailable: the server can't be started, ends early, or isn't ready within ``timeout`` seconds.
    """
    with ExitStack() as stack:
        with log.open("ab") as output:
            try:
                process = stack.enter_context(
                    guarded_process(
                        command,
                        cwd=cwd,
                        environment=environment,
                        stdout=output,
                        stop_signal=stop_signal,
                        user=user,
                        group=group,
                    )
                )
            except OSError as error:
                raise ServerUnavailable(f"{name} can't be started: {error}") from error
        stack.callback(_stop, process, stop_signal, timeout)
        _wait_until_ready(ready, process, name, log, timeout)
        yield process


def _wait_until_ready(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path, timeout: float
) -> None:
    end = time.monotonic() + timeout
    while True:
        if process.poll() is not None:
            raise ServerUnavailable(f"{name} ended with {process.returncode} before it was ready:\n{_read_tail(log)}")
        try:
            if ready():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise ServerUnavailable(f"{name} isn't ready after {timeout:g} s:\n{_read_tail(log)}")
        time.sleep(_PAUSE)


def _stop(process: subprocess.Popen[bytes], stop_signal: int, timeout: float) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
    # The end of the guarded process' block kills a server that doesn't end in time.
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout)


def _read_tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
