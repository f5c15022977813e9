"""Errors of calls to other services, transient or permanent by whether another try may help.

HttpUnavailableError (TransientError)  not reached, too slow, overloaded
├── HttpPoolTimeoutError                   no connection of the client's own pool became free
└── HttpDeadlineError                      the whole call took too long
HttpRefusedError (PermanentError)      another try changes nothing
├── HttpBodyTooLargeError                  a body is larger than the caller allows
└── HttpClosedError                        the client was closed with the application
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from bandmaster.contrib.http.retries import read_retry_after
from bandmaster.kernel import BandmasterError, PermanentError, TransientError


class HttpUnavailableError(TransientError):
    """A service can't be reached, is too slow or is overloaded: another try may help.

    Each instance that a client raises is also an instance of httpx2's own class. ``retry_after`` is set where the
    service said when to try again.
    """


class HttpRefusedError(PermanentError):
    """A call fails for good: an untrusted certificate, a refused request, an answer that can't be read.

    Each instance that a client raises is also an instance of httpx2's own class.
    """


class HttpPoolTimeoutError(HttpUnavailableError, httpx2.PoolTimeout):
    """Every connection of the client's pool is in use, and none became free in time. The service isn't to blame."""


class HttpDeadlineError(HttpUnavailableError, httpx2.TimeoutException):
    """A call took longer than its deadline, with all attempts and the body."""


class HttpBodyTooLargeError(HttpRefusedError):
    """A body is larger than the caller allows."""


class HttpClosedError(HttpRefusedError, RuntimeError):
    """A client was used after the application had stopped, or was stopped during the call."""


def _make_classes(base: type[Exception], word: str) -> dict[type[Any], type[Any]]:
    """For each of httpx2's errors a class that is ``base`` as well, such as ``UnavailableConnectError``."""
    kinds: dict[type[Any], type[Any]] = {}
    for kind in _HTTPX2S:
        name = f"{word}{kind.__name__}"
        about = f"httpx2's ``{kind.__name__}`` that is a `{base.__name__}` as well."
        # pickle looks a class up by its name in the module.
        kinds[kind] = globals()[name] = type(name, (base, kind), {"__doc__": about, "__module__": __name__})
    return kinds


_HTTPX2S = (
    *(
        kind
        for kind in (getattr(httpx2, name) for name in httpx2.__all__)
        if isinstance(kind, type) and issubclass(kind, httpx2.HTTPError)
    ),
    httpx2.InvalidURL,
)
_UNAVAILABLE = _make_classes(HttpUnavailableError, "Unavailable")
_REFUSED = _make_classes(HttpRefusedError, "Refused")

_PERMANENT = (
    httpx2.LocalProtocolError,
    httpx2.UnsupportedProtocol,
    httpx2.DecodingError,
    httpx2.TooManyRedirects,
    httpx2.SSEError,
    httpx2.HTTPStatusError,
    httpx2.InvalidURL,
)
_TRANSIENT_STATUSES = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505}
_UNTRUSTED = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate that no trusted authority has signed. Others tell of a wrong host or an expiry."""
_HANDSHAKE_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@dataclass(frozen=True, slots=True)
class ClientLabel:
    """The name of a client, and the settings that errors mention."""

    name: str
    max_connections: int
    connections_variable: str
    deadline_variable: str
    authority_variable: str = "HTTP_TLS_CA_FILE"

    def __str__(self) -> str:
        return f"the HTTP client {self.name!r}"


def describe_call(request: httpx2.Request) -> str:
    """The method and the origin of a call: ``GET https://api.example``. Paths and queries may hold secrets."""
    url = request.url
    if not url.host:
        return f"{request.method} of a URL without a host"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{request.method} {url.scheme}://{host}{'' if url.port is None else f':{url.port}'}"


@contextmanager
def http_errors(request: httpx2.Request, label: ClientLabel) -> Iterator[None]:
    """Turn httpx2's errors into this package's, with the original as the cause."""
    try:
        yield
    except httpx2.HTTPError as error:
        if isinstance(error, BandmasterError):
            raise
        translated = _translate(error, request, label)
        # h11 repeats the value of a malformed header, which may be a credential.
        raise translated from (None if isinstance(error, httpx2.LocalProtocolError) else error)


