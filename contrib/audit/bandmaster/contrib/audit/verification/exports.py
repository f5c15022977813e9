"""Verify an export, without a database: links, hashes, personal facts and the signature of the file."""

from __future__ import annotations

from pathlib import Path

from bandmaster.contrib.audit.chain.anchors import EXPORT
from bandmaster.contrib.audit.chain.keys import ChainKeys
from bandmaster.contrib.audit.chain.link_json import parse_link
from bandmaster.contrib.audit.chain.signed_lines import SignedLinesReader
from bandmaster.contrib.audit.chain.verifier import Head, StreamVerifier
from bandmaster.contrib.audit.errors import UnverifiableError
from bandmaster.contrib.audit.verification.report import VerificationReport


def verify_export(path: Path, keys: ChainKeys) -> VerificationReport:
    """Verify an export, line by line.

    Without the keys only the links and the personal facts are verified; the report names the keys that are missing.

    Raises:
        UnverifiableError: the file can't be read, isn't an export, is cut off, or was changed.
    """
    report = VerificationReport()
    verifier: StreamVerifier | None = None
    try:
        with path.open("rb") as file:
            reader = SignedLinesReader(file, str(path), keys)
            if reader.kind != EXPORT:
                raise UnverifiableError(f"{path} isn't an export of the audit trail")
            for number, line in enumerate(reader.lines(), start=2):
                try:
                    link = parse_link(line)
                except ValueError as error:
                    raise UnverifiableError(f"{path}: line {number} {error}") from error
                if verifier is None or verifier.report.stream != link.stream:
                    if verifier is not None:
                        report.add(verifier.finish())
                    if link.stream in report.heads:
                        raise UnverifiableError(f"{path}: the entries of the stream {link.stream!r} aren't together")
                    verifier = _begin(link.stream, link.sequence, link.previous, keys)
                verifier.add(link)
            if verifier is not None:
                report.add(verifier.finish())
            if reader.unknown_key is not None:
                report.unknown_keys.add(reader.unknown_key)
    except OSError as error:
        raise UnverifiableError(f"{path} can't be read: {error.strerror}") from error
    return report


def _begin(stream: str, sequence: int, previous: str, keys: ChainKeys) -> StreamVerifier:
    if sequence <= 1:
        return StreamVerifier(stream, keys, is_part=True)
    verifier = StreamVerifier(stream, keys, Head(stream, sequence - 1, previous), is_part=True)
    verifier.report.notes.append(f"begins with entry {sequence}")
    return verifier
