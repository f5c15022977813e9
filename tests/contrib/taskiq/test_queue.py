"""The task queue: sending tasks and reading their results."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from taskiq import AsyncBroker, TaskiqMiddleware, TaskiqResult, async_shared_broker
from taskiq.exceptions import BrokerError, SendTaskError

from bandmaster.contrib.taskiq import (
    EmbeddedBroker,
    MemoryResults,
    TaskNotSentError,
    TaskQueue,
    UnknownTaskError,
    task,
)
from bandmaster.contrib.taskiq.idempotency.memory import MemoryIdempotency
from bandmaster.contrib.taskiq.schedules.stored_schedules import MemorySchedules
from bandmaster.contrib.web import request_context
from bandmaster.kernel import PermanentError, TransientError

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass
class Price:
    amount: Decimal


@task(name="shop:price", labels={"shop": "x"}, timeout=5)
async def price(item: int, *, discount: Decimal = Decimal(0)) -> Price:
    return Price(item - discount)


@task(name="shop:plain")
def plain(value=None): ...


class Keeping(EmbeddedBroker):
    """A broker that keeps sent messages, or raises."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.fails = None

    async def kick(self, message):
        if self.fails is not None:
            raise self.fails
        self.sent.append(json.loads(message.message) | {"of_broker": dict(message.labels)})


@pytest.fixture
def broker():
    found = Keeping()
    found.with_result_backend(MemoryResults(60))
    return found


@pytest.fixture
def queue(broker):
    tasks = {each.name: each for each in (price, plain)}
    return TaskQueue(broker, tasks, broker.dead_letters, MemorySchedules(), MemoryIdempotency(), now=lambda: NOW)


async def test_a_task_is_sent(queue, broker):
    """A message has the task's name, its arguments as JSON, and the labels."""
    sent = await queue.send(price, 7, discount=Decimal("0.5"))
    (message,) = broker.sent
    assert ("shop:price", [7], {"discount": "0.5"}) == (message["task_name"], message["args"], message["kwargs"])
    assert {"shop": "x"} == message["labels"] == message["of_broker"]
    assert (sent.task_id, 32) == (message["task_id"], len(sent.task_id))


async def test_ids_are_in_the_order_of_sending(queue):
    """Ids are unique, and later messages have greater ones."""
    ids = [(await queue.send(plain)).task_id for _ in range(50)]
    assert 50 == len(set(ids))
    assert sorted(ids, key=lambda each: each[:12]) == ids


async def test_the_options_of_using_are_sent(queue, broker):
    """The options of ``using`` become labels; a time becomes a delay by the queue's clock."""
    chosen = price.using(at=NOW + timedelta(seconds=90), task_id="id-1", once="a", queue="other", timeout=3, size=2)
    assert "id-1" == (await queue.send(chosen, 1)).task_id
    expected = {
        "shop": "x",
        "delay": "90.0",
        "bm_once": "a",
        "bm_once_for": "3600.0",
        "queue_name": "other",
        "timeout": "3.0",
        "size": "2",
    }
    assert expected == broker.sent[0]["labels"]


async def test_the_request_context_is_sent(queue, broker):
    """A message has the sender's request context, which a label can't replace."""
    with request_context("request", "correlation", tenant="acme", user="ann"):
        await queue.send(plain)
        await queue.send_message("shop:plain", labels={"bm_tenant": "other"})
    expected = {"bm_request_id": "request", "bm_correlation_id": "correlation", "bm_tenant": "acme", "bm_user": "ann"}
    assert [expected, expected] == [message["labels"] for message in broker.sent]


async def test_wrong_arguments_are_not_sent(queue, broker):
    """Wrong arguments raise an error that names the task and the parameter."""
    with pytest.raises(TypeError, match="task 'shop:price': missing a required argument: 'item'"):
        await queue.send(price)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="task 'shop:plain': argument 1 is a object, which JSON can't express"):
        await queue.send(plain, object())
    with pytest.raises(TypeError, match="task 'shop:price': got an unexpected keyword argument 'discuont'"):
        await queue.send_message("shop:price", [1], {"discuont": 1})
    assert [] == broker.sent


async def test_a_task_is_sent_by_its_name(queue, broker):
    """A task sent by name has its own labels and the given ones."""
    sent = await queue.send_message("shop:price", [7], {"discount": 1}, task_id="id-1", labels={"size": 2})
    (message,) = broker.sent
    assert ("id-1", [7], {"discount": 1}, {"shop": "x", "size": "2"}) == (
        sent.task_id,
        message["args"],
        message["kwargs"],
        message["labels"],
    )