@contextmanager
def url_errors() -> Iterator[None]:
    """Turn httpx2's error of a malformed URL into a `HttpRefusedError`."""
    try:
        yield
    except httpx2.InvalidURL as error:
        # What follows the colon is a part of the URL.
        reason = str(error).partition(":")[0].rstrip(".")
        raise _make(_REFUSED, httpx2.InvalidURL, f"the URL of a call can't be read: {reason}") from None


def make_status_error(response: httpx2.Response) -> httpx2.HTTPStatusError:
    """The error of an answer whose status isn't a success, by the class of the status."""
    status = response.status_code
    message = f"{describe_call(response.request)} was answered with {status} {response.reason_phrase}".rstrip()
    kinds = _UNAVAILABLE if status in _TRANSIENT_STATUSES else _REFUSED
    error = _make(kinds, httpx2.HTTPStatusError, message)
    error.request, error.response = response.request, response
    if isinstance(error, HttpUnavailableError):
        error.retry_after = read_retry_after(response.headers)
    return cast("httpx2.HTTPStatusError", error)


def is_refused(error: httpx2.HTTPError) -> bool:
    """Whether another try would change nothing."""
    if isinstance(error, httpx2.ProxyError):
        # The message begins with the status of the proxy, such as 407 for a missing password.
        return str(error)[:1] == "4"
    if isinstance(error, httpx2.ConnectError):
        return any(isinstance(cause, ssl.SSLError) and not isinstance(cause, _HANDSHAKE_CUT) for cause in _walk(error))
    return isinstance(error, _PERMANENT)


def _translate(error: httpx2.HTTPError, request: httpx2.Request, label: ClientLabel) -> BaseException:
    call = f"{describe_call(request)} by {label}"
    if isinstance(error, httpx2.PoolTimeout):
        seconds = request.extensions.get("timeout", {}).get("pool")
        pool = HttpPoolTimeoutError(
            f"{call}: all {label.max_connections} connections of the pool are in use, and none became free within "
            f"{seconds:g} s; answers that aren't closed hold one each. Raise {label.connections_variable}, or give "
            "slow services a client of their own"
        )
        pool.request = request
        return pool
    kinds = _REFUSED if is_refused(error) else _UNAVAILABLE
    kind = next(base for base in type(error).__mro__ if base in kinds)
    hint = f". {label.authority_variable} names the authorities to trust" if _is_untrusted(error) else ""
    translated = _make(kinds, kind, f"{call}: {_find_reason(error, request)}{hint}")
    vars(translated).update(vars(error))
    return cast("BaseException", translated)


def _make(kinds: dict[type[Any], type[Any]], kind: type[Any], message: str) -> Any:
    # The class isn't called: the constructors of httpx2's errors take different arguments.
    error: Any = kinds[kind].__new__(kinds[kind], message)
    error.args = (message,)
    return error


def _is_untrusted(error: httpx2.HTTPError) -> bool:
    """Whether the service has a certificate of an authority that isn't trusted."""
    return any(
        isinstance(cause, ssl.SSLCertVerificationError) and getattr(cause, "verify_code", None) in _UNTRUSTED
        for cause in _walk(error)
    )


def _find_reason(error: httpx2.HTTPError, request: httpx2.Request) -> str:
    if isinstance(error, httpx2.LocalProtocolError):
        return "the request isn't valid HTTP; a header, the method or the length of the body is wrong"
    if isinstance(error, httpx2.TimeoutException):
        phase = type(error).__name__.removesuffix("Timeout").lower()
        seconds = request.extensions.get("timeout", {}).get(phase)
        doing = {"connect": "no connection", "read": "no bytes of the answer", "write": "the request couldn't be sent"}
        return f"{doing.get(phase, 'no answer')} within {seconds:g} s" if seconds else "timed out"
    *_, root = _walk(error)
    return str(root) or str(error) or "the connection was lost"


def _walk(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors below it that caused it; of several, the first."""
    found: object = error
    while isinstance(found, BaseException):
        yield found
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        else:
            # httpcore2's pool removes the cause of an error, which the error still has as its argument.
            found = found.__cause__ or next(iter(found.args), None)
