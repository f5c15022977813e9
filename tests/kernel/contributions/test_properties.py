"""The property P-18 for contributions and for the kernel's settings."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernel.contributions.examples import Database, component, handler, layer, routes

from bandmaster.kernel import KernelSettings, ValueContribution

ANYTHING = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
NO_NAMES = st.one_of(st.none(), st.integers(), st.lists(st.one_of(st.none(), st.integers(), st.just("")), min_size=1))
NO_NAME = ANYTHING.filter(lambda name: not (isinstance(name, str) and name.isascii() and name.isidentifier()))
NO_SECONDS = st.one_of(
    st.text(), st.booleans(), st.floats(max_value=0), st.integers(max_value=0), st.sampled_from([math.inf, math.nan])
)
NO_PRIORITY = st.one_of(st.text(), st.floats(), st.booleans(), st.integers(max_value=-1), st.integers(min_value=500))
NO_CALLABLE = st.one_of(st.none(), st.integers(), st.text(max_size=5))


def make_value(**fields):
    return ValueContribution(**{"name": "region", "value": Database(), **fields})


WRONG = {
    component: {
        "name": NO_NAME,
        "factory": NO_CALLABLE,
        "band": ANYTHING.filter(lambda band: band is not None),
        "priority": NO_PRIORITY.filter(lambda priority: priority is not None),
        "provides": st.sampled_from([None, object, "Database", 5, [None], {"a"}]),
        "requires": NO_NAMES,
        "after": NO_NAMES,
        "before": NO_NAMES,
        "roles": NO_NAMES.filter(lambda roles: roles is not None) | st.just([]),
        "start_timeout": NO_SECONDS,
        "stop_timeout": NO_SECONDS,
        "budget": NO_CALLABLE | st.dictionaries(st.text(max_size=3), st.integers(max_value=-1), min_size=1),
        "on_crash": ANYTHING.filter(lambda policy: policy not in ("stop", "degrade")),
        "on_start_failure": ANYTHING.filter(lambda policy: policy not in ("stop", "retry", "degrade")),
    },
    make_value: {
        "name": NO_NAME,
        "provides": st.sampled_from([int, "Region", object, [str, None]]),
        "roles": st.just([]),
    },
    layer: {
        "name": NO_NAME,
        "layer": ANYTHING,
        "priority": NO_PRIORITY,
        "after": NO_NAMES,
        "before": NO_NAMES,
        "scopes": NO_NAMES | st.just([]) | st.just("lifespan"),
        "options": st.one_of(st.none(), st.integers(), st.dictionaries(st.integers(), st.integers(), min_size=1)),
    },
    routes: {
        "name": NO_NAME,
        "routes": NO_CALLABLE,
        "prefix": NO_CALLABLE.filter(lambda prefix: not prefix == "" and not str(prefix).startswith("/")),
        "tags": NO_NAMES,
    },
    handler: {
        "name": NO_NAME,
        "exception": st.integers(max_value=399) | st.integers(min_value=600) | st.sampled_from([None, int, "E"]),
        "handler": NO_CALLABLE,
    },
    KernelSettings: {
        "start_timeout": NO_SECONDS.filter(lambda value: not isinstance(value, bool | str)),
        "drain_timeout": st.floats(max_value=-0.01) | st.sampled_from([math.inf, math.nan]),
        "processes": st.integers(max_value=0),
        "plugins": st.text().filter(lambda value: value not in ("auto", "allowlist", "locked")),
        "websocket_close_code": st.integers().filter(lambda code: code not in (1001, 1012)),
    },
}


@pytest.mark.requirement("P-18")
@settings(max_examples=200)
@given(st.data())
def test_p18_wrong_arguments_are_refused_by_name(data):
    """A wrong argument raises a ValueError with a message that names the argument."""
    make = data.draw(st.sampled_from(list(WRONG)), label="make")
    field = data.draw(st.sampled_from(list(WRONG[make])), label="field")
    value = data.draw(WRONG[make][field], label="value")
    with pytest.raises(ValueError) as caught:
        make(**{field: value})
    assert field in str(caught.value)
