"""Tests of bandmaster.kernel.cli.commands.plan."""

import json

import pytest

from bandmaster.kernel.cli.planned_target import plan_target

PLAN = """\
Plan of everything installed for role 'web'
  3 components in 2 stages, 2 layers, 1 set of routes, 2 error handlers

Start order  the stop is its exact reverse
  PERSISTENCE 150
    database  acme-data 1.2
      provides Database
      has 10 s to start and 5 s to stop
      may hold 10 of postgres, 4 of threads
    cache  acme-data 1.2
      provides Cache
      waits for database: it is declared to start after 'database'
  SERVICES 350
    jobs  acme-data 1.2
      provides Broker
      waits for cache: it needs its Cache
      waits for database: it needs its Database
      has 2.5 s to stop
      may hold 5 of postgres

Request stack  outermost first
  1 trace  OUTERMOST 50, hooks, http and websocket, acme-data 1.2
  2 access  SECURITY 150, ASGI, http, acme-data 1.2

Routes
  orders at /orders, tagged shop  acme-data 1.2

Error handlers
  conflict for Conflict  acme-data 1.2
  gone for 410  acme-data 1.2

Budget  the most that the components may hold
  resource  one process  4 processes  limit  share
  postgres           15           60     97    62%
  threads             4           16

Stop
  slowest path 17.5 s: jobs 2.5 s → cache 10 s → database 5 s
  allowed 20 s: a grace of 30 s, less 10 s for draining

Not started
  reports: it belongs to role 'worker'  acme-data 1.2
"""


@pytest.mark.requirement("FA-2", "XC-L2")
def test_the_whole_plan_for_people(sandbox):
    """The plan has the start order, the stack, routes, budgets and the slowest stop, one fact a line."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_PROCESSES="4", BANDMASTER_LIMITS='{"postgres": 97}')
    assert PLAN == sandbox.out("plan")


def test_on_a_terminal(sandbox):
    """On a terminal the plan is a tree with colours, within 80 columns."""
    sandbox.install_data()
    shown = sandbox.run("plan", terminal=True).stdout
    assert "\x1b[1mdatabase" in shown
    assert "└── " in shown
    sandbox.setenv(NO_COLOR="1")
    lines = sandbox.run("plan", terminal=True).stdout.splitlines()
    assert "├── PERSISTENCE 150" in [line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines]
    assert not any("\x1b[3" in line for line in lines)


def test_without_a_terminal(sandbox):
    """Output to a pipe has neither colours nor boxes, and no line is wrapped."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_DISABLE="cache")
    shown = sandbox.out("plan")
    assert not set("\x1b│├└─") & set(shown)
    assert "  lifespan:cache: it is disabled  acme-data 1.2\n" in shown


def test_another_role(sandbox):
    """The plan of a role has the components of that role, and names the others as not started."""
    sandbox.install_data()
    shown = sandbox.out("plan", "--role", "worker")
    assert "Plan of everything installed for role 'worker'\n  4 components" in shown
    assert "    reports  acme-data 1.2\n" in shown
    unused = "layers, routes and error handlers, because no requests are served: access, conflict, gone, orders, trace"
    assert f"Not started\n  {unused}\n" in shown


def test_an_unknown_role(sandbox):
    """A role that no part names gives a warning with the nearest name."""
    sandbox.install_data()
    shown = sandbox.out("plan", "--role", "wroker")
    assert shown.endswith("\nWarnings\n  no part belongs to role 'wroker' in particular. Did you mean 'worker'?\n")
    sandbox.setenv(BANDMASTER_DISABLE="reports")
    assert "Warnings" not in sandbox.out("plan", "--role", "wroker")


@pytest.mark.parametrize("command", [["plan"], ["check"], ["exec", "shop:count"]])
def test_an_empty_role(sandbox, command):
    """An unset variable of a shell gives an empty role, which is wrong use."""
    code, shown = sandbox.error(*command, "--role", "")
    assert 2 == code
    assert "expected the name of a role, such as web or worker." in shown


