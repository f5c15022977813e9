"""Tests of bandmaster.kernel.lifecycle.kernel."""

import functools
from collections.abc import AsyncIterator

import anyio
import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel import events
from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.contributions.model import ErrorHandlerContribution, MiddlewareContribution, RouteContribution
from bandmaster.kernel.errors import CrashError, PlanError, StartCancelled, StartError
from bandmaster.kernel.lifecycle.context import Context
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.lifecycle.restart import Restart
from bandmaster.kernel.settings.kernel import KernelSettings


class Database:
    """A resource."""


class Layer:
    """A layer that does nothing."""

    def on_request(self, exchange):
        """Look on."""


def component(name="database", trace=None, start=0.0, stop=0.0, begin=None, **fields):
    """A component that records when it starts and stops."""
    trace = [] if trace is None else trace

    @lifespan(band=LifespanBand.PERSISTENCE, name=name, **fields)
    async def lives(context: Context):
        if begin is not None:
            begin(context)
        await anyio.sleep(start)
        trace.append(f"{name} up")
        yield
        await anyio.sleep(stop)
        trace.append(f"{name} down")

    return lives


def kernel_of(*contributions, **arguments):
    settings = arguments.pop("settings", {})
    settings = settings if isinstance(settings, KernelSettings) else KernelSettings(**settings)
    return Kernel(contributions=contributions, discover=False, settings=settings, **arguments)


def names(kernel):
    return [part.name for part in kernel.plan.components]


async def undecorated():
    """A function without a decorator."""
    yield


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contributions": [undecorated]}, "contributions: undecorated is no contribution; decorate it"),
        ({"contributions": [None]}, "contributions: None is no contribution"),
        ({"contributions": component()}, "contributions: expected a list, got the LifespanContribution"),
        ({"disable": 5}, "disable: expected a list of names, got 5"),
        ({"disable": [5]}, "disable: expected names, got 5"),
        ({"overrides": [Database]}, "overrides: expected a mapping like {Database: fake}, got "),
        ({"overrides": {KernelSettings: 5}}, "overrides: expected KernelSettings, got int"),
        ({"settings": {}}, "settings: expected KernelSettings, got dict"),
        ({"role": ""}, "role: expected a name, or None for every role, got ''"),
        ({"role": 5}, "role: expected a name, or None for every role, got 5"),
        ({"listeners": [5]}, "listeners: expected functions that take an event, got 5"),
        ({"listeners": print}, "listeners: expected a list of functions, got "),
        (
            {"settings": KernelSettings(), "overrides": {KernelSettings: KernelSettings()}},
            "settings: overrides has KernelSettings as well; give them once",
        ),
    ],
)
@pytest.mark.requirement("P-18")
def test_wrong_arguments_are_named(arguments, message):
    """A wrong argument is refused by its name."""
    with pytest.raises(ValueError) as raised:
        Kernel(discover=False, **arguments)
    assert str(raised.value).startswith(message)


def test_settings_come_from_the_environment(monkeypatch):
    """The kernel's settings come from the environment, unless they are given or overridden."""
    monkeypatch.setenv("BANDMASTER_TITLE", "outside")
    inside = KernelSettings(title="inside")
    assert "outside" == Kernel(discover=False).settings.title
    assert inside is Kernel(discover=False, settings=inside).settings
    assert inside is Kernel(discover=False, overrides={KernelSettings: inside}).settings


