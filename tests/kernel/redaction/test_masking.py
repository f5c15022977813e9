"""Tests of bandmaster.kernel.redaction.masking."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bandmaster.kernel.redaction.masking import MASK, masked, masked_value
from bandmaster.kernel.redaction.names import SETTING_NAMES, SecretNames


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


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJraW0ifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.requirement("OBS-L2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Basic a2ltOmh1bnRlcjI= refused", f"Basic {MASK} refused"),
        (f"got {JWT}, expected none", f"got {MASK}, expected none"),
        (f"key {KEY} end", f"key -----BEGIN RSA PRIVATE KEY-----{MASK}-----END RSA PRIVATE KEY----- end"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", f"-----BEGIN PRIVATE KEY-----{MASK}"),
        ("used ghp_0123456789abcdefABCDEF", f"used {MASK}"),
        ("used bmk_live_0123456789abcdefABCDEF0123456789", f"used {MASK}"),
        ("AKIAIOSFODNN7EXAMPLE is old", f"{MASK} is old"),
        ("Authorization: Digest username='kim', response='abc'\nHost: x", f"Authorization: {MASK}\nHost: x"),
        ("Authorization: ApiKey abc def", f"Authorization: {MASK} def"),
        ("HTTP_AUTHORIZATION: Bearer abc", f"HTTP_AUTHORIZATION: {MASK}"),
        ("curl --password hunter2 --silent", f"curl --password {MASK} --silent"),
        ("['mysql', '--password', 'hunter2', '-v']", f"['mysql', '--password', '{MASK}', '-v']"),
        ("mysql --password=hunter2", f"mysql --password={MASK}"),
        ("api_key: hunter2x", f"api_key: {MASK}"),
        ("<wsse:Password>a b</wsse:Password>", f"<wsse:Password>{MASK}</wsse:Password>"),
        ("GET /cb?next=%2Fx%3Ftoken%3Dabc", f"GET /cb?next=%2Fx%3Ftoken%3D{MASK}"),
        ("GET /cb?code=abc&state=xyz", f"GET /cb?code={MASK}&state=xyz"),
        ("PUT /b?X-Amz-Signature=abc&x=1", f"PUT /b?X-Amz-Signature={MASK}&x=1"),
        ("password => 'a b',", f"password => '{MASK}',"),
        (r"{\\\"password\\\": \\\"a b\\\"}", rf"{{\\\"password\\\": \\\"{MASK}\\\"}}"),
        ('[["x-api-key", "a b"], 1]', f'[["x-api-key", "{MASK}"], 1]'),
        ("(type=x, input_value='hunter2', input_type=str)", f"(type=x, input_value='{MASK}', input_type=str)"),
        (
            "[{'type': 'short', 'loc': ('body', 'nick'), 'input': 'a b', 'ctx': 1}]",
            f"[{{'type': 'short', 'loc': ('body', 'nick'), 'input': '{MASK}', 'ctx': 1}}]",
        ),
        ("[SQL: SELECT %s]\n[parameters: ('a)b', {'c': 'd'})]\nmore", f"[SQL: SELECT %s]\n[parameters: {MASK}]\nmore"),
        ("DETAIL:  Failing row contains (1, a (b), c).\nX", f"DETAIL:  Failing row contains {MASK}\nX"),
        ("Key (token)=(a b) already exists", f"Key (token)={MASK} already exists"),
    ],
)
def test_secrets_in_the_text_of_others(text, expected):
    """Secrets are masked that other libraries, databases and programs write into their messages."""
    assert expected == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "Basic authentication required",
        "a bearer of news",
        "eyJ is how tokens begin",
        "GET /search?code=4711",
        "the columns 'password', 'email' are required",
        "x -> y, a > b, a => b",
        "token: expected text",
        "secret: required",
        "input: 'abc'",
        "--verbose --password",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "<p>passwords</p>",
        "at 12:30:00 in C:\\pass\\x",
    ],
)
def test_more_innocent_text(text):
    """Text that only looks like a secret isn't changed."""
    assert text == masked(text)


PIECES = [
    *"a:/@?='\"\\&, \n<>[](){}-_%.",
    *[
        "://",
        "token",
        "password=",
        "bearer ",
        "basic ",
        "--secret ",
        MASK,
        "[REDACTED]",
        "%3D",
        "eyJ",
        "eyJhbGciOiJI",
        "key",
    ],
    *[
        "input_value=",
        "[parameters: ",
        "Failing row contains (",
        "'loc': ",
        "'input': ",
        "cookie: ",
        "-----BEGIN PRIVATE KEY-----",
    ],
    *[
        "-----END PRIVATE KEY-----",
        "</",
        "<password>",
        "a2ltOmh1bnRlcjI=",
        "ghp_0123456789abcdefgh",
        "state=",
        "?code=",
        "x1y2z3",
    ],
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from([MASK, "[REDACTED]"]))
@settings(max_examples=1000)
def test_masking_any_text_twice_changes_nothing(text, marker):
    """Neither marker is taken for a secret, so that outlets may follow each other."""
    once = masked(text, marker=marker)
    assert once == masked(once, marker=marker)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@settings(max_examples=1000)
def test_no_hint_means_no_secret(text):
    """A text in which the search for hints finds nothing has nothing to mask."""
    always = SecretNames(SETTING_NAMES.is_secret, re.compile(""))
    assert masked(text, names=always) == masked(text)


@pytest.mark.requirement("OBS-L2")
@pytest.mark.parametrize(
    "piece", [*PIECES, "('token', '", "token:", "<token>", "token, ", "'token': [ ", "\\\\\\'token\\\\\\': ", "&sig="]
)
def test_masking_more_text_takes_linear_time(piece):
    """The time grows with the length of the text, whatever the text consists of."""
    text = piece * (400_000 // len(piece))
    began = time.process_time()
    masked(text)
    masked_value(text)
    assert time.process_time() - began < 5  # quadratic time is an hour
