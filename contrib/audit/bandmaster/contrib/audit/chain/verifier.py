"""`StreamVerifier`: verifies one stream, link by link, in memory that doesn't grow with the stream. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bandmaster.contrib.audit.chain.actions import (
    ACKNOWLEDGED,
    ERASED,
    PRUNED,
    Erasure,
    Pruning,
    read_acknowledged,
)
from bandmaster.contrib.audit.chain.commitments import commit
from bandmaster.contrib.audit.chain.findings import Finding, FindingKind
from bandmaster.contrib.audit.chain.keys import NO_KEY, ChainKeys
from bandmaster.contrib.audit.chain.link import ChainLink, genesis_hash
from bandmaster.contrib.audit.entries.canonical import parse_canonical

MAX_FINDINGS = 1000
"""Findings of one stream that are kept; more are counted."""
_MAX_PENDING = 100_000
"""Reports of erasures that a verification waits for at the same time."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a stream up to some point."""

    stream: str
    sequence: int
    hash: str
    key_id: str = NO_KEY


@dataclass(slots=True)
class StreamReport:
    """The findings and the numbers of the verification of one stream."""

    stream: str
    first: int | None = None
    """The lowest sequence that was verified."""
    head: Head | None = None
    """The last entry that was verified, or the one where the verification began."""
    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0
    """Findings beyond those that are listed."""
    acknowledged: list[Finding] = field(default_factory=list)
    """Findings that entries of the stream acknowledge."""
    unkeyed: int = 0
    """Entries without a key: for them only accidents are found."""
    withheld: int = 0
    """Personal fields that an export doesn't have, and that weren't verified."""
    pruned_through: int = 0
    """The last sequence that a reported pruning has removed."""
    unknown_keys: set[str] = field(default_factory=set)
    """Ids of keys that the settings don't have. The entries can't be judged."""
    notes: list[str] = field(default_factory=list)
    confirmed: frozenset[str] = frozenset()
    """The fingerprints that entries of the stream acknowledge."""

    def sort_acknowledged(self) -> None:
        """Move the findings that are acknowledged to their own list."""
        self.acknowledged += [each for each in self.findings if each.fingerprint in self.confirmed]
        self.findings = [each for each in self.findings if each.fingerprint not in self.confirmed]

    def find(self, finding: Finding) -> None:
        """Add a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more_findings += 1

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong that isn't acknowledged."""
        return not self.findings and not self.more_findings


class ErasureDigest:
    """A digest of the fields that one erasure concerns, in the order of their sequences and names."""

    def __init__(self) -> None:
        self.first = 0
        self.count = 0
        self._digest = hashlib.sha256(b"bandmaster audit erasure 1\n")

    def add(self, sequence: int, name: str) -> None:
        """Add a field. Fields are added in the order of their sequences, then of their names."""
        self.first = self.first or sequence
        self.count += 1
        self._digest.update(f"{sequence}:{name}\n".encode())

    def describe(self) -> Erasure:
        """The details of the entry that reports the erasure."""
        return Erasure(self.first, self.count, self._digest.hexdigest())


