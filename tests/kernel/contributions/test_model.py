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
def test_contributions_are_frozen(make):
    """No field can be assigned, and no field is a dict or a list."""
    made = make()
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)
    assert [] == [
        field.name for field in dataclasses.fields(made) if isinstance(getattr(made, field.name), dict | list)
    ]


def test_a_contribution_copies_its_arguments():
    """A change of the dicts and lists that were passed doesn't change the contribution."""
    budget, options, given = {"postgres": 15}, {"x": 1}, [Route("/", database)]
    made = component(budget=budget), layer(options=options), routes(routes=given)
    for inner in (budget, options, given):
        inner.clear()
    assert ({"postgres": 15}, {"x": 1}, 1) == (made[0].budget, made[1].options, len(made[2].routes))


@pytest.mark.parametrize("make", ALL[:2] + ALL[3:5] + ALL[6:])
def test_contributions_are_compared_by_value(make):
    """Contributions of equal fields are equal, also in a set."""
    assert make() == make()
    assert 1 == len({make(), make()})
    assert make() != dataclasses.replace(make(), name="other")


@pytest.mark.parametrize("make", ALL)
def test_fields_can_be_replaced(make):
    """Discovery replaces name and provenance, and every other field stays."""
    made = make()
    provenance = Provenance("acme-data", "1.2", "acme:data")
    found = dataclasses.replace(made, name="found", provenance=provenance)
    assert ("found", provenance) == (found.name, found.provenance)
    assert made == dataclasses.replace(found, name=made.name, provenance=made.provenance)
    assert hash(made) == hash(dataclasses.replace(made))


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("make", ALL)
def test_replaced_fields_are_checked(make):
    """A name that discovery replaces is checked like one that is given."""
    with pytest.raises(ValueError, match=r"^name: expected letters"):
        dataclasses.replace(make(), name="not a name")


@pytest.mark.parametrize("decorate", [lambda name: lifespan(band=SERVICES, name=name)(database)])
def test_an_empty_name_is_no_missing_name(decorate):
    """The function's name is used only if no name is given, not for an empty one."""
    assert "database" == decorate(None).name
    refused("name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got ''", decorate, "")


def test_a_lambda_needs_a_name():
    """A lambda's own name can't be written in a variable."""
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
def test_provenance_as_text(provenance, expected):
    """A part comes from a distribution with a version, or from a place in the code."""
    assert expected == str(provenance)
