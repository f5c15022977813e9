"""Choose between the own settings and the standard variables, and note which one won. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandmaster.contrib.tracing.key_values import parse_key_values

_T = TypeVar("_T")

DEFAULT_HTTP_ENDPOINT = "http://localhost:4318"
DEFAULT_GRPC_ENDPOINT = "http://localhost:4317"

Exporter: TypeAlias = Literal["otlp", "console", "none"]
Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
Compression: TypeAlias = Literal["none", "gzip"]

Candidates: TypeAlias = Sequence[tuple[str, object]]
"""Variables with their values, the first one first; None for a variable that isn't set."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[_T]):
    """A value and the source, a variable."""

    value: _T
    source: str = ""
    """The variable; empty for a default."""
    overruled: tuple[str, ...] = ()
    """Further variables that are set for the same, and don't count."""

    @property
    def origin(self) -> str:
        """The variable in brackets, for a line behind the value; nothing for a default."""
        return f" ({self.source})" if self.source else ""


@dataclass(frozen=True, slots=True)
class Tls:
    """The files by which the collector and this process verify each other."""

    authorities: Path | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfiguration:
    """All that an exporter of spans or metrics needs, each value with the variable that it is from."""

    exporter: Choice[Exporter]
    protocol: Choice[Protocol]
    endpoint: Choice[str]
    """The whole URL, with the path."""
    headers: Choice[dict[str, str]]
    timeout: Choice[float]
    compression: Choice[Compression]
    tls: Choice[Tls]

    def describe_conflicts(self) -> Iterator[str]:
        """A line for each value that is set more than once."""
        for field in fields(self):
            choice = getattr(self, field.name)
            if isinstance(choice, Choice) and choice.overruled:
                verb = "don't count" if len(choice.overruled) > 1 else "doesn't count"
                yield f"{choice.source} is set, so {' and '.join(choice.overruled)} {verb}"


def choose(default: _T, candidates: Candidates) -> Choice[_T]:
    """The first value that is set."""
    found = [(name, value) for name, value in candidates if value is not None]
    if not found:
        return Choice(default)
    (source, value), *others = found
    # The same value twice is no conflict.
    overruled = tuple(name for name, other in others if other != value)
    return Choice(value, source, overruled)  # type: ignore[arg-type]  # the settings types check the values


def choose_endpoint(candidates: Candidates, protocol: Protocol, signal_path: str) -> Choice[str]:
    """The URL of the collector. The candidates are the own setting, the signal's variable and the shared variable."""
    own, _, shared = (name for name, _ in candidates)
    if protocol == "grpc":
        return choose(DEFAULT_GRPC_ENDPOINT, candidates)
    choice = choose(DEFAULT_HTTP_ENDPOINT, candidates)
    # The standard variable of the signal is taken as it is; to a base URL the path of the signal is added.
    if choice.source in ("", shared) or (choice.source == own and urlsplit(choice.value).path in ("", "/")):
        return Choice(f"{choice.value.removesuffix('/')}{signal_path}", choice.source, choice.overruled)
    return choice


def choose_headers(candidates: Candidates) -> Choice[dict[str, str]]:
    """The headers of exports, with names in lower case."""
    choice: Choice[SecretStr | None] = choose(None, candidates)
    text = "" if choice.value is None else choice.value.get_secret_value()
    headers = {name.lower(): value for name, value in parse_key_values(text).items()}
    return Choice(headers, choice.source, choice.overruled)


def choose_tls(authorities: Candidates, certificate: Candidates, key: Candidates) -> Choice[Tls]:
    """The files of TLS, with the first variable that is set."""
    files: list[Choice[Path | None]] = [choose(None, each) for each in (authorities, certificate, key)]
    source = next((one.source for one in files if one.source), "")
    return Choice(Tls(*(one.value for one in files)), source, tuple(name for one in files for name in one.overruled))


def to_seconds(milliseconds: float | None) -> float | None:
    """Seconds, the unit of the own settings, for the milliseconds of a standard variable."""
    return None if milliseconds is None else milliseconds / 1000
