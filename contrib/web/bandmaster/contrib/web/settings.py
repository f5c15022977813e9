"""The settings of the web parts, and what is refused about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bandmaster.contrib.web.path_globs import compile_globs

_Names = Annotated[tuple[str, ...], NoDecode]
_Globs = TypeVar("_Globs", tuple[str, ...], Mapping[str, int])

# An address of version 6 begins with a bracket, too.
_JSON = re.compile(r"""\s*(\[\s*["'\]]|\{)""")
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
    cors_origin_regex: str | None = Field(
        None,
        description=r"Origins whose pages may call, as a regular expression for the whole: "
        r"https://[a-z0-9-]+\.shop\.example.",
    )
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
    content_security_policy: str = Field(
        "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
        description="The Content-Security-Policy header; empty for none.",
    )
    frame_options: Literal["DENY", "SAMEORIGIN", ""] = Field(
        "DENY", description="The X-Frame-Options header; empty for none."
    )
    referrer_policy: str = Field(
        "strict-origin-when-cross-origin", description="The Referrer-Policy header; empty for none."
    )
    opener_policy: Literal["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none", ""] = (
        Field("same-origin", description="The Cross-Origin-Opener-Policy header; empty for none.")
    )
    permissions_policy: str = Field("", description="The Permissions-Policy header; empty for none.")
    hsts_seconds: NonNegativeInt | None = Field(
        None,
        description="Seconds for which browsers are to come back by HTTPS only, 0 for no such header; unset: a year in "
        "production. Sent in answers to HTTPS alone.",
    )
    hsts_subdomains: bool = Field(False, description="Whether that holds for every name below the host's as well.")

    max_header_bytes: PositiveInt = Field(
        64 * 1024, description="Bytes that the values of a request's headers may have together."
    )
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
            if _JSON.match(value):
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
        if "*" in value and len(value) > 1:
            raise ValueError("* lets every origin in, so that naming others beside it means nothing")
        return tuple(each if each == "*" else _origin(each) for each in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one host name; * serves any")
        if "*" in value and len(value) > 1:
            raise ValueError("* serves every host, so that naming others beside it means nothing")
        return tuple(each if each == "*" else _host(each) for each in value)

    @field_validator("cors_methods", "cors_headers", "cors_expose_headers")
    @classmethod
    def _are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _TOKEN.fullmatch(each):
                raise ValueError(f"{each!r} can't be a method or the name of a header")
        return value

    @field_validator("cors_methods")
    @classmethod
    def _in_capitals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.upper() for each in value)

    @field_validator("cors_origin_regex")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        return _origin_expression(value) if value else None

    @field_validator("content_security_policy", "permissions_policy", "referrer_policy")
    @classmethod
    def _fits_a_header(cls, value: str) -> str:
        value = value.strip()
        for character in value:
            if not ("\x20" <= character <= "\x7e" or character == "\t"):
                raise ValueError(f"has a {character!r}, which no header may carry; write it in one line of ASCII")
        return value

    @field_validator("referrer_policy")
    @classmethod
    def _is_known(cls, value: str) -> str:
        for each in value.split(",") if value else ():
            if each.strip().lower() not in _REFERRER_POLICIES:
                known = ", ".join(_REFERRER_POLICIES)
                raise ValueError(f"{each.strip()!r} is no referrer policy; there are {known}")
        return value

    @field_validator("access_log_exclude", "body_limits")
    @classmethod
    def _are_globs(cls, value: _Globs) -> _Globs:
        compile_globs(value)
        return value

    @model_validator(mode="after")
    def _agree(self) -> WebSettings:
        if self.cors_credentials and "*" in self.cors_origins:
            raise ValueError(
                "cors_credentials: refused with cors_origins=*, which would let every page on the web act for whoever "
                "is logged in; name the origins"
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


# -- origins and hosts -----------------------------------------------------------------------------------------------

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454, 6.2): in lower case, without its scheme's own port."""
    if text.lower() == "null":
        raise ValueError("'null' is the origin of sandboxed pages and of files, whosever they are; it can't be let in")
    if "*" in text:
        raise ValueError(
            f"{text!r}: * stands for every origin, not for a part of one; name each, or match them with "
            r"cors_origin_regex, such as https://[a-z0-9-]+\.shop\.example"
        )
    scheme, separator, rest = text.lower().partition("://")
    if not separator:
        scheme, rest = "https", text.lower()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    name, port = _split_port(authority)
    host = _canonical(name)
    if host is None or not _SCHEME.fullmatch(scheme) or not (port is None or _is_port(port)):
        raise ValueError(
            f"{text!r} is no origin; it has a scheme, a host and perhaps a port: https://shop.example:8443"
        )
    # Browsers leave the scheme's own port out.
    origin = f"{scheme}://{host}" + ("" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}")
    if not separator:
        raise ValueError(f"{text!r} has no scheme; did you mean {origin!r}?")
    if rest != authority:
        raise ValueError(f"{text!r} goes on after the host, which no Origin header does; did you mean {origin!r}?")
    if not name.isascii():
        raise ValueError(f"{text!r} has more than ASCII, which browsers don't send; did you mean {origin!r}?")
    return origin


def _host(text: str) -> str:
    """A host as it is compared: in lower case, without a dot at its end."""
    _, separator, rest = text.lower().rpartition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    name, port = _split_port(authority.removesuffix("."))
    wildcard = "*." if name.startswith(("*.", ".")) else ""
    host = _canonical(name.removeprefix("*").removeprefix(".") if wildcard else name)
    if host is None or (wildcard and host.startswith("[")):
        raise ValueError(f"{text!r} is no host name: expected such as shop.example, *.shop.example, [::1] or *")
    host = wildcard + host
    if separator or port is not None or authority != rest or not name.isascii() or name.startswith("."):
        raise ValueError(
            f"{text!r} is more than a host name, or another notation of one: give it without scheme, port and path, "
            f"in ASCII; did you mean {host!r}?"
        )
    return host


def _split_port(authority: str) -> tuple[str, str | None]:
    name, separator, port = authority.rpartition(":")
    # The last colon of an address of version 6 is its own.
    return (name, port) if separator and not authority.endswith("]") else (authority, None)


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= 0xFFFF


def _canonical(name: str) -> str | None:
    """The name as it goes over the wire; none if there can't be such a host."""
    if name.startswith("[") and name.endswith("]"):
        try:
            return f"[{IPv6Address(name[1:-1]).compressed}]"
        except AddressValueError:
            return None
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return name if _NAME.fullmatch(name) else None


def _origin_expression(text: str) -> str:
    """The expression, if it can't be meant otherwise than it says. It is held against whole origins (fullmatch)."""
    try:
        fits = re.compile(text).fullmatch
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if any(map(fits, _ANYBODY)):
        raise ValueError(f"{text!r} lets every origin in; name the hosts, or set cors_origins=* if that is meant")
    meant = _with_dots_escaped(text)
    if meant != text:
        raise ValueError(
            f"{text!r} has a '.' that stands for any character, so that others could register a name that fits; did "
            f"you mean {meant!r}?"
        )
    if _OPEN_END.search(text):
        raise ValueError(
            f"{text!r} has an open end, which https://shop.example.evil.example fits as well; end it with the host, or "
            "with (:[0-9]+)? for ports"
        )
    if _OPEN_BEGINNING.search(text):
        raise ValueError(
            rf"{text!r} has '.*' or '.+' before a name, which https://evilshop.example fits as well; for the names below "
            r"one write [a-z0-9-]+\. before it"
        )
    return text


# Of nobody that could be meant (RFC 6761).
_ANYBODY = ("https://anybody.invalid", "http://anybody.invalid", "https://a-7.anybody.invalid", "null")
_OPEN_END = re.compile(r"(?<![:\\])\.[*+][?)$]*$")
_OPEN_BEGINNING = re.compile(r"(?<!\\)\.[*+][?)]*[a-z0-9]", re.IGNORECASE)
# Escapes and sets in brackets pass as they are.
_BARE_DOT = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\.)(?![*+{])", re.DOTALL)


def _with_dots_escaped(expression: str) -> str:
    return _BARE_DOT.sub(lambda piece: r"\." if piece[1] else piece[0], expression)
