"""The settings of the web parts, and what is refused about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_Names = Annotated[tuple[str, ...], NoDecode]
_HeaderText = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$")]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")
_HOST = re.compile(r"(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]|\*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class WebSettings(BaseSettings):
    """Settings of the web parts, read from variables that begin with ``WEB_``. Lists are separated by commas."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="WEB_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    trust_request_id: bool = Field(
        False,
        description="Take over well-formed x-request-id and x-correlation-id headers; only behind a proxy that sets "
        "them.",
    )

    access_log: Literal["auto", "json", "text", "structlog", "off"] = Field(
        "auto",
        description="A line for each request: JSON or text on standard output, or an event for structlog; auto: text "
        "on a terminal, else JSON.",
    )
    access_log_sample: float = Field(
        1.0, ge=0, le=1, description="The share of requests that are logged; errors and slow requests always are."
    )
    access_log_slow: PositiveFloat = Field(1.0, description="Seconds from which on a request is slow.")
    access_log_exclude: _Names = Field((), description="Globs of paths that aren't logged, such as /static/*.")

    cors_origins: _Names = Field((), description="Origins whose pages may call, such as https://shop.example; or *.")
    cors_origin_regex: str | None = Field(None, description="Origins whose pages may call, as a regular expression.")
    cors_methods: _Names = Field(("*",), description="Methods that they may use.")
    cors_headers: _Names = Field(("*",), description="Request headers that they may send.")
    cors_expose_headers: _Names = Field(("x-request-id",), description="Response headers that they may read.")
    cors_credentials: bool = Field(False, description="Whether they may send cookies; never with the origin *.")
    cors_private_network: bool = Field(False, description="Whether public pages may call into a private network.")
    cors_max_age: NonNegativeInt = Field(600, description="Seconds for which browsers may keep a preflight's answer.")

    websocket_origins: _Names = Field(
        (),
        description="Origins whose pages may open WebSockets beside the site's own and those of cors_origins; * for "
        "any. Programs send no Origin and may always.",
    )
    allowed_hosts: _Names = Field(
        ("*",), description="Host names that are served: names, *.example.com for all below one, or * for any."
    )

    security_headers: bool = Field(True, description="Send headers that switch on what protection browsers have.")
    content_security_policy: _HeaderText = Field(
        "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
        description="The Content-Security-Policy header; empty for none.",
    )
    frame_options: Literal["DENY", "SAMEORIGIN", ""] = Field(
        "DENY", description="The X-Frame-Options header; empty for none."
    )
    referrer_policy: _HeaderText = Field(
        "strict-origin-when-cross-origin", description="The Referrer-Policy header; empty for none."
    )
    opener_policy: Literal["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none", ""] = (
        Field("same-origin", description="The Cross-Origin-Opener-Policy header; empty for none.")
    )
    permissions_policy: _HeaderText = Field("", description="The Permissions-Policy header; empty for none.")
    hsts_seconds: NonNegativeInt | None = Field(
        None,
        description="Seconds for which browsers are to come back by HTTPS only, 0 for no such header; unset: a year in "
        "production. Sent in answers to HTTPS alone.",
    )
    hsts_subdomains: bool = Field(False, description="Whether that holds for every name below the host's as well.")

    max_body_bytes: NonNegativeInt | None = Field(
        10 * 1024 * 1024, description="Bytes that a request body may have; 'none' for no limit."
    )
    body_limits: Mapping[str, NonNegativeInt] = Field(
        {}, description='Other limits by glob of the path, as JSON, the first that fits: {"/uploads/*": 1000000000}.'
    )
    max_message_bytes: PositiveInt | None = Field(
        1024 * 1024, description="Bytes that a WebSocket message from a client may have; 'none' for no limit."
    )
    request_timeout: PositiveFloat | None = Field(
        None, description="Seconds until a response must have begun; unset for no limit. Streams may go on for longer."
    )

    @field_validator(
        "access_log_exclude",
        "allowed_hosts",
        "cors_expose_headers",
        "cors_headers",
        "cors_methods",
        "cors_origins",
        "websocket_origins",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            if value.lstrip().startswith(("[", "{")):
                raise ValueError("expected values with commas between them, not JSON")
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("max_body_bytes", "max_message_bytes", mode="before")
    @classmethod
    def _no_limit(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @field_validator("cors_origins", "websocket_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(each) for each in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one host name; * serves any")
        for each in value:
            if not _HOST.fullmatch(each.lower()):
                raise ValueError(
                    f"{each!r} is no host name: give it without scheme, port and path, such as example.com"
                )
        return tuple(each.lower() for each in value)

    @field_validator("cors_methods", "cors_headers", "cors_expose_headers")
    @classmethod
    def _are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _TOKEN.fullmatch(each):
                raise ValueError(f"{each!r} is no method and no header name")
        return value

    @field_validator("cors_methods")
    @classmethod
    def _in_capitals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.upper() for each in value)

    @field_validator("cors_origin_regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _agree(self) -> WebSettings:
        if self.cors_credentials and "*" in self.cors_origins:
            raise ValueError(
                "cors_credentials: refused with cors_origins=*, which would let every page on the web act for whoever "
                "is logged in; name the origins"
            )
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise ValueError("cors_origins: * admits every origin, so naming others beside it means nothing")
        return self


def _origin(text: str) -> str:
    if text == "*":
        return text
    origin = text.lower()
    if not _ORIGIN.fullmatch(origin):
        hint = origin.rstrip("/")
        if "://" not in origin and _ORIGIN.fullmatch(f"https://{hint}"):
            raise ValueError(f"{text!r} has no scheme; did you mean 'https://{hint}'?")
        if _ORIGIN.fullmatch(hint):
            raise ValueError(f"{text!r} ends with '/', which no Origin header does; did you mean {hint!r}?")
        raise ValueError(
            f"{text!r} is no origin; it has a scheme, a host and perhaps a port: https://shop.example:8443"
        )
    scheme, _, authority = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    # Browsers leave the scheme's own port out.
    return origin.removesuffix(default) if default and authority.endswith(default) else origin
