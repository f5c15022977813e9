"""Hosts that settings name."""

import pytest

from bandmaster.contrib.http.hosts import check_host_pattern, matches_host


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("orders.internal", "orders.internal", True),
        ("orders.internal", "ORDERS.internal.", True),
        ("Orders.Internal", "orders.internal", True),
        ("orders.internal", "eu.orders.internal", False),
        ("orders.internal", "badorders.internal", False),
        ("*.internal", "orders.internal", True),
        ("*.internal", "eu.orders.internal", True),
        ("*.internal", "internal", False),
        ("*.internal", "internal.evil.example", False),
        ("*.internal", "evilinternal", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("[::1]", "::1", True),
    ],
)
def test_a_pattern_names_hosts(pattern, host, expected) -> None:
    """A wildcard stands for one or several names in front of a domain, and never for a part of a name."""
    assert expected == matches_host(check_host_pattern(pattern), host)
