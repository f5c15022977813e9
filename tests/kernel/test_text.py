"""Tests of bandmaster.kernel.text."""

import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bandmaster.kernel.redaction.masking import MASK, masked, masked_value
from bandmaster.kernel.redaction.names import is_secret_name
from bandmaster.kernel.text import find_nearest, list_names, render_duration, suggest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("brokr", ["broker", "database"], "broker"),
        ("Broker", ["broker"], "broker"),
        ("databasemanager", ["DatabaseManager"], "DatabaseManager"),
        ("brokr", [], None),
        ("brokr", ["unlike"], None),
    ],
)
def test_the_nearest_name(name, known, expected):
    """A typing error, or a wrong case, is recognised."""
    assert expected == find_nearest(name, known)
    assert ("" if expected is None else f" Did you mean {expected!r}?") == suggest(name, known)


def test_a_stricter_cutoff():
    """With a higher cutoff, only a closer name is suggested."""
    assert " Did you mean 'caches'?" == suggest("cahe", ["caches"])
    assert "" == suggest("cahe", ["caches"], cutoff=0.85)


@given(st.text(max_size=8), st.sets(st.text(max_size=8)), st.randoms())
def test_the_nearest_name_depends_on_the_names_alone(name, known, random):
    """The order of the known names changes nothing."""
    shuffled = sorted(known)
    random.shuffle(shuffled)
    assert find_nearest(name, sorted(known)) == find_nearest(name, shuffled)


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], "nothing"), (["a"], "'a'"), (["a", "b"], "'a' and 'b'"), (iter("abc"), "'a', 'b' and 'c'")],
)
def test_names_as_prose(names, expected):
    """Names are joined by commas, and the last by 'and'."""
    assert expected == list_names(names)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "<1 ms"),
        (0.0004, "<1 ms"),
        (0.0005, "<1 ms"),
        (0.0006, "1 ms"),
        (0.012, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (3.42, "3.4 s"),
        (90.0, "90 s"),
        (math.inf, "inf s"),
    ],
)
def test_durations_with_their_units(seconds, expected):
    """Durations are in milliseconds below a second, and have at most one decimal above."""
    assert expected == render_duration(seconds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("password", True),
        ("DB_PASSWORD", True),
        ("dbPassword", True),
        ("api_keys", True),
        ("X-Api-Key", True),
        ("aws_secret_access_key", True),
        ("token_value", True),
        ("credentials", True),
        ("accessTokenValue", True),
        ("tokenizer", False),
        ("secretary", False),
        ("max_tokens", False),
        ("tokens_per_minute", False),
        ("password_min_length", False),
        ("token_url", False),
        ("token_auth_method", False),
        ("key", False),
        ("", False),
    ],
)
def test_names_of_secrets(name, expected):
    """A secret is recognised by any word of the name, unless the name only describes a secret."""
    assert expected == is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://bob:hunter2@db:5432/x", f"postgresql://bob:{MASK}@db:5432/x"),
        ("redis://:hunter2@cache and redis://cache", f"redis://:{MASK}@cache and redis://cache"),
        ("amqp://bob:hun/ter@2@mq/", f"amqp://bob:{MASK}@mq/"),
        ("a://b:c://d@e", f"a://b:{MASK}@e"),
        ("https://token@host/x", f"https://{MASK}@host/x"),
        ("https://token@host:80/x@y", f"https://{MASK}@y"),
        ("x://me@corp.com:hunter2@db", f"x://{MASK}@db"),
        ("a://b:c@d 'e://f:g@h',(i://j:k@l)", f"a://b:{MASK}@d 'e://f:{MASK}@h',(i://j:{MASK}@l)"),
        ("a://h/x,b://c:d@e", f"a://h/x,b://c:{MASK}@e"),
        ("a://b@/c,d://e@/f", f"a://{MASK}@/c,d://{MASK}@/f"),
        ("a://b:it's@d", f"a://b:{MASK}@d"),
    ],
)
def test_passwords_of_urls(text, expected):
    """The password of a URL is masked; user and host stay."""
    assert expected == masked(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /x?access_token=abc&y=1#z", f"GET /x?access_token={MASK}&y=1#z"),
        ("host=db password=a&b,c user=shop", f"host=db password={MASK} user=shop"),
        ("{'password': 'a b', \"api_key\": \"it's\"}", f"{{'password': '{MASK}', \"api_key\": \"{MASK}\"}}"),
        ("connect(token='a\\'b', secret=b\"c\")", f"connect(token='{MASK}', secret=b\"{MASK}\")"),
        ("password = hunter2", f"password = {MASK}"),
        ("if token == 'abc':", f"if token == '{MASK}':"),
        ("user[password]=abc", f"user[password]={MASK}"),
        ("password='cut off", f"password='{MASK}"),
        ("X-Api-Key: abc", f"X-Api-Key: {MASK}"),
        ("Authorization: Bearer abc", f"Authorization: {MASK}"),
        ("Authorization: Basic YWJj, next", f"Authorization: {MASK} next"),
        ("{'authorization': 'Bearer abc'}", f"{{'authorization': '{MASK}'}}"),
        ("(b'authorization', b'Bearer 0123456789abcdef==')", f"(b'authorization', b'{MASK}')"),
        ('{"message": "password=abc"}', f'{{"message": "password={MASK}"}}'),
        (r'"{\"password\": \"a b\"}"', rf'"{{\"password\": \"{MASK}\"}}"'),
        ("GET /x?password=it's&y=1", f"GET /x?password={MASK}&y=1"),
        ('{"tokens": ["a", "b]"], "x": 1}', f'{{"tokens": {MASK}, "x": 1}}'),
        ("{'api_keys': {'a': [1, 'b c']}, 'x': 1}", f"{{'api_keys': {MASK}, 'x': 1}}"),
        ("Shop(tokens=['a b', 'c'], x=1)", f"Shop(tokens={MASK}, x=1)"),
        ("{'tokens': ['a', 'cut off", f"{{'tokens': {MASK}"),
        ("password=(abc user=shop", f"password={MASK} user=shop"),
    ],
)
def test_values_of_secrets(text, expected):
    """The value after the name of a secret is masked, in queries, code, JSON and headers."""
    assert expected == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "see http://host/path and mail a@b.c",
        "http://host/path?mail=a@b.c",
        "https://github.com/@user",
        "https://cdn/npm/vue@3/dist",
        "http://localhost:8000/path",
        '{"url":"http://host:80/path","mail":"a@b.c"}',
        "token: expected text",
        "password is wrong (Vault): too short.",
        "Bearer token is missing",
        "max_tokens=5 tokenizer=x password=",
        "no secret://here",
    ],
)
def test_innocent_text(text):
    """Text without a secret isn't changed."""
    assert text == masked(text)