def test_another_role_of_an_application(sandbox):
    """An application with a role is planned again for another one, with the arguments from code."""
    sandbox.install_data()
    sandbox.write(
        "shop.py",
        """
        from collections.abc import AsyncIterator
        from bandmaster.kernel import LifespanBand, create_app, lifespan
        import acme_data
        class Mailer: ...
        @lifespan(band=LifespanBand.APPLICATION, roles=["worker"])
        async def mailer() -> AsyncIterator[Mailer]:
            yield Mailer()
        app = create_app(contributions=[mailer], overrides={acme_data.Cache: acme_data.Cache()})
        """,
    )
    web = json.loads(sandbox.out("plan", "shop:app", "--format", "json"))
    worker = json.loads(sandbox.out("plan", "shop:app", "--role", "worker", "--format", "json"))
    assert ("web", ["database", "jobs"]) == (web["role"], [part["name"] for part in web["components"]])
    assert ["database", "jobs", "reports", "mailer"] == [part["name"] for part in worker["components"]]
    assert [("cache", "override", ["Cache"])] == [(n["name"], n["reason"], n["by"]) for n in worker["not_started"]]
    assert "  cache: an override provides Cache\n" in sandbox.out("plan", "shop:app")
    assert plan_target("shop:app", role="web").plan is plan_target("shop:app").plan


def test_the_plan_for_another_role_knows_what_the_application_disables(sandbox):
    """A part may name in after= a part that the application disables, whichever role is planned."""
    sandbox.install_data()
    sandbox.write(
        "shop.py",
        """
        from collections.abc import AsyncIterator
        from bandmaster.kernel import LifespanBand, create_app, lifespan
        class Mailer: ...
        @lifespan(band=LifespanBand.APPLICATION, after=["jbos"])
        async def mailer() -> AsyncIterator[Mailer]:
            yield Mailer()
        app = create_app(contributions=[mailer], disable={"jbos"})
        """,
    )
    for role in ("web", "worker"):
        told = json.loads(sandbox.out("plan", "shop:app", "--role", role, "--format", "json"))
        assert "mailer" in [part["name"] for part in told["components"]]


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_disabled_part_that_would_help(sandbox, by_argument):
    """The problem of a need that a disabled part would meet names the part, and the reason why it is disabled."""
    sandbox.install_data()
    argument = ', disable={"database"}' if by_argument else ""
    sandbox.write(
        "shop.py",
        f"""
        from collections.abc import AsyncIterator
        from bandmaster.kernel import LifespanBand, create_app, lifespan
        from acme_data import Database
        @lifespan(band=LifespanBand.APPLICATION)
        async def shop(database: Database) -> AsyncIterator[None]:
            yield
        def app():
            return create_app(contributions=[shop]{argument})
        """,
    )
    sandbox.setenv(BANDMASTER_DISABLE="jobs,Access" if by_argument else "jobs,access,database")
    source = "disable=" if by_argument else "BANDMASTER_DISABLE"
    code, said = sandbox.error("plan", "shop:app")
    hint = (
        f"which nothing provides. 'database' (acme-data 1.2) provides one, but it is disabled by {source}: let it in."
    )
    assert (1, True) == (code, hint in " ".join(said.split()))


def test_explain(sandbox):
    """--explain prints the reasons for the place of a part."""
    sandbox.install_data()
    expected = """\
cache: component 2 of 3, in stage PERSISTENCE 150
  brought by acme-data 1.2, acme_data:cache
  waits for database: it is declared to start after 'database'
  jobs waits for it: it needs its Cache
  provides Cache
  has 30 s to start (BANDMASTER_START_TIMEOUT) and 10 s to stop (an equal share of the grace)
"""
    assert expected == sandbox.out("plan", "--explain", "cache")
    told = json.loads(sandbox.out("plan", "--explain", "cache", "--format", "json"))
    assert [{"component": "jobs", "why": "it needs its Cache"}] == told["waited_for_by"]
    assert "acme-data 1.2, acme_data:cache" == told["brought_by"]


def test_explain_a_misspelt_name(sandbox):
    """A misspelt name is answered with the nearest name."""
    sandbox.install_data()
    assert (2, "there is no 'cahce' in the plan. Did you mean 'cache'?\n") == sandbox.error(
        "plan", "--explain", "cahce"
    )


