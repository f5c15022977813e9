"""Parse and render the headers of W3C Trace Context, level 2. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from bandmaster.contrib.tracing.opentelemetry_internals import make_trace_state

# Sections 3.2.2.1 to 3.2.2.5. A later version may have more fields behind a dash, which are left alone.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01
_RANDOM = 0x02
"""The flag of level 2 (section 3.2.2.5.2): the lower bytes of the trace id are random."""
_MOST_MEMBERS = 32
# Section 3.3.1.3.1: level 2 lets a key begin with a digit, and have any number of at signs.
_KEY = r"[a-z0-9][a-z0-9_\-*/@]{0,255}"
# Section 3.3.1.3.2: printable ASCII without comma and equals sign, and no space at the end.
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})", re.ASCII)
_BLANKS = " \t"


def parse_traceparent(values: Iterable[str]) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of the ``traceparent`` headers of a request; None unless there is one valid header.

    >>> parse_traceparent(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])[2]
    1
    """
    one = list(values)
    match = _PARENT.fullmatch(one[0].strip(_BLANKS)) if len(one) == 1 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    trace, span = int(trace_id, 16), int(span_id, 16)
    if not (trace and span):
        return None
    return trace, span, int(flags, 16) & (_SAMPLED | _RANDOM)


def parse_tracestate(values: Iterable[str]) -> list[tuple[str, str]]:
    """The members of the ``tracestate`` headers of a request, in their order; none if any of them is invalid.

    Several headers are one list (RFC 9110, 5.3), and empty members are skipped. Of two members with one key the first
    stays, which is the newer (section 3.5).
    """
    members: dict[str, str] = {}
    count = 0
    for value in values:
        for part in value.split(","):
            text = part.strip(_BLANKS)
            if not text:
                continue
            count += 1
            match = _MEMBER.fullmatch(text)
            if match is None or count > _MOST_MEMBERS:
                return []
            members.setdefault(match[1], match[2])
    return list(members.items())


def make_remote_context(parent: tuple[int, int, int], members: Sequence[tuple[str, str]]) -> SpanContext:
    """The span context of a caller."""
    trace_id, span_id, flags = parent
    state = make_trace_state(members) if members else None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)


def render_traceparent(context: SpanContext) -> str:
    """The ``traceparent`` header for a call from within a span, and the ``traceresponse`` header of a response."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & (_SAMPLED | _RANDOM):02x}"


def render_tracestate(state: TraceState) -> str:
    """The ``tracestate`` header; empty if there are no members."""
    return ",".join(f"{key}={value}" for key, value in state.items())