def test_an_env_file(monkeypatch, tmp_path):
    """All settings are read from the file too, for every role; the file is read once."""
    path = tmp_path / "shop.env"
    path.write_text("BANDMASTER_TITLE=file\nBANDMASTER_PROCESSES=2\nSHOP_NAME=file\n", encoding="utf-8")
    monkeypatch.setenv("BANDMASTER_PROCESSES", "3")

    class Shop(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        name: str

    @lifespan(band=LifespanBand.SERVICES)
    async def shop(settings: Shop) -> AsyncIterator[None]:
        yield

    kernel = Kernel(discover=False, contributions=[shop], env_file=path)
    assert ("file", 3) == (kernel.settings.title, kernel.settings.processes)
    assert "file" == kernel.plan.settings_of(Shop).name
    path.unlink()
    worker = kernel.for_role("worker", settings=KernelSettings())
    assert "file" == worker.plan.settings_of(Shop).name
    with kernel.use_environment():
        assert "file" == KernelSettings().title
    with pytest.raises(PlanError, match="can't be read: No such file"):
        Kernel(discover=False, settings=KernelSettings(), env_file=path)


def test_settings_that_cannot_be_read_are_problems_of_the_plan(monkeypatch):
    """An unreadable setting is a problem with the variable's name."""
    monkeypatch.setenv("BANDMASTER_PROCESSES", "none")
    with pytest.raises(PlanError, match="BANDMASTER_PROCESSES is wrong"):
        Kernel(discover=False)


@pytest.mark.anyio
async def test_parts_get_the_kernels_own_settings():
    """A component that needs KernelSettings gets the settings with which the kernel runs."""
    seen = []

    @lifespan(band=LifespanBand.SERVICES)
    async def asks(settings: KernelSettings, context: Context):
        seen.extend([settings, context.settings])
        yield

    kernel = kernel_of(asks, settings={"title": "x"})
    async with kernel.running():
        assert [kernel.settings, kernel.settings] == seen


@pytest.mark.anyio
async def test_an_override_replaces_a_component():
    """A component with an overridden type isn't started."""
    trace = []

    @lifespan(band=LifespanBand.PERSISTENCE, provides=Database)
    async def database():
        trace.append("started")
        yield Database()

    fake = Database()
    async with kernel_of(database, overrides={Database: fake}).running() as resources:
        assert (fake, []) == (resources[Database], trace)


PARTS = (
    component("audit"),
    MiddlewareContribution(name="audit", layer=Layer, band=MiddlewareBand.POLICY),
    RouteContribution(name="audit", routes=[]),
    ErrorHandlerContribution(name="audit", exception=KeyError, handler=print),
    component("other"),
)


@pytest.mark.parametrize(
    ("disable", "left"),
    [
        ({"audit"}, (0, 0, 0, 0)),
        ("audit", (0, 0, 0, 0)),
        ("nothing, audit", (0, 0, 0, 0)),
        ({"lifespan:audit"}, (0, 1, 1, 1)),
        ({"bandmaster.middleware:audit"}, (1, 0, 1, 1)),
        ({"routes:audit,error_handlers:audit"}, (1, 1, 0, 0)),
        ((), (1, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("setting", [False, True])
def test_parts_in_code_are_disabled_like_installed_ones(disable, left, setting):
    """A part is disabled by name in every group, or by group and name in one; as an argument or by setting."""
    if setting:
        given = disable if isinstance(disable, str) else ",".join(disable)
        plan = kernel_of(*PARTS, settings={"disable": given}).plan
    else:
        plan = kernel_of(*PARTS, disable=disable).plan
    assert "other" in plan.by_name
    assert left == ("audit" in plan.by_name, len(plan.layers), len(plan.routes), len(plan.error_handlers))


def test_disabling_an_unknown_name_is_a_warning():
    """The warning names the nearest part, in the same form as the disabled name."""
    warnings = kernel_of(*PARTS, disable=["audti", "lifespan:audti", "xyz"]).plan.warnings
    assert (
        "'audti' is disabled, but no part has that name. Did you mean 'audit'?",
        "'lifespan:audti' is disabled, but no part has that name. Did you mean 'lifespan:audit'?",
        "'xyz' is disabled, but no part has that name.",
    ) == warnings


def test_an_ordering_may_name_a_disabled_part():
    """A disabled part is known, so that an ordering with that name isn't misspelt."""
    parts = [component("audits", after=["audit"]), component("audit")]
    assert ["audits"] == names(kernel_of(*parts, disable={"lifespan:audit"}))


def test_installed_parts_are_discovered(monkeypatch):
    """Discovery gets the mode and the lists of the settings; its warnings are the plan's."""
    from bandmaster.kernel.discovery.discover import Discovery
    from bandmaster.kernel.lifecycle import composition as module

    asked = {}

    def discover(**arguments):
        asked.update(arguments)
        return Discovery(contributions=(component("installed"),), warnings=("careful",))

    monkeypatch.setattr(module, "discover", discover)
    settings = KernelSettings(plugins="allowlist", allow={"acme"}, disable={"a"})
    kernel = Kernel(contributions=[component("given")], disable="b", settings=settings)
    assert {
        "mode": "allowlist",
        "allow": {"acme"},
        "disable": {"a", "b"},
        "lock": settings.lock_file,
        "elsewhere": ["given"],
    } == asked
    assert (["given", "installed"], ("careful",)) == (names(kernel), kernel.plan.warnings)


@pytest.mark.anyio
async def test_warnings_of_the_plan_are_events_of_the_run():
    """The log shows the plan's warnings."""
    told = []
    kernel = kernel_of(disable="xyz", listeners=[told.append])
    async with kernel.running():
        pass
    assert [("kernel", kernel.plan.warnings[0])] == [
        (event.component, event.message) for event in told if isinstance(event, events.Warned)
    ]


def test_a_role_leaves_out_components_of_other_roles():
    """The kernel knows its role."""
    parts = [component("everywhere"), component("tasks", roles=["worker"])]
    assert ("web", ["everywhere"]) == (kernel_of(*parts, role="web").role, names(kernel_of(*parts, role="web")))
    assert (None, ["everywhere", "tasks"]) == (kernel_of(*parts).role, names(kernel_of(*parts)))


@pytest.mark.anyio
async def test_one_run_at_a_time():
    """A second run beside the first is refused, and the first goes on."""
    kernel = kernel_of(component())
    async with kernel.running():
        with pytest.raises(RuntimeError, match="this kernel runs already"):
            async with kernel.running():
                pytest.fail("it ran twice")
        assert kernel.is_ready


@pytest.mark.anyio
@pytest.mark.requirement("FA-7", "XC-L1")
async def test_two_kernels_live_side_by_side():
    """Two kernels have settings, components, health and stops of their own."""
    seen = {}

    def part(name):
        @lifespan(band=LifespanBand.PERSISTENCE, provides=Database)
        async def database(settings: KernelSettings, context: Context):
            async def ping():
                seen[name] = settings.title

            context.add_probe("ping", ping)
            yield Database()

        return database

    first, second = kernel_of(part("one"), settings={"title": "1"}), kernel_of(part("two"), settings={"title": "2"})
    async with first.running() as one, second.running() as two:
        assert one[Database] is not two[Database]
        await first.ready()
        await second.ready()
        second.request_stop("only this one")
        assert (True, False) == (first.is_ready, second.is_ready)
    assert {"one": "1", "two": "2"} == seen


@pytest.mark.anyio
async def test_a_second_run_begins_afresh():
    """Probes, drain hooks, the drain and the reason for a stop belong to one run."""
    asked = []

    def begin(context):
        async def ping():
            asked.append("ping")

        async def drain():
            asked.append("drain")

        context.add_probe("ping", ping)
        context.on_drain(drain)

    kernel = kernel_of(component(begin=begin))
    for _ in range(2):
        async with kernel.running():
            assert "pass" == (await kernel.ready()).status
            kernel.request_stop("enough")
            assert "enough" == await kernel.wait_stop_requested()
            await kernel.drain()
        assert ["ping", "drain"] == asked
        asked.clear()


@pytest.mark.anyio
async def test_it_runs_again_after_a_failed_start():
    """A kernel can run again after a failed start."""
    fail = [True]

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def flaky():
        if fail.pop() if fail else False:
            raise OSError("not yet")
        yield

    kernel = kernel_of(flaky)
    with pytest.raises(StartError):
        async with kernel.running():
            pass
    assert (Phase.FAILED, False) == (kernel.phase, kernel.is_running)
    async with kernel.running():
        assert kernel.is_ready


@pytest.mark.anyio
async def test_the_phases_of_a_run():
    """The kernel is ready from the last start to the drain or the stop."""
    seen = []
    kernel = kernel_of(
        component(begin=lambda context: seen.append(kernel.phase)),
        listeners=[lambda event: seen.append(kernel.phase) if isinstance(event, events.ComponentStopping) else None],
    )
    assert (Phase.NEW, False) == (kernel.phase, kernel.is_running)
    async with kernel.running():
        assert (Phase.READY, True) == (kernel.phase, kernel.is_running)
        await kernel.drain()
        assert (Phase.DRAINING, False, True) == (kernel.phase, kernel.is_ready, kernel.is_running)
    assert (Phase.STOPPED, False) == (kernel.phase, kernel.is_running)
    assert [Phase.STARTING, Phase.STOPPING] == seen


@pytest.mark.anyio
async def test_a_stop_without_a_run_does_nothing():
    """A stop request before the first run, or after the last, has no effect."""
    told = []
    kernel = kernel_of(component(), listeners=[told.append])
    kernel.request_stop("too early")
    async with kernel.running():
        assert kernel.is_ready
    told.clear()
    kernel.request_stop("too late")
    assert ([], Phase.STOPPED) == (told, kernel.phase)
    with pytest.raises(RuntimeError, match="this kernel doesn't run"):
        await kernel_of().wait_stop_requested()


@pytest.mark.anyio
@pytest.mark.requirement("FA-14", "XC-L4")
async def test_a_stop_while_starting_rolls_back():
    """Started components are stopped, starting ones are cancelled, and the run ends as cancelled."""
    trace = []
    kernel = kernel_of(component("quick", trace), component("slow", trace, start=60))
    async with anyio.create_task_group() as tasks:

        async def stop():
            await anyio.sleep(1)
            kernel.request_stop("changed my mind")

        tasks.start_soon(stop)
        with pytest.raises(StartCancelled, match="changed my mind"):
            async with kernel.running():
                pytest.fail("it started")
    assert ["quick up", "quick down"] == trace


@pytest.mark.anyio
async def test_a_stop_at_the_first_event_starts_nothing():
    """A stop request before the first component starts no component."""
    trace = []
    kernel = kernel_of(component("never", trace))
    kernel.listen(lambda event: kernel.request_stop("at once") if isinstance(event, events.KernelStarting) else None)
    with pytest.raises(StartCancelled, match="at once"):
        async with kernel.running():
            pytest.fail("it started")
    assert [] == trace


@pytest.mark.anyio
async def test_only_the_first_stop_request_counts():
    """The first reason stays, and is one event."""
    told = []
    kernel = kernel_of(component(), listeners=[told.append])
    async with kernel.running():
        kernel.request_stop("first")
        kernel.request_stop("second")
        assert "first" == await kernel.wait_stop_requested()
    assert ["first"] == [event.reason for event in told if isinstance(event, events.StopRequested)]


@pytest.mark.anyio
@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_readiness_is_lost_with_the_request_to_stop():
    """Readiness fails before anything drains, so that balancers choose another instance."""
    kernel = kernel_of(component())
    async with kernel.running():
        assert "pass" == (await kernel.ready()).status
        kernel.request_stop("SIGTERM")
        report = await kernel.ready()
        assert ("fail", "draining") == (report.status, report.checks[0].reason)
        assert "pass" == (await kernel.started()).status


@pytest.mark.anyio
async def test_a_component_may_request_the_stop():
    """The reason begins with the component's name."""
    kernel = kernel_of(component(begin=lambda context: context.supervise(functools.partial(ask, context))))

    async def wait():
        async with kernel.running():
            return await kernel.wait_stop_requested()

    assert "database: disk full" == await wait()


async def ask(context):
    await context.wait_ready()
    context.request_stop("disk full")


def draining(hooks, **settings):
    told = []

    def begin(context):
        for hook in hooks:
            context.on_drain(hook)

    kernel = kernel_of(component(begin=begin), settings=settings, listeners=[told.append])
    return kernel, lambda: [event.message for event in told if isinstance(event, events.Warned)]


@pytest.mark.anyio
async def test_drain_hooks_run_side_by_side():
    """Three drain hooks of a second take one second."""
    kernel, _ = draining([functools.partial(anyio.sleep, 1)] * 3)
    async with kernel.running():
        began = anyio.current_time()
        await kernel.drain()
        assert 1 == pytest.approx(anyio.current_time() - began)


@pytest.mark.anyio
async def test_a_failing_drain_hook_is_a_warning():
    """The other hooks run on, and so does the stop."""
    done = []

    async def fails():
        raise OSError("no")

    async def works():
        await anyio.sleep(1)
        done.append(True)

    kernel, warned = draining([fails, works])
    async with kernel.running():
        await kernel.drain()
    assert ([True], ["a drain hook failed: OSError: no"]) == (done, warned())


@pytest.mark.anyio
async def test_a_drain_hook_that_hangs_is_cut_short():
    """A hook that exceeds ``drain_timeout`` is cancelled, with a warning."""
    kernel, warned = draining([anyio.sleep_forever, functools.partial(anyio.sleep, 1)], drain_timeout=3)
    async with kernel.running():
        began = anyio.current_time()
        await kernel.drain()
        assert 3 == pytest.approx(anyio.current_time() - began)
    assert ["a drain hook didn't end within 3 s and was cut short"] == warned()


@pytest.mark.anyio
async def test_a_second_drain_waits_for_the_first():
    """The hooks run once, and both callers return when the hooks have ended."""
    calls, back = [], []

    async def hook():
        calls.append("hook")
        await anyio.sleep(2)

    async def drain():
        await kernel.drain()
        back.append(anyio.current_time() - began)

    kernel, _ = draining([hook])
    async with kernel.running():
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain)
            await anyio.sleep(1)
            tasks.start_soon(drain)
    assert (["hook"], [2, 2]) == (calls, [pytest.approx(seconds) for seconds in back])


@pytest.mark.anyio
async def test_a_drain_after_the_stop_does_nothing():
    """The hooks' components are gone after the stop; without any run a drain is an error."""
    calls = []

    async def hook():
        calls.append("hook")

    kernel, _ = draining([hook])
    with pytest.raises(RuntimeError, match="this kernel doesn't run"):
        await kernel.drain()
    async with kernel.running():
        pass
    await kernel.drain()
    assert [] == calls


def reasons(report):
    return [(check.name, check.status, check.reason) for check in report.checks]


@pytest.mark.anyio
@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_started_names_the_missing_components():
    """Before the run all components are missing, while starting those that haven't started."""
    kernel = kernel_of(component("quick"), component("slow", start=2))
    assert [("kernel", "fail", "new"), ("quick", "fail", "not started"), ("slow", "fail", "not started")] == reasons(
        await kernel.started()
    )
    async with anyio.create_task_group() as tasks:

        async def look():
            await anyio.sleep(1)
            assert [("kernel", "fail", "starting"), ("slow", "fail", "not started")] == reasons(await kernel.started())
            assert [("kernel", "fail", "starting")] == reasons(await kernel.ready())

        tasks.start_soon(look)
        async with kernel.running():
            assert "pass" == (await kernel.started()).status
    assert [("kernel", "fail", "stopped")] == reasons(await kernel.started())


@pytest.mark.anyio
@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_liveness_depends_on_nothing():
    """A failing probe doesn't get the process killed."""

    async def away():
        raise OSError

    kernel = kernel_of(component(begin=lambda context: context.add_probe("database", away)))
    assert "pass" == (await kernel.live()).status
    async with kernel.running():
        assert ("pass", "fail") == ((await kernel.live()).status, (await kernel.ready()).status)


@pytest.mark.anyio
async def test_readiness_that_changes_is_an_event():
    """Lost readiness is an event with the probe's name and reason, regained readiness another."""
    told, broken = [], []

    async def ping():
        if broken:
            raise OSError

    kernel = kernel_of(component(begin=lambda context: context.add_probe("db", ping)), listeners=[told.append])
    async with kernel.running():
        for state in ([], [1], []):
            broken[:] = state
            await kernel.ready()
            await anyio.sleep(3)
    changes = [event for event in told if isinstance(event, events.ReadinessLost | events.ReadinessRegained)]
    assert ("db", "fail", "OSError") == (changes[0].probe, changes[0].status, changes[0].reason)
    assert (events.ReadinessRegained, "db", 2) == (type(changes[1]), changes[1].probe, len(changes))


@pytest.mark.anyio
@pytest.mark.requirement("FA-15", "CF-16", "XC-L5")
async def test_a_degraded_component_fails_readiness_by_name():
    """A component that died fails readiness although its probe of the same name passes."""

    async def dies():
        raise OSError

    async def passes():
        pass

    def begin(context):
        context.add_probe("database", passes)
        context.add_probe("replica", passes)
        context.supervise(dies, restart=Restart(intensity=0, when_exhausted="degrade"))

    kernel = kernel_of(component(begin=begin))
    with pytest.raises(CrashError):
        async with kernel.running():
            await anyio.sleep(1)
            report = await kernel.ready()
            assert [("database", "fail", "died"), ("replica", "pass", "")] == reasons(report)


@pytest.mark.anyio
@pytest.mark.law("I11")
async def test_a_stop_during_a_probe_is_not_ready():
    """A stop that begins while probes run makes the report fail."""

    async def slow():
        await anyio.sleep(1)

    kernel = kernel_of(component(begin=lambda context: context.add_probe("slow", slow)))
    async with kernel.running(), anyio.create_task_group() as tasks:

        async def stop():
            await anyio.sleep(0.5)
            kernel.request_stop("now")

        tasks.start_soon(stop)
        assert [("kernel", "fail", "draining")] == reasons(await kernel.ready())


@pytest.mark.anyio
async def test_probes_end_with_their_component():
    """Neither a failed start nor a stop leaves a probe behind."""
    left = []

    async def ping():
        pass

    def look(event):
        if isinstance(event, events.ComponentStopping | events.ComponentStartFailed | events.ComponentStartCancelled):
            left.append(sorted(kernel._run.health._probes))

    def begin(name):
        return lambda context: context.add_probe(name, ping)

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def bad(context: Context):
        context.add_probe("bad", ping)
        await anyio.sleep(1)
        raise OSError
        yield

    parts = [component("good", begin=begin("good")), component("slow", start=9, begin=begin("slow")), bad]
    kernel = kernel_of(*parts, listeners=[look])
    with pytest.raises(StartError):
        async with kernel.running():
            pass
    assert (["good", "slow"], [], 3) == (left[0], left[-1], len(left))


@pytest.mark.anyio
async def test_a_failing_listener_is_removed():
    """The other listeners get every event, and one that names the removed listener."""
    heard, told = [], []

    def fails(event):
        heard.append(event)
        raise OSError("no")

    kernel = kernel_of(component(), listeners=[fails, told.append])
    async with kernel.running():
        pass
    (message,) = [event.message for event in told if isinstance(event, events.Warned)]
    assert message.startswith("the listener <function ")
    assert message.endswith(" failed and was removed: OSError: no")
    assert (1, True) == (len(heard), any(isinstance(event, events.KernelStopped) for event in told))


@pytest.mark.anyio
async def test_listeners_that_fail_on_each_others_failures_are_removed():
    """A chain of failing listeners ends, and the run goes on."""

    def fails(event):
        raise OSError("no")

    def fails_too(event):
        raise OSError("neither")

    told = []
    async with kernel_of(component(), listeners=[fails, fails_too, told.append]).running():
        pass
    assert 2 == len([event for event in told if isinstance(event, events.Warned)])


@pytest.mark.anyio
async def test_a_listener_may_be_added_later():
    """A listener gets the events from then on."""
    told = []
    kernel = kernel_of(component())
    async with kernel.running():
        kernel.listen(told.append)
    assert isinstance(told[0], events.KernelStopping)
    with pytest.raises(ValueError, match="listeners: expected functions that take an event, got 5"):
        kernel.listen(5)


@pytest.mark.anyio
async def test_listeners_may_be_added_for_a_block():
    """Listeners get the events until the block ends, also where the block raises."""
    told, kept = [], []
    kernel = kernel_of(component(), listeners=[kept.append])
    with pytest.raises(OSError), kernel.listening(told.append):
        kernel.emit(events.Warned(at=1, component="a", message="in"))
        raise OSError
    kernel.emit(events.Warned(at=2, component="a", message="out"))
    assert (["in"], ["in", "out"]) == ([event.message for event in told], [event.message for event in kept])


@pytest.mark.anyio
async def test_a_component_may_extend_its_start():
    """A start that makes progress can extend the deadline."""

    @lifespan(band=LifespanBand.PERSISTENCE, start_timeout=2)
    async def migrates(context: Context):
        for _ in range(5):
            await anyio.sleep(1)
            context.extend_timeout(2)
        yield

    async with kernel_of(migrates).running():
        assert anyio.current_time() > 4


@pytest.mark.anyio
@pytest.mark.requirement("XC-R1", "XC-R2", "XC-R3", "XC-R4", "XC-R5", "CF-04")
async def test_budgets_of_all_components_are_compared():
    """The sum of all budgets, times the processes, is compared with the number that the server allows."""
    parts = [
        component("pool", budget={"postgres": 15}, begin=lambda context: context.check_budget("postgres", 100)),
        component("events", budget={"postgres": 11}),
    ]
    told = []
    async with kernel_of(*parts, settings={"processes": 3}).running():
        pass
    async with kernel_of(
        *parts, settings={"processes": 3, "limits": {"postgres": 90}}, listeners=[told.append]
    ).running():
        pass
    assert [
        "the plan may hold 78 of postgres (26 in each of 3 processes), 87% of the 90 that BANDMASTER_LIMITS allows"
    ] == [event.message for event in told if isinstance(event, events.Warned)]
    with pytest.raises(StartError, match="104% of the 100 that the server allows"):
        async with kernel_of(*parts, settings={"processes": 4}).running():
            pass


@pytest.mark.anyio
async def test_what_is_provided_so_far():
    """A component that starts finds the values of those that have started, and none of those that haven't."""
    seen = {}

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def database(context: Context) -> AsyncIterator[Database]:
        seen["early"] = Database in context.provided
        yield Database()

    @lifespan(band=LifespanBand.APPLICATION)
    async def shop(context: Context) -> AsyncIterator[None]:
        seen["late"] = Database in context.provided
        yield

    kernel = Kernel(contributions=[database, shop], discover=False)
    assert Database not in kernel.provided
    async with kernel.running():
        assert ({"early": False, "late": True}, True) == (seen, Database in kernel.provided)
    assert Database in kernel.provided, "those of the last run"


@pytest.mark.anyio
async def test_another_plan_for_one_run():
    """Another plan takes the kernel's place until the block ends; it has the same components."""
    kernel = Kernel(contributions=[component()], discover=False)
    own, other = kernel.plan, Kernel(contributions=[component()], discover=False).plan
    with kernel.substitute_plan(other):
        assert other is kernel.plan
    assert own is kernel.plan
    strange = Kernel(contributions=[component("strange")], discover=False).plan
    with pytest.raises(ValueError, match="plan: expected the components of"), kernel.substitute_plan(strange):
        pass
    async with kernel.running():
        with pytest.raises(RuntimeError, match="can be substituted before it starts"), kernel.substitute_plan(other):
            pass
