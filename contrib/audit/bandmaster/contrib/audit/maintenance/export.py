"""Export entries to a signed file of JSON lines, which an auditor verifies without the database."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bandmaster.contrib.audit.chain.anchors import EXPORT
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.link_json import render_link
from bandmaster.contrib.audit.chain.signed_lines import SignedLinesWriter, replacing_file
from bandmaster.contrib.audit.entries.entry import render_time
from bandmaster.contrib.audit.errors import AuditRefusedError
from bandmaster.contrib.audit.stores.store import AuditStore

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Range:
    """Entries of one stream: those behind ``after`` up to ``through``."""

    stream: str
    after: int
    through: int


@dataclass(frozen=True, slots=True)
class Export:
    """A file with entries."""

    path: Path
    entries: int
    sha256: str
    """The hash of the whole file."""


async def export_entries(
    store: AuditStore, ranges: Sequence[Range], path: Path, keys: ChainKeys, *, with_personal: bool = True
) -> Export:
    """Write entries to a file, stream by stream. The file is complete or not there.

    Raises:
        AuditUnavailableError, AuditRefusedError: the store can't be read, or the file can't be written.
    """
    header: Mapping[str, object] = {"at": render_time(datetime.now(UTC)), "personal": with_personal}
    try:
        with replacing_file(path) as file:
            writer = SignedLinesWriter(file, EXPORT, keys, header)
            for each in ranges:
                after = each.after
                while after < each.through:
                    links = await store.read(each.stream, after=after, limit=min(_PAGE, each.through - after))
                    if not links:
                        break
                    for link in links:
                        if link.sequence <= each.through:
                            writer.write(render_link(link, with_personal=with_personal))
                    after = links[-1].sequence
            writer.finish()
    except ValueError as error:
        raise AuditRefusedError(f"the entries can't be exported: {error}. See 'bandmaster audit verify'") from error
    except OSError as error:
        raise AuditRefusedError(f"{path} can't be written: {error.strerror}") from error
    return Export(path, writer.count, hash_file(path))


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
