"""The settings of the web parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bandmaster.contrib.web.addresses import parse_host, parse_origin
from bandmaster.contrib.web.origin_expressions import check_origin_expression
from bandmaster.contrib.web.path_globs import compile_globs
from bandmaster.kernel import Settings

_Names = Annotated[tuple[str, ...], NoDecode]
_Globs = TypeVar("_Globs", tuple[str, ...], Mapping[str, int])

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class WebSettings(Settings):
    """Settings of the web parts, read from variables that begin with ``WEB_``. Lists are separated by commas."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="WEB_")

    trust_request_id: bool = Field(
        default=False,
        description="Accept valid x-request-id and x-correlation-id headers of requests; only behind a proxy that sets "
        "them.",
    )

    access_log: Literal["auto", "json", "text", "logging", "off"] = Field(
        default="auto",
        description="One record for each request: JSON or text on standard output, or a record of the logger "
        "bandmaster.web.access; auto: an event of bandmaster-logging where that is active, else text on a terminal, "
        "else JSON.",
    )
    access_log_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The share of requests that are logged; errors and slow requests always are.",
    )
    access_log_slow: PositiveFloat = Field(default=1.0, description="Seconds from which a request counts as slow.")
    access_log_exclude: _Names = Field(default=(), description="Globs of paths that aren't logged, such as /static/*.")
    access_log_quiet: _Names = Field(
        default=("/health", "/healthz", "/metrics", "/ping"),
        description="Globs of paths that are logged only when they fail (status 400 and up, or slow).",
    )

    cors_origins: _Names = Field(
        default=(), description="Origins whose pages may call, such as https://shop.example; or *."
    )
    cors_origin_regex: str | None = Field(
        default=None,
        description=r"Origins whose pages may call, as a regular expression for the whole origin: "
        r"https://[a-z0-9-]+\.shop\.example.",
    )
    cors_methods: _Names = Field(default=("*",), description="Methods that pages of these origins may use.")
    cors_headers: _Names = Field(default=("*",), description="Request headers that pages of these origins may send.")
    cors_expose_headers: _Names = Field(
        default=("x-request-id",), description="Response headers that these pages may read."
    )
    cors_credentials: bool = Field(
        default=False, description="Whether these pages may send cookies; refused with origin *."
    )
    cors_private_network: bool = Field(
        default=False, description="Whether public pages may call into a private network."
    )
    cors_max_age: NonNegativeInt = Field(
        default=600, description="Seconds for which browsers may cache a preflight's answer."
    )

    websocket_origins: _Names = Field(
        default=(),
        description="Origins whose pages may open WebSockets, besides the site's own and those of cors_origins; * for "
        "any. Programs send no Origin and are always let in.",
    )
    allowed_hosts: _Names = Field(
        default=("*",), description="Host names that are served: names, *.example.com for all below one, or * for any."
    )

    security_headers: bool = Field(default=True, description="Send headers that switch on browsers' security features.")
    content_security_policy: str = Field(
        default="base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
        description="The Content-Security-Policy header; empty for none.",
    )
    frame_options: Literal["DENY", "SAMEORIGIN", ""] = Field(
        default="DENY", description="The X-Frame-Options header; empty for none."
    )
    referrer_policy: str = Field(
        default="strict-origin-when-cross-origin", description="The Referrer-Policy header; empty for none."
    )
    opener_policy: Literal["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none", ""] = (
        Field("same-origin", description="The Cross-Origin-Opener-Policy header; empty for none.")
    )
    permissions_policy: str = Field(default="", description="The Permissions-Policy header; empty for none.")
    hsts_seconds: NonNegativeInt | None = Field(
        default=None,
        description="Seconds for which browsers must use HTTPS, 0 for no such header; unset: a year in production. "
        "Sent in answers to HTTPS alone.",
    )
    hsts_subdomains: bool = Field(
        default=False, description="Whether hsts_seconds holds for every name below the host as well."
    )

    max_header_bytes: PositiveInt = Field(
        default=64 * 1024, description="The most bytes that the values of a request's headers may have together."
    )
    max_body_bytes: NonNegativeInt | None = Field(
        default=10 * 1024 * 1024, description="The most bytes that a request body may have; 'none' for no limit."
    )
    body_limits: Mapping[str, NonNegativeInt] = Field(
        default={}, description='Limits for paths by glob, as JSON; the first match counts: {"/uploads/*": 1000000000}.'
    )
    max_message_bytes: PositiveInt | None = Field(
        default=1024 * 1024,
        description="The most bytes that a client's WebSocket message may have; 'none' for no limit.",
    )
    request_timeout: PositiveFloat | None = Field(
        default=None,
        description="Seconds until a response must have begun; unset for no limit. Streams may go on for longer.",
    )

    @field_validator("cors_origins", "websocket_origins")
    @classmethod
    def _parse_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value and len(value) > 1:
            raise ValueError("* lets every origin in, so that naming others beside it means nothing")
        return tuple(each if each == "*" else parse_origin(each) for each in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _parse_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one host name; * serves any")
        if "*" in value and len(value) > 1:
            raise ValueError("* serves every host, so that naming others beside it means nothing")
        return tuple(each if each == "*" else parse_host(each) for each in value)

    @field_validator("cors_methods", "cors_headers", "cors_expose_headers")
    @classmethod
    def _check_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _TOKEN.fullmatch(each):
                raise ValueError(f"{each!r} can't be a method or the name of a header")
        return value

    @field_validator("cors_methods")
    @classmethod
    def _capitalize_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.upper() for each in value)

    @field_validator("cors_origin_regex")
    @classmethod
    def _check_expression(cls, value: str | None) -> str | None:
        return check_origin_expression(value) if value else None

    @field_validator("content_security_policy", "permissions_policy", "referrer_policy")
    @classmethod
    def _check_header_value(cls, value: str) -> str:
        value = value.strip()
        for character in value:
            if not ("\x20" <= character <= "\x7e" or character == "\t"):
                raise ValueError(f"has a {character!r}, which no header may carry; write it in one line of ASCII")
        return value

    @field_validator("referrer_policy")
    @classmethod
    def _check_referrer_policy(cls, value: str) -> str:
        for each in value.split(",") if value else ():
            if each.strip().lower() not in _REFERRER_POLICIES:
                known = ", ".join(_REFERRER_POLICIES)
                raise ValueError(f"{each.strip()!r} is no referrer policy; there are {known}")
        return value

    @field_validator("access_log_exclude", "access_log_quiet", "body_limits")
    @classmethod
    def _check_globs(cls, value: _Globs) -> _Globs:
        compile_globs(value)
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> WebSettings:
        if self.cors_credentials and "*" in self.cors_origins:
            raise ValueError(
                "cors_credentials: refused with cors_origins=*, which would let every page on the web act for the user "
                "who is logged in; name the origins"
            )
        return self


_REFERRER_POLICIES = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)
