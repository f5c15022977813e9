"""`VerificationReport`: the result of a verification of all streams. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from bandmaster.contrib.audit.chain.findings import Finding
from bandmaster.contrib.audit.chain.verifier import Head, StreamReport

_MAX_LISTED = 1000


@dataclass(slots=True)
class VerificationReport:
    """The findings and the numbers of a verification."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    streams: int = 0
    entries: int = 0
    """Entries that were read and verified."""
    findings: list[Finding] = field(default_factory=list)
    """The breaks that aren't acknowledged."""
    more_findings: int = 0
    acknowledged: list[Finding] = field(default_factory=list)
    unkeyed: int = 0
    """Verified entries without a key: of them only accidents are found."""
    withheld: int = 0
    """Personal fields that an export was made without."""
    unknown_keys: set[str] = field(default_factory=set)
    """Ids of keys that are missing: entries with them can't be judged."""
    notes: list[str] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)
    """The last verified entry of each stream."""
    anchors: int = 0
    """Entries known from outside the table that were compared. With none, missing newest entries aren't found."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong that isn't acknowledged."""
        return not self.findings and not self.more_findings

    def add(self, stream: StreamReport) -> None:
        """Add the report of a stream."""
        self.streams += 1
        self.entries += stream.entries
        self.unkeyed += stream.unkeyed
        self.withheld += stream.withheld
        self.unknown_keys |= stream.unknown_keys
        room = max(0, _MAX_LISTED - len(self.findings))
        self.findings += stream.findings[:room]
        self.more_findings += stream.more_findings + len(stream.findings[room:])
        self.acknowledged += stream.acknowledged[: max(0, _MAX_LISTED - len(self.acknowledged))]
        if len(self.notes) < _MAX_LISTED:
            self.notes += [f"stream {stream.stream!r}: {note}" for note in stream.notes]
        if stream.head is not None:
            self.heads[stream.stream] = stream.head
