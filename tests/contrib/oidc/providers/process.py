"""The process of a provider on loopback."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
from tests.contrib.oidc.providers.npm import find_node, install
from tests.contrib.redis.certificates import Certificate

from bandmaster.kernel.testing import free_port, server_process

HERE = Path(__file__).parent
_CONTROL = "/_control"
_SECONDS = 30.0
"""The longest time that a command or a request of a test may take on a busy machine."""


class ProviderProcess:
    """A provider in a process of its own. The issuer stays the same when the process is stopped and started again."""

    def __init__(
        self, program: str, package: str, folder: Path, certificate: Certificate | None = None, *, shared: bool = False
    ) -> None:
        self.shared = shared
        port, scheme = free_port(), "http" if certificate is None else "https"
        self.issuer = f"{scheme}://127.0.0.1:{port}"
        self.log = folder / f"{Path(program).stem}.log"
        self.certificate = certificate
        self.tls = ssl.create_default_context(cafile=None if certificate is None else certificate.cert)
        options = {"packages": str(install(package)), "port": port, "issuer": self.issuer}
        files = {} if certificate is None else asdict(certificate)
        self._command = [find_node().program, str(HERE / program), json.dumps(options | files)]
        self._name = package.partition("@")[0]
        self._holding = ExitStack()

    def start(self) -> None:
        """Start the provider, with new keys and an empty memory.

        Raises:
            ServerUnavailable: the provider can't be started.
        """
        self._holding.enter_context(
            server_process(self._command, name=self._name, log=self.log, ready=self._answers, timeout=_SECONDS)
        )

    def stop(self) -> None:
        """Stop the provider: connections are refused."""
        self._holding.close()

    def command(self, command: str, **arguments: Any) -> Any:
        """Give a command to the provider.

        Raises:
            RuntimeError: the command failed.
        """
        with httpx2.Client(verify=self.tls, timeout=_SECONDS, trust_env=False) as client:
            answer = client.post(f"{self.issuer}{_CONTROL}", json={"command": command, **arguments})
        if answer.status_code != 200:
            raise RuntimeError(f"{self._name} can't {command}: {answer.text}")
        return answer.json()

    def open_client(self, **options: Any) -> httpx2.AsyncClient:
        """A client that trusts the provider's certificate, and follows no redirect by itself."""
        return httpx2.AsyncClient(verify=self.tls, timeout=_SECONDS, trust_env=False, **options)

    def _answers(self) -> bool:
        try:
            return bool(self.command("ready"))
        except httpx2.TransportError as error:
            raise OSError(str(error)) from error


@contextmanager
def run_provider(
    program: str, package: str, folder: Path, certificate: Certificate | None = None, *, shared: bool = False
) -> Iterator[ProviderProcess]:
    """Run a provider until the block ends. Tests can't stop one that is ``shared``.

    Raises:
        ServerUnavailable: there is no Node, npm can't install the package, or the provider can't be started.
    """
    process = ProviderProcess(program, package, folder, certificate, shared=shared)
    process.start()
    try:
        yield process
    finally:
        process.stop()
