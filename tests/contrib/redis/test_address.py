"""URLs of Redis, parsed into addresses."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.redis import same_database
from bandmaster.contrib.redis.address import Address, parse_address

SECRET = "hunter2"

ADDRESSES = [
    ("redis://h", Address("redis", (("h", 6379),)), "h:6379, database 0"),
    ("REDIS://Cache.Example:7000/3", Address("redis", (("cache.example", 7000),), database=3), None),
    ("redis://h?db=4", Address("redis", (("h", 6379),), database=4), None),
    ("redis://h/", Address("redis", (("h", 6379),)), None),
    ("redis://[::1]:7/1", Address("redis", (("::1", 7),), database=1), "[::1]:7, database 1"),
    ("redis://:p%40ss@h", Address("redis", (("h", 6379),), password="p@ss"), None),
    ("rediss://me:pw@h", Address("rediss", (("h", 6379),), username="me", password="pw"), None),
    ("redis://:p@ss@h", Address("redis", (("h", 6379),), password="p@ss"), None),
    ("unix:///run/r.sock?db=2", Address("unix", path="/run/r.sock", database=2), "/run/r.sock, database 2"),
    ("unix://:pw@/r%20s", Address("unix", path="/r s", password="pw"), None),
    (
        "redis+sentinel://:pw@a:1,b/main/2",
        Address("redis+sentinel", (("a", 1), ("b", 26379)), service="main", database=2, password="pw"),
        "the master 'main' of the sentinels a:1, b:26379, database 2",
    ),
    ("rediss+sentinel://[::1],b/m", Address("rediss+sentinel", (("::1", 26379), ("b", 26379)), service="m"), None),
]


@pytest.mark.parametrize(("url", "expected", "text"), ADDRESSES)
def test_a_url_is_parsed(url, expected, text) -> None:
    """Every scheme is parsed, with default ports."""
    address = parse_address(url)
    assert expected == address
    assert text in (None, str(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is blank"),
        ("  ", "is blank"),
        ("localhost:6379", "isn't a URL"),
        ("://h", "isn't a URL"),
        ("http://h", "has the scheme 'http'"),
        ("redis:///0", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:65536", "1 to 65535"),
        ("redis://h:x", "1 to 65535"),
        ("redis://h:", "1 to 65535"),
        ("redis://-h", "a malformed host"),
        ("redis://a b", "a malformed host"),
        ("redis://[::zz]", "isn't a URL|isn't an IPv6 address"),
        ("redis://h/one", "the number of a database"),
        ("redis://h/0/1", "the number of a database"),
        ("redis://h/-1", "the number of a database"),
        ("redis://h/1?db=2", "twice"),
        ("redis://h?db=", "the number of a database"),
        ("redis://h?max_connections=5", "use settings for the others"),
        ("unix:///s?password=x", "before the '@'"),
        ("redis://:a#b@h", "%23"),
        ("redis://a,b", "only redis\\+sentinel"),
        ("unix://relative/s", "absolute path"),
        ("unix:///", "absolute path"),
        ("redis+sentinel://a", "names no master"),
        ("redis+sentinel://a/m/x", "the number of a database"),
        ("redis+sentinel://a,/m", "names no host"),
    ],
)
def test_a_malformed_url_is_refused(url, reason) -> None:
    """A malformed URL is refused with the reason, where redis-py would take a default."""
    with pytest.raises(ValueError, match=reason):
        parse_address(url)


@given(before=st.text(max_size=5), after=st.text(max_size=5), rest=st.sampled_from(["h/0", "h:x", "h?a=b", "", "h/a"]))
def test_no_text_shows_a_password(before, after, rest) -> None:
    """No error or representation shows a password, wherever it stands in the URL."""
    for password in (before + SECRET + after, quote(before + SECRET + after, safe="")):
        try:
            found = parse_address(f"redis://user:{password}@{rest}")
        except ValueError as error:
            found = error
        assert SECRET not in f"{found} {found!r}"


@given(user=st.text(min_size=1, max_size=9), password=st.text(min_size=1, max_size=9), database=st.integers(0, 99999))
def test_users_and_passwords_come_back(user, password, database) -> None:
    """Quoted users and passwords are unquoted to the originals."""
    address = parse_address(f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h/{database}")
    assert (user, password, database) == (address.username, address.password, address.database)


@pytest.mark.requirement("CF-13", "TQ-10")
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://h", "redis://H:6379/0", True),
        ("redis://h", "redis://h./0", True),
        ("redis://h", "redis://me:pw@h", True),
        ("redis://h", "rediss://h", True),
        ("redis://localhost", "redis://127.0.0.1", True),
        ("redis://localhost", "redis://[::1]", True),
        ("redis://127.0.0.7", "redis://0.0.0.0", True),
        ("redis://[2001:db8::1]", "redis://[2001:0db8:0::1]", True),
        ("redis://h/0", "redis://h/1", False),
        ("redis://h:6379", "redis://h:6380", False),
        ("redis://h", "redis://g", False),
        ("unix:///a/b.sock", "unix:///a/./c/../b.sock", True),
        ("unix:///a.sock", "unix:///a.sock?db=1", False),
        ("unix:///a.sock", "unix:///b.sock", False),
        ("unix:///a.sock", "redis://localhost", False),
        ("redis+sentinel://a,b,c/m", "redis+sentinel://c,d/m/0", True),
        ("redis+sentinel://a/m", "redis+sentinel://a/n", False),
        ("redis+sentinel://a/m", "redis+sentinel://b/m", False),
        ("redis+sentinel://a/m/1", "redis+sentinel://a/m", False),
        ("redis+sentinel://a:6379/m", "redis://a", False),
    ],
)
def test_one_database_under_two_urls(one, other, same) -> None:
    """Two URLs of one database are recognised, in either order."""
    assert same == same_database(one, other) == same_database(other, one)
