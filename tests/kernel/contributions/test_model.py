"""Tests of bandmaster.kernel.contributions.model: the laws that all contributions share."""

import dataclasses

import pytest
from starlette.routing import Route
from tests.kernel.contributions.examples import (
    SERVICES,
    Database,
    Starts,
    component,
    database,
    handler,
    layer,
    managed,
    refused,
    routes,
)

from bandmaster.kernel import (
    Provenance,
    lifespan,
    value,
)

ALL = [
    lambda: component(factory=managed, provides=(Database, "a"), budget={"postgres": 15}, roles={"web"}),
    lambda: component(factory=Starts, budget=dict),
    lambda: lifespan(band=SERVICES, provides=[Database])(database),
    lambda: value(Database, name="database", provides=(type, "a")),
    lambda: layer(options={"x": [1]}, scopes={"http"}),
    lambda: routes(routes=[Route("/", database)], tags=["a"]),
    handler,
]


@pytest.mark.parametrize("make", ALL)
def test_descriptions_are_frozen(make):
    """Nothing in them can be changed, not even inside."""
    made = make()
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)
    assert [] == [
        field.name for field in dataclasses.fields(made) if isinstance(getattr(made, field.name), dict | list)
    ]


def test_what_was_handed_over_may_change_later():
    """A description keeps what it was made of."""
    budget, options, given = {"postgres": 15}, {"x": 1}, [Route("/", database)]
    made = component(budget=budget), layer(options=options), routes(routes=given)
    for inner in (budget, options, given):
        inner.clear()
    assert ({"postgres": 15}, {"x": 1}, 1) == (made[0].budget, made[1].options, len(made[2].routes))


@pytest.mark.parametrize("make", ALL[:2] + ALL[3:5] + ALL[6:])
def test_equal_descriptions_are_equal(make):
    """And so they can stand in a set."""
    assert make() == make()
    assert 1 == len({make(), make()})
    assert make() != dataclasses.replace(make(), name="other")


@pytest.mark.parametrize("make", ALL)
def test_a_description_can_be_replaced(make):
    """Discovery gives each the name of its entry point and its provenance; everything else stays."""
    made = make()
    provenance = Provenance("acme-data", "1.2", "acme:data")
    found = dataclasses.replace(made, name="found", provenance=provenance)
    assert ("found", provenance) == (found.name, found.provenance)
    assert made == dataclasses.replace(found, name=made.name, provenance=made.provenance)
    assert hash(made) == hash(dataclasses.replace(made))


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("make", ALL)
def test_a_replaced_description_is_checked_again(make):
    """Discovery relies on it for names."""
    with pytest.raises(ValueError, match=r"^name: expected letters"):
        dataclasses.replace(make(), name="not a name")


@pytest.mark.parametrize("decorate", [lambda name: lifespan(band=SERVICES, name=name)(database)])
def test_an_empty_name_is_no_missing_name(decorate):
    """Only no name at all means the function's."""
    assert "database" == decorate(None).name
    refused("name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got ''", decorate, "")


def test_a_lambda_needs_a_name():
    """Its own can't be written anywhere."""
    refused(
        "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got '<lambda>'",
        lifespan(band=SERVICES),
        lambda: Starts(),
    )


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        (Provenance(), "in code"),
        (Provenance(entry_point="acme:data"), "in code, acme:data"),
        (Provenance("acme-data", "1.2"), "acme-data 1.2"),
        (Provenance("acme-data", "1.2", "acme:data"), "acme-data 1.2"),
        (Provenance("acme-data"), "acme-data (no version)"),
    ],
)
def test_who_brought_a_part(provenance, expected):
    """A distribution with its version, or the place in the code."""
    assert expected == str(provenance)
