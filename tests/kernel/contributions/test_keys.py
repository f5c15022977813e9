"""Tests of bandmaster.kernel.contributions.keys."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Protocol, TypeVar

import pytest

from bandmaster.kernel import Named
from bandmaster.kernel.contributions.keys import Key, is_pair, type_name

T = TypeVar("T")
UserId = NewType("UserId", str)


class User: ...


class Repository(Generic[T]): ...


class Reads(Protocol): ...


class Outer:
    class Inner: ...


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (User, Key(User)),
        (Annotated[User, Named("replica")], Key(User, "replica")),
        (Annotated[User, "a remark"], Key(User)),
        (Annotated[Annotated[User, Named("inner")], Named("outer")], Key(User, "outer")),
        (Repository[User], Key(Repository[User])),
        (Annotated[Repository[User], 1, Named("a"), 2], Key(Repository[User], "a")),
        ((User, "replica"), Key(User, "replica")),
        ((User, None), Key(User)),
        (Key(User, "replica"), Key(User, "replica")),
        (UserId, Key(UserId)),
    ],
)
def test_the_ways_to_write_a_key(annotation, expected):
    """A key is written as a type, an annotation with a name, a pair, or a key itself."""
    assert expected == Key.of(annotation)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("wrong", [(), (User,), (User, User), (User, "a", "b")])
def test_other_tuples_are_no_keys(wrong):
    """Only a pair of a type and a name is a key."""
    assert not is_pair(wrong)
    with pytest.raises(ValueError, match=r"^expected a type or a pair \(type, name\), got \("):
        Key.of(wrong)


def test_the_same_generic_is_the_same_key():
    """Two spellings of one parametrised type are the same key."""
    assert len({Key(Repository[User]), Key.of(Repository[User]), Key(Repository[int])}) == 2


def test_a_key_equals_its_pair():
    """A lookup by a plain pair needs no conversion."""
    assert 1 == {Key(User, "replica"): 1}[User, "replica"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [(Key(User), "User"), (Key(User, "replica"), "User named 'replica'"), (Key(Repository[User]), "Repository[User]")],
)
def test_a_key_as_text(key, expected):
    """A key is shown as type and name."""
    assert expected == str(key)


def test_the_module_of_a_key():
    """The module is where the type is defined, or empty if the type has none."""
    nowhere = type("Nowhere", (), {"__module__": None})
    assert (__name__, "") == (Key(User).module, Key(nowhere).module)
    assert "" == Key(5).module


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("name", ["", "9a", "-a", "a b", "a\n", "ä", 5, None, True])
def test_names_are_plain(name):
    """A name with other characters is refused, with the characters that are allowed."""
    expected = f"name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got {name!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Named(name)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (User, "User"),
        (Outer.Inner, "Outer.Inner"),
        (Repository[User], "Repository[User]"),
        (dict[str, list[User]], "dict[str, list[User]]"),
        (User | None, "User | None"),
        (Optional[User], "User | None"),  # noqa: UP045
        (None, "None"),
        (type(None), "None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Callable[[User], int], "Callable[[User], int]"),
        (Callable[..., User], "Callable[..., User]"),
        (tuple[User, ...], "tuple[User, ...]"),
        (Annotated[User, 1], "User"),
        (UserId, "UserId"),
        (Reads, "Reads"),
        (T, "T"),
        (Any, "Any"),
        (Ellipsis, "..."),
        (5, "5"),
    ],
)
def test_types_are_written_without_their_modules(kind, expected):
    """A type is shown as code writes it."""
    assert expected == type_name(kind)


def test_a_local_type_is_written_without_its_function():
    """A type's name is shown without the function that defines the type."""

    class Local: ...

    assert "Local" == type_name(Local)
