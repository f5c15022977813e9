"""Files of JSON lines with a signature in the last line: exports and checkpoints. Read and written line by line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.entries.canonical import parse_canonical, render_canonical
from bandmaster.contrib.audit.errors import UnverifiableError

MARK = "bandmaster_audit"
"""The name in the first line for the kind of a file."""
FORMAT = 1
_MAX_LINE = 16 * 2**20
_DOMAIN = b"bandmaster audit file 1\n"


class SignedLinesWriter:
    """Writes the lines of a file, and signs all of them at the end."""

    def __init__(self, file: IO[bytes], kind: str, keys: ChainKeys, header: Mapping[str, Any]) -> None:
        self.count = 0
        self._file = file
        self._keys = keys
        self._digest = hashlib.sha256()
        self._write({MARK: kind, "format": FORMAT, "key": keys.current, **header})

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line."""
        self._write(line)
        self.count += 1

    def finish(self) -> str:
        """Write the last line, with the number of lines and the signature; returns the signature."""
        signature = self._keys.hash(_make_message(self._digest), self._keys.current)
        self._file.write((render_canonical({"lines": self.count, "signature": signature}) + "\n").encode())
        return signature

    def _write(self, line: Mapping[str, Any]) -> None:
        data = (render_canonical(dict(line)) + "\n").encode()
        self._digest.update(data)
        self._file.write(data)


class SignedLinesReader:
    """Reads the lines of a file in turn, and checks the signature when the last one is reached."""

    def __init__(self, file: IO[bytes], name: str, keys: ChainKeys) -> None:
        self._file = file
        self._name = name
        self._keys = keys
        self._digest = hashlib.sha256()
        self.unknown_key: str | None = None
        """The id of the key of the signature, if the settings don't have it: nothing vouches for the file then."""
        first = self._read_line()
        self.header: dict[str, Any] = first if isinstance(first, dict) else {}
        """The first line."""

    @property
    def kind(self) -> str | None:
        """The kind of the file: ``export`` or ``checkpoint``; None if the file is neither."""
        kind = self.header.get(MARK)
        return kind if isinstance(kind, str) else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines between the first and the last.

        Raises:
            UnverifiableError: the file has another format, is cut off, or was changed. The lines until then prove
                nothing.
        """
        if self.header.get("format") != FORMAT:
            raise UnverifiableError(f"{self._name} has a format that this version doesn't read")
        key_id = str(self.header.get("key", ""))
        count = 0
        while True:
            before = self._digest.copy()
            line = self._read_line()
            if line is None:
                raise UnverifiableError(f"{self._name} is cut off: the last line with the signature is missing")
            if isinstance(line, dict) and "signature" in line:
                break
            if not isinstance(line, dict):
                raise UnverifiableError(f"{self._name}: line {count + 2} isn't a JSON object")
            count += 1
            yield line
        if not self._keys.knows(key_id):
            self.unknown_key = key_id
            return
        if self._keys and not key_id:
            raise UnverifiableError(
                f"{self._name} is signed without a key, although there are keys: anybody can write it"
            )
        if line.get("lines") != count or not self._keys.confirms(_make_message(before), key_id, str(line["signature"])):
            raise UnverifiableError(f"{self._name} was changed since it was written: its signature is another one")

    def require_key(self) -> None:
        """Check, after the last line, that the signature could be verified.

        Raises:
            UnverifiableError: the settings don't have the key.
        """
        if self.unknown_key is not None:
            raise UnverifiableError(
                f"{self._name} is signed with the key {self.unknown_key!r}, which AUDIT_KEYS doesn't have"
            )

    def _read_line(self) -> Any:
        data = self._file.readline(_MAX_LINE)
        if not data.endswith(b"\n"):
            return None
        self._digest.update(data)
        try:
            return parse_canonical(data.decode())
        except (ValueError, RecursionError):
            return {}


@contextmanager
def replacing_file(path: Path) -> Generator[IO[bytes], None, None]:
    """A file that takes the place of ``path`` when the block ends without an error, complete and on the disk.

    Only the owner may read it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_log_lines(file: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of log lines. Other lines are left out."""
    for data in file:
        start = data.find(b"{")
        if start < 0:
            continue
        try:
            line = json.loads(data[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _make_message(digest: Any) -> bytes:
    text: str = digest.hexdigest()
    return _DOMAIN + text.encode()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
