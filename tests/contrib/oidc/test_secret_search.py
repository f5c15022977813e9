"""The search for secrets in all that the tests of authentication print."""

from pydantic import SecretStr
from tests.contrib.oidc.secret_search import SECRETS, find_shown, recording_secrets


def test_a_secret_that_is_shown_is_found():
    """A secret counts once its value is read; others, and short ones, aren't known."""
    with recording_secrets() as secrets:
        value = SecretStr("correct-horse-battery").get_secret_value()
        SecretStr("short").get_secret_value()
        SecretStr("never-read-by-anybody")
    assert {"correct-horse-battery"} == secrets
    assert ["corr..."] == find_shown(secrets, ["a line", f"the password is {value}"])
    assert [] == find_shown(secrets, ["a line", "never-read-by-anybody, short"])


def test_a_test_that_shows_a_secret_fails(request):
    """The conftest of these tests looks at each test's own secrets."""
    SecretStr("battery-horse-correct").get_secret_value()
    assert ["batt..."] == find_shown(request.node.stash[SECRETS], ["battery-horse-correct"])
