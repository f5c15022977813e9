"""Tests of bandmaster.kernel.lifecycle.resources."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Generic, TypeVar

import pytest

from bandmaster.kernel import Kernel, LifespanBand, Named, Resources, Scoped, lifespan
from bandmaster.kernel.contributions.keys import Key

T = TypeVar("T")


class Database:
    def __repr__(self):
        return "Database(password='hunter2')"


class Cache: ...


class Repository(Generic[T]): ...


main, replica, cache = Database(), Database(), Cache()
repository = Repository[Cache]()


@pytest.fixture
def resources():
    return Resources(
        {
            Key(Database): main,
            Key(Database, "replica"): replica,
            Key(Cache): cache,
            Key(Repository[Cache]): repository,
        }
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Database, main),
        ((Database, "replica"), replica),
        ((Database, None), main),
        (Key(Database, "replica"), replica),
        (Annotated[Database, Named("replica")], replica),
        (Annotated[Database, "a remark"], main),
        (Repository[Cache], repository),
    ],
)
def test_found_by_type(resources, key, expected):
    """``[]``, ``get`` and ``in`` agree on every form of a key."""
    assert resources[key] is expected
    assert resources.get(key) is expected
    assert key in resources


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Repository, "no component provides Repository. Did you mean 'Repository[Cache]'?"),
        (
            (Database, "replika"),
            "no component provides Database named 'replika'. Did you mean 'Database named 'replica''?",
        ),
        (Repository[Database], "no component provides Repository[Database]. Did you mean 'Repository[Cache]'?"),
        (Annotated[Cache, Named("x")], "no component provides Cache named 'x'."),
        (int, "no component provides int."),
    ],
)
def test_a_missing_resource(resources, key, expected):
    """The error lists the keys that exist, and the nearest."""
    there = "There is: Cache, Database, Database named 'replica', Repository[Cache]"
    with pytest.raises(KeyError) as caught:
        resources[key]
    assert f"{expected} {there}".replace('"', "'") == caught.value.args[0].replace('"', "'")
    assert caught.value.__suppress_context__
    assert resources.get(key) is None
    assert resources.get(key, "else") == "else"
    assert key not in resources


def test_no_resources():
    """Without any resource the error says so."""
    with pytest.raises(KeyError, match=re.escape("no component provides Cache. There is: nothing")):
        Resources()[Cache]


@pytest.mark.requirement("P-18")
def test_an_invalid_key(resources):
    """A tuple of types is refused as a key."""
    with pytest.raises(ValueError, match="expected a type or a pair"):
        resources[Database, Cache, Cache]


def test_keys_are_counted_and_listed(resources):
    """Length and iteration are those of a mapping of keys."""
    assert 4 == len(resources)
    assert [Key(Database), Key(Database, "replica"), Key(Cache), Key(Repository[Cache])] == list(resources)


def test_values_are_not_shown(resources):
    """The repr has no values, which may hold secrets."""
    assert "<Resources: Database, Database named 'replica', Cache, Repository[Cache]>" == repr(resources)
    assert "<Resources: none>" == repr(Resources())


def test_a_resource_may_be_none():
    """An override may be None, which is found as such."""
    assert Resources({Key(Cache): None})[Cache] is None
    assert Cache in Resources({Key(Cache): None})


@pytest.mark.anyio
@pytest.mark.requirement("FA-4")
async def test_scoped_resources():
    """A scoped resource is opened anew for each request; an override replaces it as any other resource."""
    opened = []

    def opening(name):
        @asynccontextmanager
        async def one_more():
            opened.append(f"+{name}")
            yield Cache()
            opened.append(f"-{name}")

        return Scoped(one_more)

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def caches() -> AsyncIterator[Scoped[Cache]]:
        yield opening("real")

    for overrides, name in (({}, "real"), ({Scoped[Cache]: opening("fake")}, "fake")):
        async with (
            Kernel(contributions=[caches], discover=False, overrides=overrides).running() as resources,
            resources[Scoped[Cache]].open() as one,
            resources[Scoped[Cache]].open() as other,
        ):
            assert one is not other
        assert [f"+{name}", f"+{name}", f"-{name}", f"-{name}"] == opened
        opened.clear()


def test_collections(resources):
    """Every value of a type in order, and by name; those without a name are named by their type."""
    assert (main, replica) == resources[Sequence[Database]]
    assert (
        {"Database": main, "replica": replica}
        == resources[Mapping[str, Database]]
        == resources.get(Mapping[str, Database])
    )
    assert () == resources[Sequence[int]] == resources.get(Sequence[int], "else")
    assert (True, False) == (Sequence[Database] in resources, Sequence[int] in resources)
    for key in ((Sequence[Database], "x"), Annotated[Mapping[str, Database], Named("x")]):
        with pytest.raises(KeyError, match="no component provides"):
            resources[key]
        assert (None, False) == (resources.get(key), key in resources)


def test_several_of_a_type():
    """One of several isn't chosen by chance; with a default neither."""
    several = Resources(members={Cache: [("a", cache), ("b", cache)]}, several={Key(Cache): ("a", "b")})
    for ask in (lambda: several[Cache], lambda: several.get(Cache, None)):
        with pytest.raises(KeyError, match="'a' and 'b' provide Cache each; ask for one by its name, or for all"):
            ask()
    assert (cache, cache) == several[Sequence[Cache]]
