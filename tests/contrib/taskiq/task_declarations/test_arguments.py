"""The arguments of a task."""

import functools
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator
from taskiq import Context, TaskiqDepends, TaskiqMessage
from taskiq.formatters.proxy_formatter import ProxyFormatter

from bandmaster.contrib.taskiq import EmbeddedBroker, InvalidArgumentsError
from bandmaster.contrib.taskiq.task_declarations.arguments import read_arguments

SECRET = "hunter2-4711"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    price: Decimal
    sold: datetime | None = None


@dataclass
class Place:
    row: int
    item: Item
    colours: list[Colour]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
ITEMS = st.builds(Item, name=st.text(), price=DECIMALS, sold=st.none() | TIMES)
PLACES = st.builds(Place, row=st.integers(), item=ITEMS, colours=st.lists(st.sampled_from(Colour), max_size=3))
KINDS = [
    (str, st.text()),
    (int, st.integers(-(10**40), 10**40)),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (None, st.none()),
    (list[int], st.lists(st.integers())),
    (dict[str, float], st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False))),
    (dict[int, str], st.dictionaries(st.integers(), st.text())),
    (datetime, TIMES),
    (date, st.dates()),
    (timedelta, st.timedeltas(timedelta(0), timedelta(days=999))),
    (UUID, st.uuids()),
    (Decimal, DECIMALS),
    (set[int], st.frozensets(st.integers()).map(set)),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (Colour, st.sampled_from(Colour)),
    (Item, ITEMS),
    (Place, PLACES),
    (list[Item] | None, st.none() | st.lists(ITEMS, max_size=2)),
    (int | str, st.integers() | st.text()),
    (Any, JSON),
    (Literal["a", 7], st.sampled_from(["a", 7])),
]


def _travelled(args, kwargs):
    """The arguments as a message brings them."""
    formatter = ProxyFormatter(EmbeddedBroker())
    message = TaskiqMessage(task_id="1", task_name="t", labels={}, args=args, kwargs=kwargs)
    read = formatter.loads(formatter.dumps(message).message)
    return read.args, read.kwargs


def _through(arguments, *args, **kwargs):
    return arguments.decode(*_travelled(*arguments.encode(args, kwargs)))


@given(st.data())
def test_sent_arguments_are_decoded_to_equal_ones(data):
    """Decoded arguments equal the sent ones and have the annotated types."""
    kind, values = data.draw(st.sampled_from(KINDS))

    def function(one, other=None): ...

    function.__annotations__ = {"one": kind, "other": kind}
    arguments = read_arguments("t", function)
    one, other = data.draw(values), data.draw(values)
    args, kwargs = _through(arguments, one, other=other)
    assert ((one, other), {}) == (args, kwargs)
    assert [type(one), type(other)] == [type(value) for value in args]


@given(JSON)
def test_values_of_json_need_no_annotation(value):
    """Values of JSON arrive unchanged."""
    assert ((value,), {}) == _through(read_arguments("t", lambda one: None), value)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_infinity_and_nan(value):
    """Infinity and NaN arrive as numbers if annotated, else as text, and never as None."""

    def function(one: float, two): ...

    ((one, two), _) = _through(read_arguments("t", function), value, [value])
    assert str(value) == str(one)
    assert isinstance(two[0], str)


def test_sets_and_bytes_without_an_annotation():
    """Without an annotation sets arrive as lists, and bytes as text."""
    arguments = read_arguments("t", lambda *values: None)
    assert (([1], "text"), {}) == _through(arguments, {1}, b"text")


@pytest.mark.parametrize("value", [object(), b"\xff", {"key": [object()]}, print])
def test_a_value_that_json_cannot_express_is_not_sent(value):
    """The error names the parameter by position or name."""

    def function(one, *, two=None): ...

    arguments = read_arguments("report", function)
    with pytest.raises(TypeError, match=r"task 'report': argument 1 is a .*, which JSON can't express"):
        arguments.encode([value], {})
    with pytest.raises(
        TypeError, match=r"task 'report': two is a .* Send a value by which the task can find it, such as an id"
    ):
        arguments.encode([1], {"two": value})


