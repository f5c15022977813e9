"""Tests of bandmaster.kernel.cli.commands.timeline."""

import json
import re

from bandmaster.kernel.listeners.timeline import Record, Span
from bandmaster.kernel.listeners.timeline_store import save_timeline

RECORD = Record(
    1.25,
    (Span("cache", 0.0, 0.02), Span("database", 0.0, 0.75), Span("jobs", 0.75, 0.5)),
    (("cache", "database"), ("jobs",)),
    {"cache": (), "database": (), "jobs": ("database",)},
)


def test_the_last_start(sandbox):
    """The answer has the components by their own time, and the chain that determined the length."""
    save_timeline("shop:app", RECORD)
    first, *rest = sandbox.out("timeline", "shop:app").splitlines()
    assert re.fullmatch(r"The start of shop:app took 1\.2 s  on \d{4}-\d\d-\d\d at \d\d:\d\d:\d\d", first)
    assert (
        """
Blame  the longest own time first
  own time  waited  component
    750 ms   <1 ms  database
    500 ms  750 ms  jobs
     20 ms   <1 ms  cache

Critical chain  the components that determined the length of the start, one after the other
  component    from  own time      to
  database    <1 ms    750 ms  750 ms
  jobs       750 ms    500 ms   1.2 s""".splitlines()
        == rest
    )


def test_on_a_terminal(sandbox):
    """On a terminal the same columns have colours."""
    save_timeline(None, RECORD)
    shown = sandbox.run("timeline", terminal=True).stdout
    assert "\x1b[1mThe start of everything installed took 1.2 s" in shown
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in shown.splitlines())


def test_no_start_on_record(sandbox):
    """Without a recorded start the error says how to get one."""
    assert (
        1,
        (
            "No start of shop:app from this directory is on record. `bandmaster run shop:app` keeps one of each "
            "start, unless "
            "BANDMASTER_TIMELINE is off; `bandmaster timeline --start shop:app` starts it now, without a server.\n"
        ),
    ) == sandbox.error("timeline", "shop:app")
    assert "No start of everything installed from this directory is on record." in sandbox.error("timeline")[1]


def test_for_programs(sandbox):
    """The JSON has all times in seconds."""
    save_timeline(None, RECORD)
    told = json.loads(sandbox.out("timeline", "--format", "json"))
    assert (1, None, 1.25) == (told["format"], told["target"], told["took"])
    assert {"component": "database", "waited": 0.0, "own": 0.75, "outcome": "started", "tries": 1} == told["blame"][0]
    assert ["database", "jobs"] == told["critical_chain"]
    assert told["at"].endswith("+00:00")


def test_a_start_now(sandbox):
    """--start starts and stops the plan; its log lines aren't part of the answer."""
    sandbox.install_data()
    result = sandbox.run("timeline", "--start", "--format", "json")
    told = json.loads(result.stdout)
    assert (0, None) == (result.exit_code, told["at"])
    assert {"database", "cache", "jobs"} == {span["component"] for span in told["blame"]}
    assert "component started" in result.stderr


def test_a_start_of_nothing(sandbox):
    """A start without components has no times."""
    shown = sandbox.run("timeline", "--start").stdout
    assert re.fullmatch(r"The start of everything installed took \S+ ms\n\nIt has no components\.\n", shown)


FAILS = """
from collections.abc import AsyncIterator
from bandmaster.kernel import Kernel, LifespanBand, lifespan
class A: ...
@lifespan(band=LifespanBand.SERVICES)
async def first() -> AsyncIterator[A]:
    yield A()
@lifespan(band=LifespanBand.SERVICES)
async def second(a: A) -> AsyncIterator[None]:
    raise OSError("no route to host")
    yield
app = Kernel(discover=False, contributions=[first, second])
"""


def test_a_start_that_fails(sandbox):
    """A failed start prints the times so far, then the error."""
    sandbox.write("shop.py", FAILS)
    result = sandbox.run("timeline", "--start", "shop:app")
    assert 1 == result.exit_code
    assert result.stdout.startswith("The start of shop:app did not complete\n")
    assert re.search(r"second +failed\n", result.stdout)
    assert (
        "The start failed: 'second' (in code, shop:second) failed to start: OSError: no route to host" in result.stderr
    )
    assert 'raise OSError("no route to host")' in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in sandbox.run("timeline", "--start", "shop:app", "--traceback").stderr
    told = json.loads(sandbox.run("timeline", "--start", "shop:app", "--format", "json").stdout)
    assert (False, "StartError") == (told["ok"], told["error"])
