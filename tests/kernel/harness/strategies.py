"""Draw random cases with Hypothesis: up to twelve components, several faults, disturbances, shuffled schedules."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from tests.kernel.harness.cases import (
    BACKENDS,
    BODIES,
    DISTURBANCES,
    LINKS,
    SERVING,
    SHAPES,
    STARTS,
    STOPS,
    Case,
    Disturbance,
    Part,
    is_in_chain,
)

NAMES = "abcdefghijkl"


def _draw_mostly(usual: str, others: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from((usual,) * len(others) * 3 + others)


_BACKEND = st.sampled_from(BACKENDS)
_COUNT = st.integers(1, len(NAMES))
_BITS = st.integers(0, 2 ** (len(NAMES) + 2) - 1)
_SHAPE = st.sampled_from(SHAPES)
_START, _SERVING, _STOP = _draw_mostly("fine", STARTS), _draw_mostly("fine", SERVING), _draw_mostly("fine", STOPS)
_POLICY = st.sampled_from(
    (*[("stop", 0)] * 4, ("retry", 0), ("retry", 1), ("retry", 3), ("degrade", 0), ("degrade", 0))
)
_LINK = st.sampled_from(("name", *LINKS, "decorates"))
_BODY = _draw_mostly("waits", BODIES)
_KIND = st.sampled_from((*DISTURBANCES, "nothing"))
_STEP = st.integers(1, 240)
_TARGET = st.sampled_from(NAMES)
_SEED = st.integers(-1, 2**16)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw one case. Most components have no fault, so that a faulty one meets the others in every state."""
    backend = draw(_BACKEND)
    names = NAMES[: draw(_COUNT)]
    stage = 0
    asked: set[str] = set()
    parts: list[Part] = []
    for place, name in enumerate(names):
        # Few draws make many examples: two bits decide whether a stage begins, the others are the dependencies.
        bits = draw(_BITS) & draw(_BITS)
        stage += bits & 3 == 3
        earlier = tuple(early for bit, early in enumerate(names[:place]) if bits >> bit + 2 & 1)
        link, decorates = draw(_LINK), ""
        # Whoever has asked for a type has got the outermost object of it, so nobody decorates that type any more.
        free = [early for early in names[:place] if early not in asked]
        if link == "decorates":
            decorates = free[bits % len(free)] if free else ""
            link = "type"
            earlier = tuple(early for early in earlier if early != decorates)
        asked.update(earlier if link in ("type", "each") else ())
        faults = draw(_SHAPE), draw(_START), draw(_SERVING), draw(_STOP)
        policy, failures = draw(_POLICY)
        parts.append(Part(name, earlier, stage, *faults, link, decorates, policy, failures))
    parts = [_without_degraded_chain(part, parts) for part in parts]
    kind = draw(_KIND)
    if backend == "trio":
        parts = [_without_native(part) for part in parts]
        kind = kind if kind in ("cancel", "stop") else "nothing"
    disturbance = None
    if kind != "nothing":
        target = draw(_TARGET) if kind == "kill" else ""
        disturbance = Disturbance(kind, draw(_STEP), target)
    seed = draw(_SEED)
    return Case(tuple(parts), draw(_BODY), disturbance, backend, None if seed < 0 else seed)


def _without_degraded_chain(part: Part, parts: list[Part]) -> Part:
    return replace(part, policy="retry") if part.policy == "degrade" and is_in_chain(part, parts) else part


def _without_native(part: Part) -> Part:
    def other(kind: str) -> str:
        return "fail" if kind == "by_hand" else kind

    return replace(part, start=other(part.start), stop=other(part.stop))