def test_for_programs(sandbox):
    """The JSON also has the reasons, and defaults that the text leaves out."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_DISABLE="gone")
    told = json.loads(sandbox.out("plan", "--format", "json"))
    assert (1, True, None, "web") == (told["format"], told["ok"], told["target"], told["role"])
    assert {"band": "PERSISTENCE", "priority": 150, "components": ["database", "cache"]} == told["stages"][0]
    assert {
        "name": "jobs",
        "description": "",
        "distribution": "acme-data",
        "version": "1.2",
        "entry_point": "acme_data:jobs",
        "replaces": None,
        "conditional": False,
        "band": "SERVICES",
        "priority": 350,
        "stage": 1,
        "needs": [
            {
                "parameter": "database",
                "type": "Database",
                "kind": "resource",
                "optional": False,
                "from": "database",
            },
            {"parameter": "cache", "type": "Cache", "kind": "resource", "optional": True, "from": "cache"},
        ],
        "provides": ["Broker"],
        "decorates": None,
        "waits_for": [
            {"component": "cache", "why": "it needs its Cache"},
            {"component": "database", "why": "it needs its Database"},
        ],
        "start_timeout": 30.0,
        "start_timeout_from": "BANDMASTER_START_TIMEOUT",
        "stop_timeout": 2.5,
        "stop_timeout_from": "as it declares",
        "budget": {"postgres": 5},
        "roles": None,
        "on_crash": "stop",
        "on_start_failure": "stop",
        "on_start_failure_by": None,
        "relies_on": ["database"],
        "facts": [],
    } == told["components"][2]
    assert [("trace", "hooks"), ("access", "asgi")] == [(layer["name"], layer["form"]) for layer in told["layers"]]
    assert ("/orders", ["shop"]) == (told["routes"][0]["prefix"], told["routes"][0]["tags"])
    assert ["Conflict"] == [handler["exception"] for handler in told["error_handlers"]]
    assert {"one_process": 15, "all_processes": 15, "limit": None} == told["budget"]["resources"]["postgres"]
    assert ["jobs", "cache", "database"] == [step["component"] for step in told["stop"]["path"]]
    assert [
        {"part": "error_handlers:gone", "reason": "it is disabled", "distribution": "acme-data", "version": "1.2"}
    ] == (told["left_out"])
    assert ["worker"] == told["not_started"][0]["by"]
    assert ([], []) == (told["problems"], told["warnings"])


def test_the_slowest_path(sandbox):
    """The printed path adds up to the time that the plan was checked with."""
    sandbox.install_data()
    plan = plan_target(None).plan
    assert plan.stop_seconds == sum(component.stop_timeout for component in plan.slowest_stop)


def test_nothing_installed(sandbox):
    """An empty plan names packages to install."""
    assert (
        "Plan of everything installed for role 'web'\n"
        "  no parts: install a distribution that brings some, such as bandmaster-web, or name an app that composes "
        "some\n"
    ) == sandbox.out("plan")


def test_layers_without_components(sandbox):
    """A plan may have layers and no components."""
    sandbox.write(
        "shop.py",
        """
        from bandmaster.kernel import Kernel, MiddlewareBand, middleware
        @middleware(band=MiddlewareBand.CONTEXT)
        class Layer:
            def on_end(self, exchange): ...
        kernel = Kernel(discover=False, contributions=[Layer])
        """,
    )
    assert """\
Plan of shop:kernel
  no components, 1 layer

Request stack  outermost first
  1 Layer  CONTEXT 250, hooks, http and websocket, in code, shop:Layer
""" == sandbox.out("plan", "shop:kernel")


@pytest.mark.requirement("XC-R1")
def test_a_budget_above_its_limit(sandbox):
    """A budget that the start would refuse is a problem after the plan."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_PROCESSES="10", BANDMASTER_LIMITS='{"postgres": 97, "threads": 0}')
    result = sandbox.run("plan")
    assert 1 == result.exit_code
    assert (
        """\
  resource  one process  10 processes  limit          share
  postgres           15           150     97  155% too much
  threads             4            40      0       too much
"""
        in result.stdout
    )
    assert result.stdout.endswith("""
Problems
  the plan may hold 150 of postgres (15 in each of 10 processes), 155% of the 97 that BANDMASTER_LIMITS allows. \
Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn.
  the plan may hold 40 of threads (4 in each of 10 processes), more than all of the 0 that BANDMASTER_LIMITS allows. \
Lower pool sizes or processes, raise the limit, or set BANDMASTER_OVER_BUDGET=warn.
""")
    told = json.loads(sandbox.run("plan", "--format", "json").stdout)
    assert (False, ["postgres", "threads"]) == (told["ok"], [problem["subject"] for problem in told["problems"]])


def test_problems_in_place_of_a_plan(sandbox):
    """All problems are reported at once on standard error, and nothing else is printed."""
    sandbox.install_data(url=None)
    code, said = sandbox.error("plan")
    assert (
        1,
        (
            "1 problem in the plan:\n"
            "  - ACME_URL is not set (DataSettings needs it). Set it in the environment, or pass "
            "overrides={DataSettings: DataSettings(...)}. DataSettings is read by lifespan 'database' (PERSISTENCE, "
            "acme-data 1.2).\n"
        ),
    ) == (code, said)


