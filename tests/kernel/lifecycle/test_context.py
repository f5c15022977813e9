"""Tests of bandmaster.kernel.lifecycle.context."""

import functools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.errors import BudgetExceededError, PermanentError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.settings.kernel import KernelSettings


class Hand:
    """Does what a `Context` asks for by writing it down."""

    def __init__(self, settings=None, budget=None):
        self.settings = settings or KernelSettings()
        self.plan = SimpleNamespace(budget=budget or {})
        self.asked = []

    def add_probe(self, *args, **kwargs):
        self.asked.append(("probe", args, kwargs))

    def supervise(self, *args):
        self.asked.append(("service", args))

    def add_drain_hook(self, *args):
        self.asked.append(("hook", args))

    def extend_timeout(self, *args):
        self.asked.append(("extend", args))

    def request_stop(self, reason):
        self.asked.append(("stop", reason))

    async def wait_ready(self):
        self.asked.append(("wait",))

    def warn(self, *args):
        self.asked.append(("warn", args))


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def context(hand):
    return Context("database", hand)


class Asking:
    async def __call__(self):
        """An object that is called like an async function."""

    async def ping(self):
        """A method."""


class Plain:
    def __call__(self):
        """An object that is called like a plain function."""


async def ping(of=None):
    """An async function."""


def plain():
    """A plain function."""


ACCEPTED = [
    ping,
    functools.partial(ping, 1),
    functools.partial(functools.partial(ping), 1),
    Asking(),
    functools.partial(Asking()),
    Asking().ping,
]
REFUSED = [plain, functools.partial(plain), Plain(), Asking, lambda: ping(), None, 5, "ping"]


def test_it_knows_the_name_and_the_settings(context, hand):
    """A component may ask what it is called and what the kernel's settings are."""
    assert ("database", hand.settings) == (context.name, context.settings)


@pytest.mark.parametrize("function", ACCEPTED)
def test_everything_async_is_taken(context, hand, function):
    """Functions, methods, partials and objects whose call is async may all be probes, services and hooks."""
    context.add_probe("ping", function, critical=False, timeout=1)
    context.supervise(function, name="service")
    context.on_drain(function)
    assert [
        ("probe", ("database", "ping", function), {"critical": False, "timeout": 1}),
        ("service", ("database", "service", function, Restart())),
        ("hook", ("database", function)),
    ] == hand.asked


@pytest.mark.parametrize("function", REFUSED)
@pytest.mark.requirement("P-18", "XC-A4")
def test_what_is_not_async_is_refused(context, hand, function):
    """A plain function would block the event loop; the error says where blocking work goes."""
    for label, take in (
        ("probe", lambda: context.add_probe("ping", function)),
        ("service", lambda: context.supervise(function)),
        ("hook", lambda: context.on_drain(function)),
    ):
        with pytest.raises(ValueError, match=f"^{label}: expected an async function, .*anyio.to_thread.run_sync$"):
            take()
    assert [] == hand.asked


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "5", None])
@pytest.mark.requirement("P-18")
def test_seconds_are_numbers_above_0(context, seconds):
    """A timeout that could never pass, or never end, is refused by name."""
    with pytest.raises(ValueError, match=r"^timeout: expected seconds above 0, got "):
        context.add_probe("ping", ping, timeout=seconds)
    with pytest.raises(ValueError, match=r"^seconds: expected seconds above 0, got "):
        context.extend_timeout(seconds)


@pytest.mark.parametrize("name", ["", None, 5])
@pytest.mark.requirement("P-18")
def test_a_probe_has_a_name(context, name):
    """People read it when it fails."""
    with pytest.raises(ValueError, match=r"^name: expected the probe's name, got "):
        context.add_probe(name, ping)


def test_a_probe_is_critical_and_has_two_seconds_unless_said(context, hand):
    """The usual probe takes the process out of the balancer when it fails."""
    context.add_probe("ping", ping)
    assert [("probe", ("database", "ping", ping), {"critical": True, "timeout": 2.0})] == hand.asked


@pytest.mark.parametrize(
    ("service", "name"),
    [(ping, "ping"), (functools.partial(ping, 1), "ping"), (Asking(), "Asking"), (Asking().ping, "ping")],
)
def test_a_service_is_called_like_its_function(context, hand, service, name):
    """Unless it is given another name."""
    restart = Restart(when="never")
    context.supervise(service, restart=restart)
    assert [("service", ("database", name, service, restart))] == hand.asked


@pytest.mark.anyio
async def test_what_is_asked_is_handed_on(context, hand):
    """More time, a stop in the component's name, the moment when everything has started."""
    context.extend_timeout(5)
    context.request_stop("disk full")
    await context.wait_ready()
    assert [("extend", ("database", 5)), ("stop", "database: disk full"), ("wait",)] == hand.asked


def check(total, allowed, processes=1, **settings):
    hand = Hand(KernelSettings(processes=processes, **settings), {"postgres": total})
    Context("database", hand).check_budget("postgres", allowed)
    return [message for _, (_, message) in hand.asked]


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_up_to_80_percent_is_silent():
    """Nobody is bothered while there is room."""
    assert [] == check(80, 100)


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_over_80_percent_warns():
    """The warning says who holds how much of what."""
    assert ["the plan may hold 81 of postgres (81 in one process), 81% of the 100 that the server allows"] == check(
        81, 100
    )


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_over_100_percent_refuses():
    """Better no start than one whose last connection is refused under load; the error says what to try."""
    with pytest.raises(BudgetExceededError) as raised:
        check(26, 100, processes=4)
    assert (
        "the plan may hold 104 of postgres (26 in each of 4 processes), 104% of the 100 that the server allows. Lower pool "
        "sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn"
    ) == str(raised.value)
    assert isinstance(raised.value, PermanentError)


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_exactly_100_percent_is_allowed():
    """All is not more than all; it warns."""
    assert 1 == len(check(25, 100, processes=4))


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_a_setting_turns_the_refusal_into_a_warning():
    """Who knows better may start."""
    assert ["the plan may hold 200 of postgres (200 in one process), 200% of the 100 that the server allows"] == check(
        200, 100, over_budget="warn"
    )


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_a_limit_by_setting_overrules_the_server():
    """Both ways: others may share the server, or a pooler may stand before it."""
    assert [] == check(200, 100, limits={"postgres": 1000})
    with pytest.raises(BudgetExceededError, match="150% of the 10 that BANDMASTER_LIMITS allows"):
        check(15, 100, limits={"postgres": 10})


def test_nothing_allowed_is_more_than_nothing_held():
    """A limit of 0 is no division by it."""
    assert [] == check(0, 0)
    with pytest.raises(BudgetExceededError, match="more than all of the 0"):
        check(1, 0)


def test_a_resource_that_nobody_declares_is_held_by_nobody():
    """Who asks about it gets no warning."""
    hand = Hand()
    Context("database", hand).check_budget("redis", 1)
    assert [] == hand.asked


@given(held=st.integers(0, 10**6), processes=st.integers(1, 64), allowed=st.integers(0, 10**7))
@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_the_two_thresholds_are_exact(held, processes, allowed):
    """Silent up to four fifths, refused above the whole, a warning in between, in whole numbers."""
    total = held * processes
    try:
        found = "warned" if check(held, allowed, processes) else "silent"
    except BudgetExceededError:
        found = "refused"
    expected = "refused" if total > allowed else "warned" if 5 * total > 4 * allowed else "silent"
    assert expected == found


def test_a_component_sees_the_plan():
    """Who else is there: for components that look after others, as of databases after migrations."""
    hand = Hand()
    assert Context("database", hand).plan is hand.plan
