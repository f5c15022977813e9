"""Anchors: entries that are known outside of the table, from checkpoints, exports and logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.signed_lines import (
    SignedLinesReader,
    SignedLinesWriter,
    read_log_lines,
    replacing_file,
)
from bandmaster.contrib.audit.chain.verifier import Head
from bandmaster.contrib.audit.entries.entry import render_time
from bandmaster.contrib.audit.errors import UnverifiableError

CHECKPOINT, EXPORT = "checkpoint", "export"
LOG_EVENT = "audit entry"
"""The event by which the log tells of each entry."""


def write_checkpoint(path: Path, heads: Iterable[Head], keys: ChainKeys) -> int:
    """Write the last entries of all streams to a signed file, in place of an earlier one; returns how many.

    Raises:
        UnverifiableError: the file can't be written.
    """
    try:
        with replacing_file(path) as file:
            return write_heads(file, heads, keys)
    except OSError as error:
        raise UnverifiableError(f"the checkpoint {path} can't be written: {error.strerror}") from error


def write_heads(file: IO[bytes], heads: Iterable[Head], keys: ChainKeys) -> int:
    """Write a checkpoint to an open file."""
    writer = SignedLinesWriter(file, CHECKPOINT, keys, {"at": render_time(datetime.now(UTC))})
    for head in heads:
        writer.write({"stream": head.stream, "sequence": head.sequence, "hash": head.hash, "entry_key": head.key_id})
    writer.finish()
    return writer.count


def read_checkpoint(path: Path, keys: ChainKeys) -> dict[str, Head]:
    """The last entries of all streams by the stream, from a file; empty if there is none.

    Raises:
        UnverifiableError: the file can't be read, isn't a checkpoint, or was changed.
    """
    heads: dict[str, Head] = {}
    try:
        with path.open("rb") as file:
            reader = SignedLinesReader(file, str(path), keys)
            if reader.kind != CHECKPOINT:
                raise UnverifiableError(f"{path} isn't a checkpoint")
            for line in reader.lines():
                head = read_anchor(line)
                if head is None:
                    raise UnverifiableError(f"{path} has a line that names no entry")
                heads[head.stream] = head
            reader.require_key()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnverifiableError(f"the checkpoint {path} can't be read: {error.strerror}") from error
    return heads


def read_anchors(path: Path, keys: ChainKeys) -> Iterator[Head]:
    """The entries that a file knows: an export, a checkpoint, or log lines in JSON. The file is read as it goes.

    Raises:
        UnverifiableError: the file can't be read, was changed, or names no entry.
    """
    found = 0
    try:
        with path.open("rb") as file:
            reader = SignedLinesReader(file, str(path), keys)
            if reader.kind in (CHECKPOINT, EXPORT):
                lines = reader.lines()
            else:
                file.seek(0)
                lines = (line for line in read_log_lines(file) if line.get("event") == LOG_EVENT)
            for line in lines:
                head = read_anchor(line)
                if head is not None:
                    found += 1
                    yield head
            reader.require_key()
    except OSError as error:
        raise UnverifiableError(f"{path} can't be read: {error.strerror}") from error
    if not found:
        raise UnverifiableError(
            f"{path} names no entry: expected an export, a checkpoint, or log lines in JSON with the event "
            f"{LOG_EVENT!r}"
        )


def read_anchor(line: Mapping[str, Any]) -> Head | None:
    """The entry that a line names; None if it names none."""
    stream, sequence, digest = (line.get(name) for name in ("stream", "sequence", "hash"))
    if isinstance(stream, str) and type(sequence) is int and sequence > 0 and isinstance(digest, str):
        return Head(stream, sequence, digest, str(line.get("entry_key") or ""))
    return None
