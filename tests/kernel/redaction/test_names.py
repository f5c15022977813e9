"""Tests of bandmaster.kernel.redaction.names."""

import pytest

from bandmaster.kernel.redaction.names import is_secret_key, is_secret_name, split_words


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
    "key",
    [
        *["cookie", "Set-Cookie", "session_id", "sessionKey", "jwt", "otp", "cvv", "card_number", "creditCard", "ssn"],
        *["iban", "auth", "basic_auth", "pin", "csrf", "code_verifier", "SAMLResponse", "HTTPCookie", "smtp_pass"],
        *["password_hash", "JSESSIONID", "db.connection-string"],
    ],
)
def test_secret_keys_of_data(key):
    """A key of data is a secret for more words than the name of a setting is."""
    assert is_secret_key(key)


@pytest.mark.parametrize("name", ["session_cookie", "auth", "pin", "connection_string"])
def test_names_of_settings_that_hold_no_secret(name):
    """A setting may be the name of a cookie."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dbPassword", "db_password"),
        ("DB-PASSWORD", "db_password"),
        ("IBANNumber", "iban_number"),
        ("x.y z", "x_y_z"),
        ("__private__", "private"),
        ("größeÄnderung", "größeänderung"),
        ("", ""),
        ("--", ""),
    ],
)
def test_the_words_of_a_name(name, expected):
    """Words end at capitals and at signs; the first word of letters and the next are separated in ASCII names."""
    assert expected == split_words(name)