async def test_an_unknown_name(queue, broker):
    """The error names the most similar task, or the possible reason."""
    with pytest.raises(UnknownTaskError, match=r"there is no task 'shop:prise' here\. Did you mean 'shop:price'\?"):
        await queue.send_message("shop:prise")
    with pytest.raises(UnknownTaskError, match=r"Is the part installed that contributes it, by tasks\(\.\.\.\)\?"):
        await queue.send_message("report")
    assert [] == broker.sent


async def test_tasks_of_taskiqs_decorators_are_sent(queue, broker, monkeypatch):
    """A task of TaskIQ's decorators is checked and labelled like others."""
    monkeypatch.setattr(AsyncBroker, "global_task_registry", {})

    @async_shared_broker.task(task_name="mail", shop="y")
    async def mail(to: str) -> None: ...

    sent = await queue.send(mail, "ann")
    assert (["ann"], {"shop": "y"}) == (broker.sent[0]["args"], broker.sent[0]["labels"])
    assert type(None) is sent.return_type
    with pytest.raises(TypeError, match="task 'mail'"):
        await queue.send(mail)  # type: ignore[call-arg]


async def test_middlewares_see_and_change_messages(queue, broker):
    """Middlewares run in order before sending, in reverse afterwards, and may change the message."""
    facts = []

    class Seeing(TaskiqMiddleware):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def pre_send(self, message):
            facts.append(f"{self.name} pre_send")
            return message.model_copy(update={"labels": {**message.labels, self.name: "1"}})

        async def post_send(self, message):
            facts.append(f"{self.name} post_send")

    broker.with_middlewares(Seeing("a"), Seeing("b"))
    await queue.send(plain)
    assert ["a pre_send", "b pre_send", "b post_send", "a post_send"] == facts
    assert {"a": "1", "b": "1"} == broker.sent[0]["labels"]


async def test_a_middleware_may_refuse(queue, broker):
    """A middleware's error reaches the sender, and nothing is sent."""

    class Refusing(TaskiqMiddleware):
        def pre_send(self, message):
            raise PermissionError("not today")

    broker.with_middlewares(Refusing())
    with pytest.raises(PermissionError, match="not today"):
        await queue.send(plain)
    assert [] == broker.sent


@pytest.mark.requirement("TQ-9")
@pytest.mark.parametrize("error", [TransientError("full"), PermanentError("refused")])
async def test_errors_of_this_package_are_not_wrapped(queue, broker, error):
    """The sender gets the broker's error itself, with its cause."""
    error.__cause__ = OSError("gone")
    broker.fails = error
    with pytest.raises(type(error)) as caught:
        await queue.send(plain)
    assert error is caught.value
    assert "gone" == str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("error", "said"), [(OSError("gone"), "OSError: gone"), (BrokerError(), "BrokerError: "), (SendTaskError(), "")]
)
async def test_errors_of_other_brokers_are_transient(queue, broker, error, said):
    """Errors of other packages become transient ones, since most of a broker's are."""
    broker.fails = error
    with pytest.raises(TaskNotSentError) as caught:
        await queue.send_message("shop:plain")
    assert isinstance(caught.value, TransientError)
    assert str(caught.value).startswith(f"task 'shop:plain' wasn't sent: {said}")
    assert error is caught.value.__cause__


async def test_results_are_of_the_declared_type(queue, broker):
    """A sent task's handle converts the result to the declared type; a handle by id doesn't."""
    sent = await queue.send(price, 7)
    result = TaskiqResult(is_err=False, return_value={"amount": "1.5"}, execution_time=0)
    await broker.result_backend.set_result(sent.task_id, result)
    assert Price(Decimal("1.5")) == (await sent.get_result()).return_value
    assert {"amount": "1.5"} == (await queue.handle(sent.task_id).get_result()).return_value
    assert not await queue.handle("unknown").is_ready()


@pytest.mark.parametrize("annotation", ["Nowhere", "broken("])
async def test_a_return_type_that_cannot_be_read(queue, broker, annotation):
    """A task whose return type can't be read can be sent."""

    def function(): ...

    function.__annotations__["return"] = annotation
    odd = task(name="odd")(function)
    queue.tasks = {"odd": odd}
    assert None is (await queue.send(odd)).return_type


async def test_a_task_that_no_part_contributes(queue):
    """A task that no worker of the plan would know is refused."""

    @task(name="stray")
    async def stray() -> None: ...

    with pytest.raises(UnknownTaskError, match="no task 'stray' here"):
        await queue.send(stray)


async def test_errors_of_the_result_backend_are_not_wrapped(queue, broker):
    """The errors of the result backend aren't hidden by TaskIQ's own."""

    class Away(MemoryResults):
        async def _has(self, kind, task_id):
            raise TransientError("away")

        async def _get(self, kind, task_id):
            raise TransientError("away")

    broker.with_result_backend(Away(60))
    handle = queue.handle("id")
    for ask in (handle.is_ready, handle.get_result, handle.wait_result):
        with pytest.raises(TransientError, match="away"):
            await ask()
