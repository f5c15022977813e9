"""Write, read and compare lock files, which pin the distributions with parts, and the plan of these parts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any, cast

from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.discovery.pins import Pin, make_pin
from bandmaster.kernel.errors import DiscoveryError, Problem

LOCK_FILE = "bandmaster.lock"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Lock:
    """Distributions by their normalised names, and the order of the plan by group."""

    distributions: Mapping[str, Pin] = field(default_factory=dict[str, Pin])
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    on_start_failure: Mapping[str, str] = field(default_factory=dict[str, str])
    """The policy of each component that declares another one than ``stop``."""

    @classmethod
    def of(
        cls,
        found: Iterable[Found],
        order: Mapping[str, Sequence[str]] | None = None,
        on_start_failure: Mapping[str, str] | None = None,
    ) -> Lock:
        """The lock of the distributions that these parts come from, with the order and the policies of the plan.

        Files that differ between machines without a change of the content aren't hashed: scripts, byte code, and the
        installer's own files.

        Raises:
            DiscoveryError: the metadata of a distribution can't be read.
        """
        parts: dict[str, list[Found]] = {}
        for part in found:
            parts.setdefault(part.distribution, []).append(part)
        pins = {name: make_pin(parts[name]) for name in sorted(parts)}
        orders = {group: tuple(names) for group, names in sorted((order or {}).items())}
        return cls(pins, orders, dict(on_start_failure or {}))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Lock:
        """Read a lock file.

        Raises:
            DiscoveryError: there is no such file, or the file isn't a lock.
        """
        try:
            return cls.parse(Path(path).read_bytes().decode("utf-8-sig"))
        except FileNotFoundError as error:
            problem = Problem(f"There is no lock file {os.fspath(path)}.", "Make one with: bandmaster lock")
            raise DiscoveryError([problem]) from error
        except (OSError, ValueError) as error:
            message = f"The lock file {os.fspath(path)} can't be read: {_render_error(error)}."
            hint = "Restore it, make it anew with: bandmaster lock, or set BANDMASTER_LOCK_FILE to another."
            raise DiscoveryError([Problem(message, hint)]) from error

    @classmethod
    def parse(cls, text: str) -> Lock:
        """Parse the text of a lock file.

        Raises:
            ValueError: the text isn't a lock; the message names the place.
        """
        data = _check_object(json.loads(text), "the file")
        if (version := data.get("format")) != FORMAT:
            raise ValueError(f"format: this bandmaster reads {FORMAT}, got {version!r}")
        pins = _check_object(data.get("distributions"), "distributions")
        order = _check_object(data.get("order"), "order")
        return cls(
            {name: _parse_pin(pin, f"distributions.{name}") for name, pin in pins.items()},
            {group: _check_texts(names, f"order.{group}") for group, names in order.items()},
            _check_policies(data.get("on_start_failure", {})),
        )

    def text(self) -> str:
        """The text of the lock file: one fact per line, and the same text for the same lock."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "distributions": {name: asdict(pin) for name, pin in sorted(self.distributions.items())},
            "order": dict(sorted(self.order.items())),
        }
        if self.on_start_failure:
            data["on_start_failure"] = dict(sorted(self.on_start_failure.items()))
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the lock file, whole or not at all.

        Raises:
            OSError: the file can't be written; a former file is unchanged.
        """
        target = Path(path).resolve()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                file.write(self.text())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def drift(self, other: Lock) -> list[str]:
        """A line for each difference in ``other``; empty without any.

        Orders are compared for the groups in which both have one, because a lock that is made before the plan has none.
        Neither has it policies, which are compared where both have an order.
        """
        lines: list[str] = []
        for name in sorted({*self.distributions, *other.distributions}):
            mine, others = self.distributions.get(name), other.distributions.get(name)
            if mine is None:
                lines.append(f"+ {name} {cast('Pin', others).version} is installed, but isn't in the lock")
            elif others is None:
                lines.append(f"- {name} {mine.version} is in the lock, but isn't installed")
            elif mine != others:
                lines += _compare_pins(name, mine, others)
        for group in sorted(self.order.keys() & other.order.keys()):
            lines += _compare_orders(group, self.order[group], other.order[group])
        if self.order and other.order:
            lines += _compare_policies(self.on_start_failure, other.on_start_failure)
        return lines

    def loose(self) -> list[str]:
        """A warning for each distribution that is locked without the hashes of its code."""
        return [
            f"{name} {pin.version} is locked by its metadata alone: "
            f"{'it is an editable install' if pin.editable else 'it has no RECORD of its files'}"
            for name, pin in sorted(self.distributions.items())
            if pin.covers == "metadata"
        ]


def _compare_pins(name: str, mine: Pin, others: Pin) -> Iterator[str]:
    if mine.version != others.version:
        yield f"~ {name} {mine.version} → {others.version}"
    elif mine.covers != others.covers or mine.editable != others.editable:
        yield f"~ {name} {mine.version}: {_render_installation(mine)} → {_render_installation(others)}"
    elif mine.sha256 != others.sha256:
        hashes = f"{mine.sha256:.12}… → {others.sha256:.12}…"
        yield f"~ {name} {mine.version}: other content under the same version, {hashes}"
    yield from (f"~ {name}: no longer brings {part}" for part in mine.parts if part not in others.parts)
    yield from (f"~ {name}: now brings {part}" for part in others.parts if part not in mine.parts)


def _render_installation(pin: Pin) -> str:
    return "editable install" if pin.editable else "with RECORD" if pin.covers == "files" else "without RECORD"


def _compare_orders(group: str, mine: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    changes = list(unified_diff(mine, others, n=1, lineterm=""))
    if changes:
        yield f"~ order of {group}:"
        # The first two lines name files, as patches do.
        yield from (f"    {'…' if line.startswith('@@') else line}" for line in changes[2:])


def _compare_policies(mine: Mapping[str, str], others: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*mine, *others}):
        before, after = mine.get(name, "stop"), others.get(name, "stop")
        if before != after:
            yield f"~ {name}: on_start_failure {before} → {after}"


def _render_error(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _check_object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {value!r}")
    return cast("Mapping[str, Any]", value)


def _check_texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: expected a list of names, got {value!r}")
    return tuple(cast("list[str]", value))


def _check_policies(value: Any) -> Mapping[str, str]:
    policies = _check_object(value, "on_start_failure")
    for name, policy in policies.items():
        if not isinstance(policy, str):
            raise ValueError(f"on_start_failure.{name}: expected text, got {policy!r}")
    return policies


def _parse_pin(value: Any, where: str) -> Pin:
    pin = _check_object(value, where)
    for key in ("version", "sha256"):
        if not isinstance(pin.get(key), str):
            raise ValueError(f"{where}.{key}: expected text, got {pin.get(key)!r}")
    if pin.get("covers") not in ("files", "metadata"):
        raise ValueError(f"{where}.covers: expected 'files' or 'metadata', got {pin.get('covers')!r}")
    if not isinstance(pin.get("editable"), bool):
        raise ValueError(f"{where}.editable: expected true or false, got {pin.get('editable')!r}")
    return Pin(
        pin["version"], pin["sha256"], pin["covers"], pin["editable"], _check_texts(pin.get("parts"), f"{where}.parts")
    )
