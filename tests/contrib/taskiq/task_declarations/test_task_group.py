"""The tasks that parts contribute."""

import sys
from types import ModuleType

import pytest

from bandmaster.contrib.taskiq import Tasks, collect_tasks, task, tasks
from bandmaster.kernel import Kernel, PlanError


@task
def add(one: int, other: int = 1) -> int:
    return one + other


def _made(name="other", **options):
    return task(name=name, **options)(lambda: None)


def _kernel(*parts):
    return Kernel(contributions=parts, discover=False)


def test_a_part_contributes_its_tasks():
    """The tasks of a part are found by name without a start."""
    part = tasks("shop", add, _made())
    assert ("shop_tasks", f"The tasks of 'shop': {add.name}, other.") == (part.name, part.description)
    plan = _kernel(part, tasks("empty")).plan
    assert [add.name, "other"] == list(collect_tasks(plan))
    assert "The tasks of 'empty': none." == tasks("empty").description


def test_a_module_stands_for_its_tasks(registry, monkeypatch):
    """A module contributes its own tasks, not imported ones."""
    module = ModuleType("shop.jobs")
    monkeypatch.setitem(sys.modules, "shop.jobs", module)
    source = (
        "from bandmaster.contrib.taskiq import task\n"
        "from taskiq import async_shared_broker\n"
        "one = task(name='one')(lambda: 1)\n"
        "@async_shared_broker.task(task_name='two')\n"
        "def two(): ...\n"
        "other_name = one\n"
        "number = 3\n"
    )
    exec(source, vars(module))
    module.add = add  # as an import would
    found = collect_tasks(_kernel(tasks("shop", module)).plan)
    assert ["one", "two"] == list(found)


@pytest.mark.parametrize("member", [print, "shop.jobs", None])
def test_members_of_another_kind(member):
    """Other members are refused."""
    with pytest.raises(ValueError, match="members: expected tasks, or modules with tasks in them"):
        tasks("shop", member)


def test_two_tasks_of_one_name_within_a_part():
    """Two tasks of one name in a part are refused; the same task twice isn't."""
    with pytest.raises(ValueError, match="members: there are two tasks called 'other'"):
        tasks("shop", _made(), _made())
    assert [add.name] == list(collect_tasks(_kernel(tasks("shop", add, add.using(delay=1))).plan))


def test_two_tasks_of_one_name_in_two_parts():
    """The report names both parts and all such tasks."""
    kernel = _kernel(tasks("shop", _made(), add, _made("mine")), tasks("bar", _made(), add))
    with pytest.raises(PlanError) as caught:
        collect_tasks(kernel.plan)
    assert ["other", add.name] == [problem.subject for problem in caught.value.problems]
    assert "the parts 'bar' and 'shop' both have a task 'other'." in str(caught.value)


def test_tasks_can_be_overridden():
    """An override replaces the tasks of a part."""
    from bandmaster.kernel.contributions.keys import Key

    plan = Kernel(discover=False, overrides={Key(Tasks, "shop"): Tasks("shop", (add,))}).plan
    assert {add.name: add} == collect_tasks(plan)