def test_a_value_that_contains_itself_is_refused():
    """A value that contains itself raises an error rather than recursing for ever."""
    value = []
    value.append(value)
    with pytest.raises(TypeError, match="JSON can't express"):
        read_arguments("t", lambda one: None).encode([value], {})


def test_a_call_that_python_would_refuse():
    """Arguments that don't fit the signature are refused by sender and worker with the signature."""

    def function(one: int, /, two: int = 2, *, three: int): ...

    arguments = read_arguments("report", function)
    for args, kwargs in (([], {"three": 1}), ([1, 2, 3], {"three": 1}), ([1], {}), ([1], {"three": 1, "fuor": 4})):
        with pytest.raises(
            TypeError, match=r"task 'report': .*; it takes \(one: int, /, two: int = 2, \*, three: int\)"
        ):
            arguments.encode(args, kwargs)
        with pytest.raises(InvalidArgumentsError, match="it takes"):
            arguments.decode(args, kwargs)


def test_every_kind_of_parameter():
    """Positional-only, keyword-only and variadic parameters are converted to their annotations."""

    def function(one: int, /, two: UUID, *rest: Decimal, three: date, **more: Colour): ...

    some = UUID(int=5)
    arguments = read_arguments("t", function)
    made = _through(arguments, 1, some, Decimal("1.5"), Decimal(2), three=date(2026, 1, 2), one=Colour.RED)
    assert ((1, some, Decimal("1.5"), Decimal(2)), {"three": date(2026, 1, 2), "one": Colour.RED}) == made


def test_defaults_are_neither_sent_nor_checked():
    """A default isn't sent, so a wrong one isn't an error."""

    def function(one: int = "nothing of the kind", two: int = 2): ...  # type: ignore[assignment]

    arguments = read_arguments("t", function)
    assert ([], {}) == arguments.encode([], {})
    assert ((), {}) == arguments.decode([], {})
    assert ((), {"two": 5}) == arguments.decode([], {"two": "5"})


def test_provided_parameters_are_not_sent():
    """A parameter marked by its default or its annotation isn't sent."""

    def function(one: int, context: Context = TaskiqDepends(), *, other: Annotated[Context, TaskiqDepends()]): ...

    arguments = read_arguments("t", function)
    assert (["one"], ()) == (list(arguments.signature.parameters), arguments.problems)
    with pytest.raises(TypeError, match="it takes"):
        arguments.encode([1], {"context": 2})


def test_parameters_behind_a_provided_one_are_passed_by_keyword():
    """An argument isn't bound to a provided parameter before its own."""

    def behind(one: int, given: Context = TaskiqDepends(), two: int = 2, three: int = 3):
        return one, given, two, three

    def first(given: Annotated[Context, TaskiqDepends()], one: int, *, two: int):
        return given, one, two

    for kwargs, args in (({"two": 5}, [1]), ({}, [1, 5])):
        made, named = read_arguments("t", behind).decode(args, kwargs)
        assert (1, "given", 5, 3) == behind(*made, **named, given="given")
    made, named = read_arguments("t", first).decode([1], {"two": 2})
    assert ("given", 1, 2) == first(*made, **named, given="given")


def test_a_provided_parameter_must_accept_a_keyword():
    """A provided parameter that can't be passed by keyword is a problem of the declaration."""

    def slash(given: Annotated[Context, TaskiqDepends()], /): ...
    def star(given: Context = TaskiqDepends(), *rest: int): ...

    assert ["the parameter 'given' is provided by keyword, but stands before '/'"] == list(
        read_arguments("t", slash).problems
    )
    assert ["'*rest' stands behind 'given', which the worker provides; let 'given' stand behind '*rest'"] == list(
        read_arguments("t", star).problems
    )