def test_problems_in_place_of_a_plan_for_programs(sandbox):
    """The problems are JSON in place of the plan."""
    sandbox.install_data(url=None)
    result = sandbox.run("plan", "--format", "json")
    assert (1, "") == (result.exit_code, result.stderr)
    assert {
        "format": 1,
        "ok": False,
        "error": "PlanError",
        "problems": [
            {
                "message": "ACME_URL is not set (DataSettings needs it).",
                "hint": (
                    "Set it in the environment, or pass overrides={DataSettings: DataSettings(...)}. DataSettings is "
                    "read by lifespan 'database' (PERSISTENCE, acme-data 1.2)."
                ),
                "subject": "DataSettings",
            }
        ],
    } == json.loads(result.stdout)


def test_a_long_problem_on_a_terminal(sandbox):
    """Problems wrap between words at the width of the terminal, indented below their dash."""
    sandbox.install_data(url=None)
    said = sandbox.run("plan", terminal=True).stderr
    assert "\x1b[1;31m1 problem in the plan:\x1b[0m" == said.splitlines()[0]
    assert [
        "  - ACME_URL is not set (DataSettings needs it). Set it in the environment, or",
        "    pass overrides={DataSettings: DataSettings(...)}. DataSettings is read by",
        "    lifespan 'database' (PERSISTENCE, acme-data 1.2).",
    ] == said.splitlines()[1:]


def test_the_whole_traceback(sandbox):
    """--traceback prints the traceback of an error, with causes first."""
    sandbox.install("acme-bad", "[bandmaster.lifespan]\nbad = acme_bad:bad\n", acme_bad="import reddis\n")
    code, said = sandbox.error("plan", "--traceback")
    assert 1 == code
    assert said.index("ModuleNotFoundError: No module named 'reddis'") < said.index("which led to")
    assert said.index("which led to") < said.index("\n1 problem with the installed parts:")
    assert "Traceback" not in sandbox.error("plan")[1]


CYCLE = """
from collections.abc import AsyncIterator
from bandmaster.kernel import Kernel, LifespanBand, LifespanContribution, lifespan
class A: ...
class B: ...
@lifespan(band=LifespanBand.SERVICES)
async def a(b: B) -> AsyncIterator[A]:
    yield A()
@lifespan(band=LifespanBand.SERVICES)
async def b(a: A) -> AsyncIterator[B]:
    yield B()
@lifespan(band=LifespanBand.PERSISTENCE, name="b")
async def again() -> AsyncIterator[None]:
    yield
def cycle(): return Kernel(discover=False, contributions=[a, b])
def twice(): return Kernel(discover=False, contributions=[a, again, b])
def wrong(): return Kernel(discover=False, contributions=[A])
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            "app:cycle",
            (
                "1 problem in the plan:\n"
                "  - lifespans a → b → a wait for each other: 'a' waits for 'b' (it needs its B; in code, app:a), "
                "'b' waits "
                "for 'a' (it needs its A; in code, app:b). Take one of these edges away, or let both use a third "
                "component.\n"
            ),
        ),
        (
            "app:wrong",
            (
                "app:wrong() raised ValueError: contributions: A is no contribution; decorate it with "
                "@lifespan(...) or @middleware(...), pass it to value(...), or make a RouteContribution or an "
                "ErrorHandlerContribution of it (app.py:17).\n"
                "  app.py:17 in wrong\n"
                "    def wrong(): return Kernel(discover=False, contributions=[A])\n"
            ),
        ),
    ],
)
def test_parts_that_do_not_fit(sandbox, target, expected):
    """Cycles and objects that are no parts are described in words, with their place."""
    sandbox.write("app.py", CYCLE)
    code, said = sandbox.error("plan", target)
    assert (1, expected) == (code, said.replace(f"{sandbox.work}/", ""))


def test_two_parts_of_one_name(sandbox):
    """Two parts of one name are both named, with their distributions."""
    sandbox.write("app.py", CYCLE)
    code, said = sandbox.error("plan", "app:twice")
    assert 1 == code
    assert (
        "lifespan 'b' (PERSISTENCE, in code, app:again) and lifespan 'b' (SERVICES, in code, app:b) have the same"
        in said
    )
