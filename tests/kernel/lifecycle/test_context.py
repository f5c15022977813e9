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


class RecordingRun:
    """A run that records each call of a `Context`."""

    def __init__(self, settings=None, budget=None):
        self.settings = settings or KernelSettings()
        self.plan = SimpleNamespace(budget=budget or {})
        self.calls = []

    def add_probe(self, *args, **kwargs):
        self.calls.append(("probe", args, kwargs))

    def supervise(self, *args):
        self.calls.append(("service", args))

    def add_drain_hook(self, *args):
        self.calls.append(("hook", args))

    def extend_timeout(self, *args):
        self.calls.append(("extend", args))

    def request_stop(self, reason):
        self.calls.append(("stop", reason))

    async def wait_ready(self):
        self.calls.append(("wait",))

    def warn(self, *args):
        self.calls.append(("warn", args))

    def listen(self, *args):
        self.calls.append(("listen", args))


@pytest.fixture
def run():
    return RecordingRun()


@pytest.fixture
def context(run):
    return Context("database", run)


class AsyncCallable:
    async def __call__(self):
        """An instance that is called like an async function."""

    async def ping(self):
        """A method."""


class Plain:
    def __call__(self):
        """An instance that is called like a plain function."""


async def ping(of=None):
    """An async function."""


def plain():
    """A plain function."""


ACCEPTED = [
    ping,
    functools.partial(ping, 1),
    functools.partial(functools.partial(ping), 1),
    AsyncCallable(),
    functools.partial(AsyncCallable()),
    AsyncCallable().ping,
]
REFUSED = [plain, functools.partial(plain), Plain(), AsyncCallable, lambda: ping(), None, 5, "ping"]


def test_name_and_settings(context, run):
    """A component knows its own name and the kernel's settings."""
    assert ("database", run.settings) == (context.name, context.settings)


@pytest.mark.parametrize("function", ACCEPTED)
def test_everything_async_is_accepted(context, run, function):
    """Functions, methods, partials and objects whose call is async may all be probes, services and hooks."""
    context.add_probe("ping", function, critical=False, timeout=1)
    context.supervise(function, name="service")
    context.on_drain(function)
    assert [
        ("probe", ("database", "ping", function), {"critical": False, "timeout": 1}),
        ("service", ("database", "service", function, Restart())),
        ("hook", ("database", function)),
    ] == run.calls


@pytest.mark.parametrize("function", REFUSED)
@pytest.mark.requirement("P-18", "XC-A4")
def test_what_is_not_async_is_refused(context, run, function):
    """A plain function would block the event loop; the error says where blocking work goes."""
    for label, call in (
        ("probe", lambda: context.add_probe("ping", function)),
        ("service", lambda: context.supervise(function)),
        ("hook", lambda: context.on_drain(function)),
    ):
        with pytest.raises(ValueError, match=f"^{label}: expected an async function, .*anyio.to_thread.run_sync$"):
            call()
    assert [] == run.calls


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
    """The report of a failing probe shows the name."""
    with pytest.raises(ValueError, match=r"^name: expected the probe's name, got "):
        context.add_probe(name, ping)


def test_the_defaults_of_a_probe(context, run):
    """A probe is critical and has two seconds."""
    context.add_probe("ping", ping)
    assert [("probe", ("database", "ping", ping), {"critical": True, "timeout": 2.0})] == run.calls


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (ping, "ping"),
        (functools.partial(ping, 1), "ping"),
        (AsyncCallable(), "AsyncCallable"),
        (AsyncCallable().ping, "ping"),
    ],
)
def test_a_service_has_its_functions_name(context, run, service, name):
    """A service without a name of its own is named after its function."""
    restart = Restart(when="never")
    context.supervise(service, restart=restart)
    assert [("service", ("database", name, service, restart))] == run.calls


@pytest.mark.anyio
async def test_calls_that_reach_the_run(context, run):
    """More time, a stop with the component's name in its reason, and the wait for every start."""
    context.extend_timeout(5)
    context.request_stop("disk full")
    await context.wait_ready()
    assert [("extend", ("database", 5)), ("stop", "database: disk full"), ("wait",)] == run.calls


def check(total, allowed, processes=1, **settings):
    run = RecordingRun(KernelSettings(processes=processes, **settings), {"postgres": total})
    Context("database", run).check_budget("postgres", allowed)
    return [message for _, (_, message) in run.calls]


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_up_to_80_percent_is_silent():
    """A budget with room to spare is not logged."""
    assert [] == check(80, 100)


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_over_80_percent_warns():
    """The warning names the resource, the budget and the limit."""
    assert ["the plan may hold 81 of postgres (81 in one process), 81% of the 100 that the server allows"] == check(
        81, 100
    )


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_over_100_percent_refuses():
    """A start that fails is better than connections that are refused under load; the error names the remedies."""
    with pytest.raises(BudgetExceededError) as raised:
        check(26, 100, processes=4)
    assert (
        "the plan may hold 104 of postgres (26 in each of 4 processes), 104% of the 100 that the server allows. "
        "Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn."
    ) == str(raised.value)
    assert isinstance(raised.value, PermanentError)


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_exactly_100_percent_is_allowed():
    """A budget equal to the limit only warns."""
    assert 1 == len(check(25, 100, processes=4))


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_a_setting_turns_the_refusal_into_a_warning():
    """With ``over_budget`` set to ``warn`` a start above the limit goes on."""
    assert ["the plan may hold 200 of postgres (200 in one process), 200% of the 100 that the server allows"] == check(
        200, 100, over_budget="warn"
    )


@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_a_limit_by_setting_overrules_the_server():
    """The setting may be lower, where others share the server, or higher, where a pooler stands before the server."""
    assert [] == check(200, 100, limits={"postgres": 1000})
    with pytest.raises(BudgetExceededError, match="150% of the 10 that BANDMASTER_LIMITS allows"):
        check(15, 100, limits={"postgres": 10})


def test_a_limit_of_zero():
    """A limit of 0 refuses every budget above 0, without a percentage."""
    assert [] == check(0, 0)
    with pytest.raises(BudgetExceededError, match="more than all of the 0"):
        check(1, 0)


def test_a_resource_outside_the_budget():
    """A resource that no component declares has a budget of 0."""
    run = RecordingRun()
    Context("database", run).check_budget("redis", 1)
    assert [] == run.calls


@given(held=st.integers(0, 10**6), processes=st.integers(1, 64), allowed=st.integers(0, 10**7))
@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
def test_the_two_thresholds_are_exact(held, processes, allowed):
    """A budget up to four fifths of the limit is silent, above the limit refused, and warned of in between."""
    total = held * processes
    try:
        found = "warned" if check(held, allowed, processes) else "silent"
    except BudgetExceededError:
        found = "refused"
    expected = "refused" if total > allowed else "warned" if 5 * total > 4 * allowed else "silent"
    assert expected == found


def test_a_component_sees_the_plan():
    """A component may look at the others, as migrations look for databases."""
    run = RecordingRun()
    assert Context("database", run).plan is run.plan