def test_invalid_arguments_show_no_value():
    """The error, which is logged, shows no value, which may be a secret."""

    class Strict(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def refuse(cls, value):
            raise ValueError(f"{value} is no name")

    def function(
        one: int, two: datetime, three: Item, four: list[Strict], five: Literal["a"] = "a", six: Decimal = Decimal(1)
    ): ...

    arguments = read_arguments("t", function)
    wrong = [SECRET, SECRET, {"name": [SECRET]}, [{"name": SECRET}], SECRET, SECRET]
    with pytest.raises(InvalidArgumentsError) as caught:
        arguments.decode(wrong, {})
    text = str(caught.value)
    assert ["one: ", "two: ", "three.name: "] == [each for each in ("one: ", "two: ", "three.name: ") if each in text]
    assert text.endswith(" and 4 more")
    with pytest.raises(InvalidArgumentsError, match=r"^four\.0\.name: a validator refused it$") as refused:
        arguments.decode([1, "2026-01-01T00:00:00Z", {"name": "a", "price": 1}, [{"name": SECRET}]], {})
    for error in (caught.value, refused.value):
        assert error.__cause__ is None
        assert SECRET not in str(error)


@given(st.text(min_size=6, alphabet="abcdefxyz"))
def test_no_text_becomes_a_number(value):
    """A text isn't converted to a number, nor shown in the error."""

    def function(one: int): ...

    with pytest.raises(InvalidArgumentsError) as caught:
        read_arguments("t", function).decode([value], {})
    assert "one: Input should be a valid integer, unable to parse string as an integer" == str(caught.value)


def test_variadic_arguments_are_checked_one_by_one():
    """The error names the variadic parameter."""

    def function(*numbers: int, **more: int): ...

    with pytest.raises(InvalidArgumentsError, match=r"^numbers: Input"):
        read_arguments("t", function).decode([1, "x"], {})
    with pytest.raises(InvalidArgumentsError, match=r"^more: Input"):
        read_arguments("t", function).decode([], {"a": "x"})


def test_types_that_no_message_can_contain():
    """Such a type is a problem of the declaration, and the hint names TaskiqDepends()."""

    class Database: ...

    def function(database: Database, other: list[Database]): ...

    problems = read_arguments("t", function).problems
    assert 2 == len(problems)
    assert problems[0].startswith("the parameter 'database' is a Database, which no message can contain (")
    assert problems[0].endswith("a parameter that the worker provides has the default TaskiqDepends()")


def test_annotations_that_cannot_be_read():
    """Unreadable annotations are reported, and the arguments can be sent all the same."""

    def function(one: "Nowhere", two: int): ...  # type: ignore[name-defined]  # noqa: F821

    arguments = read_arguments("t", function)
    (problem,) = arguments.problems
    assert problem.startswith("the types of its parameters can't be read: name 'Nowhere' is not defined")
    assert (["a", 2], {}) == arguments.encode(["a", 2], {})


def test_callable_objects_and_wrapped_functions():
    """The parameters are those of ``__call__``, or of the wrapped function."""

    class Sender:
        def __call__(self, one: int): ...

    @functools.wraps(test_callable_objects_and_wrapped_functions)
    def plain(): ...

    def inner(one: int): ...

    @functools.wraps(inner)
    def outer(*args, **kwargs): ...

    for function in (Sender(), outer, Sender().__call__):
        assert ((7,), {}) == read_arguments("t", function).decode(["7"], {})
    assert ((), {}) == read_arguments("t", plain).decode([], {})


def test_the_built_in_functions():
    """Built-in functions have no annotations, so nothing is converted."""
    assert (([1, 2],), {}) == read_arguments("t", len).decode([[1, 2]], {})
    assert json.dumps([1]) == json.dumps(read_arguments("t", len).encode([{1}], {})[0][0])