class StreamVerifier:
    """Verifies the links of a stream in the order of their sequences.

    ``start`` is an entry that an earlier verification has found sound: the first link follows it. ``end`` is the last
    sequence that will be verified. A field may be erased by an entry behind it while the verification runs: those
    entries are in `late`, and `confirm_late` takes them. ``is_part`` says that the links end before the stream does, so
    that reports of erasures may be among those that aren't there.
    """

    def __init__(
        self,
        stream: str,
        keys: ChainKeys,
        start: Head | None = None,
        *,
        end: int | None = None,
        is_part: bool = False,
    ) -> None:
        self.report = StreamReport(stream, head=start)
        self._keys = keys
        self._start = start
        self._last: Head | None = start
        self._seen_key = start is not None and start.key_id != NO_KEY
        self._beginning: Head | None = None
        self._erasures: dict[int, ErasureDigest] = {}
        self._confirmed: set[str] = set()
        self._unkeyed_since: int | None = None
        self._end = end
        self._is_part = is_part
        self.late: set[int] = set()
        """The sequences of entries behind the end that erased fields since the verification began."""

    def add(self, link: ChainLink) -> None:
        """Verify the next link."""
        report = self.report
        report.first = report.first or link.sequence
        report.entries += 1
        self._check_place(link)
        is_confirmed = self._check_hash(link)
        self._check_personal(link)
        if is_confirmed and (link.key_id != NO_KEY or not self._keys):
            self._read_own_entry(link)
        if link.key_id == NO_KEY:
            report.unkeyed += 1
            self._unkeyed_since = self._unkeyed_since or link.sequence
        else:
            self._seen_key, self._unkeyed_since = True, None
        self._last = report.head = Head(link.stream, link.sequence, link.hash, link.key_id)

    def confirm_late(self, link: ChainLink) -> None:
        """Take an entry of `late`."""
        is_ours = self._keys.knows(link.key_id) and (link.key_id != NO_KEY or not self._keys)
        if link.action == ERASED and is_ours and self._keys.confirms(link.message(), link.key_id, link.hash):
            self.late.discard(link.sequence)

    def finish(self) -> StreamReport:
        """The report, after the last link."""
        report = self.report
        if self._beginning is not None:
            self._find(
                FindingKind.NO_BEGINNING,
                1,
                self._beginning.sequence,
                self._beginning.hash,
                "the stream doesn't begin with its first entry, and no entry of it reports a pruning up to there",
            )
        for sequence, digest in self._erasures.items():
            if self._is_part and self._last is not None and sequence > self._last.sequence:
                continue
            found = digest.describe()
            self._find(
                FindingKind.PERSONAL_MISSING,
                found.first,
                found.first,
                [sequence, found.count, found.digest],
                f"{found.count} personal fields are gone, and entry {sequence} doesn't report their erasure",
            )
        for sequence in sorted(self.late):
            self._find(
                FindingKind.PERSONAL_MISSING,
                sequence,
                sequence,
                None,
                f"personal fields are gone, and entry {sequence} doesn't report their erasure",
            )
        if self._keys and self._last is not None and self._unkeyed_since is not None and not self._seen_key:
            self._find(
                FindingKind.UNKEYED,
                self._unkeyed_since,
                self._last.sequence,
                self._last.hash,
                "no entry is keyed, although there are keys. If the keys are new, write a keyed entry by "
                "'bandmaster audit checkpoint': it vouches for those before",
            )
        self._sort_acknowledged()
        return report

    def _check_place(self, link: ChainLink) -> None:
        last = self._last
        if last is None:
            if link.sequence == 1:
                if link.previous != genesis_hash(link.stream):
                    self._find(
                        FindingKind.RELINKED,
                        1,
                        1,
                        [genesis_hash(link.stream), link.previous],
                        "it isn't the stream's first",
                    )
                return
            # Explained if a later entry reports that those before were pruned.
            self._beginning = Head(link.stream, link.sequence - 1, link.previous)
            return
        if link.sequence != last.sequence + 1:
            self._find(
                FindingKind.MISSING,
                last.sequence + 1,
                link.sequence - 1,
                [last.hash, link.previous],
                f"they are missing between entry {last.sequence} and entry {link.sequence}",
            )
        elif link.previous != last.hash:
            self._find(
                FindingKind.RELINKED,
                link.sequence,
                link.sequence,
                [last.hash, link.previous, link.hash],
                "it doesn't follow the entry before, which was replaced",
            )

    def _check_hash(self, link: ChainLink) -> bool:
        if not self._keys.knows(link.key_id):
            self.report.unknown_keys.add(link.key_id)
            return False
        if link.key_id == NO_KEY and self._seen_key:
            self._find(
                FindingKind.UNKEYED,
                link.sequence,
                link.sequence,
                link.hash,
                "it has no key, although entries before have one: anybody could have written it",
            )
        if self._keys.confirms(link.message(), link.key_id, link.hash):
            return True
        self._find(
            FindingKind.ALTERED,
            link.sequence,
            link.sequence,
            [link.hash, hashlib.sha256(link.message()).hexdigest()],
            "its content isn't what was written",
        )
        return False

    def _check_personal(self, link: ChainLink) -> None:
        try:
            commitments = parse_canonical(link.commitments)
            names = set(commitments)
        except (ValueError, TypeError):
            self._find_personal(link, FindingKind.INVALID, "", link.commitments, "its commitments can't be read")
            return
        for name in sorted(link.personal.keys() - names):
            self._find_personal(link, FindingKind.PERSONAL_ADDED, name, None, f"{name!r} wasn't written with it")
        for name in sorted(names):
            personal = link.personal.get(name)
            if personal is None:
                self._find_personal(
                    link, FindingKind.PERSONAL_MISSING, name, None, f"{name!r} is gone, and not by an erasure"
                )
            elif personal.withheld:
                self.report.withheld += 1
            elif personal.is_erased and personal.erased_by is not None:
                self._expect_erasure(link, name, personal.erased_by)
            elif personal.value is None or personal.salt is None:
                self._find_personal(link, FindingKind.PERSONAL_MISSING, name, None, f"{name!r} is gone in part")
            else:
                found = commit(name, personal)
                if found != (commitments[name] if isinstance(commitments, Mapping) else None):
                    self._find_personal(
                        link, FindingKind.PERSONAL_ALTERED, name, found, f"{name!r} isn't what was written"
                    )

    def _expect_erasure(self, link: ChainLink, name: str, erased_by: int) -> None:
        if erased_by <= link.sequence or len(self._erasures) >= _MAX_PENDING:
            self._find_personal(
                link, FindingKind.PERSONAL_MISSING, name, erased_by, f"{name!r} is gone without a report"
            )
            return
        if self._end is not None and erased_by > self._end:
            self.late.add(erased_by)
            return
        self._erasures.setdefault(erased_by, ErasureDigest()).add(link.sequence, name)

    def _read_own_entry(self, link: ChainLink) -> None:
        if link.action not in (PRUNED, ERASED, ACKNOWLEDGED):
            return
        try:
            details: Any = parse_canonical(link.details)
        except ValueError:
            return
        if not isinstance(details, dict):
            return
        if link.action == PRUNED and (pruning := Pruning.read(details)) is not None:
            self._read_pruning(pruning)
        elif link.action == ERASED and (erasure := Erasure.read(details)) is not None:
            self._read_erasure(link.sequence, erasure)
        elif link.action == ACKNOWLEDGED and len(self._confirmed) < _MAX_PENDING:
            self._confirmed.update(read_acknowledged(details))

    def _read_pruning(self, pruning: Pruning) -> None:
        if self._start is not None:
            return
        beginning = self._beginning
        if beginning is not None and (
            pruning.through > beginning.sequence
            or (pruning.through == beginning.sequence and pruning.head == beginning.hash)
        ):
            self._beginning = None
            self.report.pruned_through = beginning.sequence
        if pruning.through >= (self.report.first or 1):
            self.report.notes.append(
                f"the pruning up to entry {pruning.through} isn't finished: run 'bandmaster audit prune' again"
            )

    def _read_erasure(self, sequence: int, erasure: Erasure) -> None:
        digest = self._erasures.pop(sequence, None)
        if digest is None:
            return
        begins = self.report.first or 1
        if erasure.first < begins:
            return  # fields of entries before are not here to be compared
        if digest.describe() != erasure:
            found = digest.describe()
            self._find(
                FindingKind.PERSONAL_MISSING,
                found.first,
                sequence,
                [sequence, found.count, found.digest],
                f"{found.count} personal fields are gone, and entry {sequence} reports {erasure.count} or others",
            )

    def _sort_acknowledged(self) -> None:
        self.report.confirmed = frozenset(self._confirmed)
        self.report.sort_acknowledged()

    def _find_personal(self, link: ChainLink, kind: FindingKind, name: str, observed: Any, explanation: str) -> None:
        self._find(kind, link.sequence, link.sequence, [name, observed], explanation)

    def _find(self, kind: FindingKind, first: int, last: int, observed: Any, explanation: str) -> None:
        self.report.find(Finding(kind, self.report.stream, first, last, observed, explanation))
