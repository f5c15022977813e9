"""Render families of metrics as text, and merge the texts of several processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

__all__ = ["merge_texts", "render_families"]

_FAMILY = b"# HELP "
_END = b"# EOF\n"


def render_families(families: Iterable[Family], labels: Mapping[str, str], accept: str) -> tuple[bytes, str]:
    """The text of families in the format that the header ``Accept`` asks for, and its content type.

    Each sample gets the further labels.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Families([_add_labels(family, labels) for family in families])), content_type


def merge_texts(texts: Sequence[bytes]) -> bytes:
    """One text of several in the same format. All samples of a family stand together, as the formats demand.

    Description, type and unit of a family are those of the first text that has it. Samples of a family that has
    another type there, as between two releases, are left out.
    """
    headers: dict[bytes, tuple[bytes, bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for text in texts:
        for name, header, kind, lines in _split_families(text.removesuffix(_END)):
            known, known_kind = headers.setdefault(name, (header, kind))
            if known_kind == kind:
                samples.setdefault(name, [known]).append(lines)
    merged = b"".join(part for parts in samples.values() for part in parts)
    return merged + _END if any(text.endswith(_END) for text in texts) else merged


class _Families(Collector):
    """A registry of families that have been collected."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _add_labels(family: Family, labels: Mapping[str, str]) -> Family:
    # A new family: a collector may keep its own, and yield it again.
    labelled = Family(family.name, family.documentation, family.type, family.unit)
    labelled.samples = [sample._replace(labels={**sample.labels, **labels}) for sample in family.samples]
    return labelled


def _split_families(text: bytes) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """The name, the header, the line of the type and the samples of each family."""
    for chunk in text.removeprefix(_FAMILY).split(b"\n" + _FAMILY):
        if not chunk:
            continue
        chunk = _FAMILY + chunk.removesuffix(b"\n") + b"\n"
        start, kind = 0, b""
        while chunk.startswith(b"#", start):
            end = chunk.index(b"\n", start) + 1
            if chunk.startswith(b"# TYPE ", start):
                kind = chunk[start:end]
            start = end
        name = chunk[len(_FAMILY) :].split(b" ", 1)[0]
        yield name, chunk[:start], kind, chunk[start:]
