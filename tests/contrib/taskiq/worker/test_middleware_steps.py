"""TaskIQ's middlewares in the worker."""

import pytest
from taskiq import Context, TaskiqDepends, TaskiqMiddleware
from tests.contrib.taskiq.worker.helpers import LocalWorker, echo, make_failing_task

from bandmaster.contrib.taskiq import task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("logs")]


class Recorder(TaskiqMiddleware):
    """Records the calls."""

    def __init__(self, name, facts, fails=()):
        super().__init__()
        self.name, self.facts, self.fails = name, facts, fails

    def _called(self, step):
        self.facts.append(f"{self.name} {step}")
        if step in self.fails:
            raise OSError(f"{step} failed")

    def pre_execute(self, message):
        self._called("pre_execute")
        return message.model_copy(update={"labels": {**message.labels, self.name: "was here"}})

    async def on_error(self, message, result, exception):
        self._called(f"on_error {type(exception).__name__}")

    async def post_execute(self, message, result):
        self._called("post_execute")

    def post_save(self, message, result):
        self._called("post_save")


async def test_middlewares_run_in_taskiqs_order():
    """Middlewares run in order before a task and in reverse afterwards; steps without an implementation are skipped."""
    facts = []

    @task(name="seen")
    async def seen(context: Context = TaskiqDepends()):
        facts.append("run")
        return [name for name in "ab" if name in context.message.labels]

    middlewares = [Recorder("a", facts), TaskiqMiddleware(), Recorder("b", facts)]
    async with LocalWorker(seen, middlewares=middlewares) as working:
        assert ["a", "b"] == (await working.done(seen)).return_value
    steps = ["a pre_execute", "b pre_execute", "run", "b post_execute", "a post_execute", "b post_save", "a post_save"]
    assert steps == facts


async def test_middlewares_see_errors():
    """Middlewares see the error of each attempt, and the saving of the last."""
    facts = []
    work, _ = make_failing_task(9, attempts=2)
    async with LocalWorker(work, middlewares=[Recorder("a", facts)]) as working:
        await working.done(work)
    each = ["a pre_execute", "a on_error TransientError", "a post_execute"]
    assert [*each, *each, "a post_save"] == facts


async def test_a_middleware_that_fails_after_a_task(logs):
    """The error is logged, and neither the other middlewares nor the outcome are affected."""
    facts = []
    fails = ("post_execute", "post_save", "on_error ValueError")
    work, _ = make_failing_task(1, ValueError)
    async with LocalWorker(echo, work, middlewares=[Recorder("a", facts), Recorder("b", facts, fails)]) as working:
        assert "fine" == (await working.done(echo, "fine")).return_value
        assert isinstance((await working.done(work)).error, ValueError)
        assert (1, 0, 1, 0) == working.counts()
    assert {"a post_execute", "a post_save", "a on_error ValueError"} <= set(facts)
    told = [log["step"] for log in logs if log["event"] == "a middleware failed"]
    assert ["post_execute", "post_save", "on_error", "post_execute", "post_save"] == [
        step.rpartition(".")[2] for step in told
    ]


@pytest.mark.parametrize("broken", ["raises", "forgets"])
async def test_a_middleware_that_fails_before_a_task(broken):
    """The task doesn't run, and the message becomes a dead letter."""

    class Broken(TaskiqMiddleware):
        def pre_execute(self, message):
            if broken == "raises":
                raise ValueError("refused")

    async with LocalWorker(echo, middlewares=[Broken()]) as working:
        result = await working.done(echo)
        assert (True, (0, 0, 1, 0)) == (result.is_err, working.counts())
        text = "refused" if broken == "raises" else "Broken.pre_execute returned None rather than the message"
        assert text in (await working.letter()).detail
