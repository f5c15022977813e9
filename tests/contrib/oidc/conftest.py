"""Providers and logs for the tests of authentication, and a search for secrets in all that these tests print."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest
from tests.contrib.oidc.providers.fixtures import hostile_provider as hostile_provider
from tests.contrib.oidc.providers.fixtures import hostile_provider_process as hostile_provider_process
from tests.contrib.oidc.providers.fixtures import oidc_provider as oidc_provider
from tests.contrib.oidc.providers.fixtures import oidc_provider_https as oidc_provider_https
from tests.contrib.oidc.providers.fixtures import oidc_provider_https_process as oidc_provider_https_process
from tests.contrib.oidc.providers.fixtures import oidc_provider_process as oidc_provider_process
from tests.contrib.oidc.providers.fixtures import own_oidc_provider as own_oidc_provider
from tests.contrib.oidc.secret_search import SECRETS, find_shown, recording_secrets
from tests.logged import capture_logs


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """The events that are logged during the test."""
    with capture_logs() as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remember the secrets that a test uses."""
    with recording_secrets() as secrets:
        item.stash[SECRETS] = secrets
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has printed or logged a secret."""
    report = yield
    # The last report has what was printed in all phases.
    texts = [text for _, text in report.sections] if report.when == "teardown" else []
    if report.passed and (shown := find_shown(item.stash[SECRETS], texts)):
        report.outcome = "failed"
        report.longrepr = f"the test printed or logged the secrets {', '.join(shown)}"
    return report
