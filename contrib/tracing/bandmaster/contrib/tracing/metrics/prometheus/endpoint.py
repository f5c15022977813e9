"""Answer scrapes for all processes that share a folder, and give the part of this process to the others."""

from __future__ import annotations

import hmac
import os
import weakref
from collections.abc import Callable, Iterable
from email.message import Message
from http import HTTPStatus

from prometheus_client import Metric as Family

from bandmaster.contrib.tracing.metrics.prometheus.exposition import merge_texts, render_families
from bandmaster.contrib.tracing.metrics.prometheus.families import WORKER
from bandmaster.contrib.tracing.metrics.prometheus.file_locks import FileLock
from bandmaster.contrib.tracing.metrics.prometheus.http_server import ScrapeResponse, ScrapeServer
from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder, WorkerSlot
from bandmaster.contrib.tracing.metrics.prometheus.worker_client import WorkerText, fetch_texts

__all__ = ["MetricsEndpoint"]

_PATIENCE = 0.8
"""The part of Prometheus's own timeout after which a worker without an answer is left out."""


class MetricsEndpoint:
    """Collects this process, and the other processes of the folder.

    ``name`` is the role of this process, with which the label of the series begins. Without a folder the endpoint knows
    this process alone, and the process id keeps the label apart from those of others.
    """

    def __init__(
        self,
        collect: Callable[[], Iterable[Family]],
        *,
        name: str,
        folder: SharedFolder | None = None,
        token: str | None = None,
        path: str = "/metrics",
        timeout: float = 5.0,
        report: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._collect = collect
        self._name = name
        self._folder = folder
        self._token = None if token is None else token.encode()
        self._path = path
        self._timeout = timeout
        self._report = report
        self._server = ScrapeServer()
        self._slot: WorkerSlot | None = None
        self._port_lock: FileLock | None = None
        close_in_child = weakref.WeakMethod(self._close_in_child)

        def call_in_child() -> None:
            if method := close_in_child():
                method()

        os.register_at_fork(after_in_child=call_in_child)

    @property
    def name(self) -> str:
        """The label of this process."""
        return self._slot.name if self._slot is not None else f"{self._name}-{os.getpid()}"

    def join(self) -> None:
        """Take a slot in the folder and listen there for the other processes. Does nothing without a folder.

        Raises:
            OSError: the folder can't be used.
        """
        if self._folder is None:
            return
        self._folder.prepare()
        slot = self._folder.take_slot(self._name)
        try:
            self._server.listen_unix(slot.socket, self._answer_worker)
        except OSError:
            slot.release()
            raise
        self._slot = slot

    def try_serve(self, host: str, port: int) -> int | None:
        """Serve scrapes at an address, unless another process of the folder does; returns the port.

        Raises:
            OSError: the address can't be used.
        """
        lock = self._folder.make_lock(f"port-{port}") if self._folder is not None and self._slot is not None else None
        if lock is not None and not lock.try_take():
            return None
        try:
            number = self._server.listen_tcp(host, port, self._answer_scrape)
        except OSError:
            if lock is not None:
                lock.release()
            raise
        self._port_lock = lock
        return number

    def close(self) -> None:
        """Leave the folder, and stop serving. Another process may serve the port then."""
        self._server.close()
        if self._port_lock is not None:
            self._port_lock.release()
        if self._slot is not None:
            self._slot.release()
            self._slot = None
            assert self._folder is not None
            self._folder.remove_if_empty()

    def _close_in_child(self) -> None:
        """Let a child that the application forks, and that may outlive this process, hold neither port nor slot."""
        self._server.close_in_child()
        if self._port_lock is not None:
            self._port_lock.close_in_child()
        if self._slot is not None:
            self._slot.lock.close_in_child()
        self._port_lock = self._slot = None

    def scrape(self, accept: str, timeout: float | None = None) -> tuple[bytes, str]:
        """The text of all processes, and its content type. Blocks, for ``timeout`` seconds at the most."""
        own, content_type = self._render_own(accept)
        others = self._fetch_others(accept, self._timeout if timeout is None else timeout)
        answered = [other.text for other in others if other.text is not None and other.content_type == content_type]
        missing = sum(1 for other in others if not other.refused) - len(answered)
        about, _ = render_families([_describe_scrape(1 + len(answered), missing)], {}, accept)
        return merge_texts([own, *answered, about]), content_type

    def allows(self, authorization: str | None) -> bool:
        """Whether the header ``Authorization`` has the token, if the settings name one."""
        if self._token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)

    def _fetch_others(self, accept: str, timeout: float) -> list[WorkerText]:
        if self._folder is None or self._slot is None:
            return []
        sockets = [path for path in self._folder.list_sockets() if path != self._slot.socket]
        texts = fetch_texts(sockets, accept, timeout)
        for text in texts:
            if text.refused:
                self._folder.remove_stale(text.socket)
        return texts

    def _render_own(self, accept: str) -> tuple[bytes, str]:
        return render_families(self._collect(), {WORKER: self.name}, accept)

    def _answer_worker(self, path: str, headers: Message) -> ScrapeResponse:
        return self._answer(lambda: self._render_own(headers.get("Accept", "")))

    def _answer_scrape(self, path: str, headers: Message) -> ScrapeResponse:
        if path != self._path:
            return ScrapeResponse(HTTPStatus.NOT_FOUND, b"not found\n", {"Content-Type": "text/plain"})
        if not self.allows(headers.get("Authorization")):
            challenge = {"Content-Type": "text/plain", "WWW-Authenticate": "Bearer"}
            return ScrapeResponse(HTTPStatus.UNAUTHORIZED, b"unauthorized\n", challenge)
        timeout = read_timeout(headers.get("X-Prometheus-Scrape-Timeout-Seconds"), self._timeout)
        return self._answer(lambda: self.scrape(headers.get("Accept", ""), timeout))

    def _answer(self, make: Callable[[], tuple[bytes, str]]) -> ScrapeResponse:
        try:
            text, content_type = make()
        except Exception as error:  # noqa: BLE001  # the client must have an answer, and the operators the error
            self._report(error)
            return ScrapeResponse(HTTPStatus.INTERNAL_SERVER_ERROR, b"failed\n", {"Content-Type": "text/plain"})
        return ScrapeResponse(HTTPStatus.OK, text, {"Content-Type": content_type})


def read_timeout(header: str | None, most: float) -> float:
    """Seconds that a scrape may take: a part of those that Prometheus waits, and ``most`` at the most.

    >>> read_timeout("10", 5.0), read_timeout("1", 5.0), read_timeout("soon", 5.0)
    (5.0, 0.8, 5.0)
    """
    try:
        seconds = float(header or "")
    except ValueError:
        return most
    return min(most, _PATIENCE * seconds) if seconds > 0 else most


def _describe_scrape(answered: int, missing: int) -> Family:
    family = Family("bandmaster_scrape_workers", "Number of processes that this scrape has asked.", "gauge")
    family.add_sample(family.name, {"state": "answered"}, answered)
    family.add_sample(family.name, {"state": "missing"}, missing)
    return family