@given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="'\""), min_size=1).filter(
        lambda text: len(text.split()) == 1 and text == text.strip()
    )
)
@example("p/w")
@example("a@b")
@example("x://y:z@")
@example("token=a&b")
def test_no_password_survives_in_a_url(password):
    """A password may hold any character except for whitespace and quotes, although a URL should escape some."""
    expected = f"lost scheme://user:{MASK}@host/db?ssl=1 twice"
    assert expected == masked(f"lost scheme://user:{password}@host/db?ssl=1 twice")


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
@example("correct horse")
@example("a', b")
@example("a\nb")
def test_no_password_survives_in_a_value_that_is_a_url(password):
    """A setting that is a URL has one password, which may hold blanks and quotes as well."""
    assert f"scheme://user:{MASK}@host/db" == masked_value(f"scheme://user:{password}@host/db")


@pytest.mark.parametrize("text", ["http://localhost:8000/path", "see http://host:80/path and mail a@b.c", "a b", ""])
def test_an_innocent_value(text):
    """A value without a password isn't changed, nor a text in which a URL stands."""
    assert text == masked_value(text)


@given(st.lists(st.sampled_from([*"a:/@?='\"\\&, \n", "://", "token", "password=", "bearer ", MASK])).map("".join))
def test_masking_twice_changes_nothing(text):
    """The mask itself isn't taken for a secret, so that outlets may follow each other."""
    assert masked(text) == masked(masked(text))


@pytest.mark.parametrize(
    "piece", ["://", "://a@", "://:", "a://b:@", "password=", "token='", "bearer ", "\"='\\", "token ", "'token': ['"]
)
def test_masking_takes_linear_time(piece):
    """The time grows with the length of the text, whatever the text consists of."""
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 5  # quadratic time is hours
