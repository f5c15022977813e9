"""Settings of an HTTP client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_serializer, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.http.hosts import check_host_pattern
from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Names = Annotated[tuple[str, ...], NoDecode]

_TLS = ("tls_ca_file", "tls_cert_file", "tls_key_file")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_PROXIES = ("proxy_url", "http_proxy", "https_proxy", "all_proxy")


class HttpSettings(Settings):
    """Settings of an HTTP client, read from variables that begin with ``HTTP_``. All times are in seconds.

    The variables of proxies that all programs share have no prefix: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and
    ``NO_PROXY``, in capitals or small letters.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="HTTP_")

    base_url: str | None = Field(
        default=None, description="The address in front of relative URLs, such as https://billing.internal/v1."
    )

    max_connections: int = Field(
        default=20, ge=1, description="The most connections of the pool, to all hosts and proxies together."
    )
    max_idle_connections: int = Field(
        default=10, ge=0, description="The most connections that are kept open without a call."
    )
    idle_timeout: _Seconds = Field(
        default=4,
        description="Seconds that a connection without a call is kept open; less than servers do (uvicorn: 5).",
    )

    deadline: _Seconds | None = Field(
        default=30,
        description="Seconds for a whole call: waiting for the pool, all attempts and the body; none: no deadline.",
    )
    pool_timeout: _Seconds = Field(default=5, description="Seconds to wait for a connection of a full pool.")
    connect_timeout: _Seconds = Field(default=5, description="Seconds to connect, and again for TLS.")
    read_timeout: _Seconds = Field(default=10, description="Seconds to wait for the next bytes of an answer.")
    write_timeout: _Seconds = Field(default=10, description="Seconds for the next bytes of a request to be sent.")

    retries: int = Field(
        default=2,
        ge=0,
        le=20,
        description="How often an idempotent call is repeated after a lost connection or the status 429, 502, 503 or "
        "504; 0: never.",
    )
    backoff_base: _Seconds = Field(default=0.1, description="Seconds of the longest pause before the first repetition.")
    backoff_cap: _Seconds = Field(default=2, description="The longest pause between attempts without Retry-After.")
    retry_after_cap: _MaybeSeconds = Field(
        default=10,
        description="The longest Retry-After that is waited for; an answer with a longer one is returned at once.",
    )

    forward_hosts: _Names = Field(
        default=(),
        description="The hosts that get the request id and the trace of the current request: names, or *.internal for "
        "all hosts below internal.",
    )
    forward_baggage_hosts: _Names = Field(
        default=(),
        description="The hosts that get the baggage of the current trace, which may name users: names, or *.internal.",
    )

    proxy_url: str | None = Field(
        default=None,
        repr=False,
        description="The proxy for every call of this client, http://user:password@host:3128, https:// or socks5://.",
    )
    environment_proxies: bool = Field(
        default=True, description="Whether the proxies of HTTP_PROXY and its neighbours count, unless proxy_url is set."
    )
    http_proxy: str | None = Field(
        default=None, repr=False, validation_alias="HTTP_PROXY", description="The proxy for http:// addresses."
    )
    https_proxy: str | None = Field(
        default=None, repr=False, validation_alias="HTTPS_PROXY", description="The proxy for https:// addresses."
    )
    all_proxy: str | None = Field(
        default=None, repr=False, validation_alias="ALL_PROXY", description="The proxy where neither of these is set."
    )
    no_proxy: _Names = Field(
        default=(),
        validation_alias="NO_PROXY",
        description="Hosts that are reached without a proxy: example.com (with all hosts below), .example.com (only "
        "those below), addresses, networks such as 10.0.0.0/8, each with a :port if need be; * for all.",
    )

    tls_ca_file: Path | None = Field(
        default=None, description="The certificates of trusted authorities. Unset: those of the system."
    )
    tls_cert_file: Path | None = Field(default=None, description="The client's own certificate.")
    tls_key_file: Path | None = Field(
        default=None, description="The key of the client's certificate, where it isn't in the same file."
    )

    @field_validator("base_url", mode="after")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = _split_url(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as https://billing.internal/v1")
        if "@" in parts.netloc:
            raise ValueError("has a user or a password, which belong into an auth= of the calls")
        if parts.query or parts.fragment:
            raise ValueError("has a query or a fragment, to which no path can be added")
        return value.strip()

    @field_validator(*_PROXIES, mode="after")
    @classmethod
    def _check_proxy(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # Other programs take a proxy without a scheme, too.
        value = value.strip() if "://" in value else f"http://{value.strip()}"
        parts = _split_url(value)
        if parts.scheme not in _PROXY_SCHEMES or not parts.hostname:
            raise ValueError(f"expected a proxy such as http://host:3128; schemes are {', '.join(_PROXY_SCHEMES)}")
        return value

    @field_validator("forward_hosts", "forward_baggage_hosts", mode="after")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_host_pattern, value))

    @model_validator(mode="after")
    def _check_together(self) -> HttpSettings:
        if self.backoff_base > self.backoff_cap:
            raise ValueError("backoff_base: must not be above backoff_cap")
        if self.max_idle_connections > self.max_connections and "max_idle_connections" in self.model_fields_set:
            raise ValueError("max_idle_connections: must not be above max_connections")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file: needs tls_cert_file, the certificate of the key")
        return self

    @field_serializer(*_PROXIES)
    def _mask_password(self, value: str | None) -> str | None:
        userinfo, separator, rest = (value or "").rpartition("@")
        if not separator:
            return value
        scheme, _, user = userinfo.partition("://")
        name, colon, _ = user.partition(":")
        return f"{scheme}://{name}{':***' if colon else ''}@{rest}"


def _split_url(value: str) -> SplitResult:
    if not value.isprintable():
        raise ValueError("isn't a URL: it has characters that can't be printed")
    try:
        parts = urlsplit(value.strip())
        _ = parts.port
    except ValueError:
        # The parser's message repeats parts of the text, which may be a password.
        raise ValueError("isn't a URL") from None
    return parts
