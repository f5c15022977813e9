"""Fixtures of the providers. Without Node or npm's packages a test is skipped, or fails where services are required."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.contrib.oidc.providers import certified, hostile
from tests.contrib.oidc.providers.certified import OidcProvider
from tests.contrib.oidc.providers.hostile import HostileProvider
from tests.contrib.oidc.providers.npm import OAUTH2_MOCK_SERVER, OIDC_PROVIDER
from tests.contrib.oidc.providers.process import ProviderProcess, run_provider
from tests.contrib.redis.certificates import Certificate, certificate

from bandmaster.kernel.testing import ServerUnavailable, skip_or_fail


@contextmanager
def _run_or_skip(
    program: str, package: str, folder: Path, certificate: Certificate | None = None, *, shared: bool = True
) -> Iterator[ProviderProcess]:
    with ExitStack() as stack:
        try:
            process = stack.enter_context(run_provider(program, package, folder, certificate, shared=shared))
        except ServerUnavailable as error:
            skip_or_fail(error)
        yield process


@pytest.fixture(scope="session")
def oidc_provider_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """The process of the certified provider, over plain HTTP."""
    with _run_or_skip(certified.PROGRAM, OIDC_PROVIDER, tmp_path_factory.mktemp("oidc-provider")) as process:
        yield process


@pytest.fixture(scope="session")
def oidc_provider_https_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """The process of the certified provider, over HTTPS."""
    folder = tmp_path_factory.mktemp("oidc-provider-https")
    try:
        made = certificate(folder, "provider")
    except ServerUnavailable as error:
        skip_or_fail(error)
    with _run_or_skip(certified.PROGRAM, OIDC_PROVIDER, folder, made) as process:
        yield process


@pytest.fixture(scope="session")
def hostile_provider_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """The process of the hostile provider."""
    with _run_or_skip(hostile.PROGRAM, OAUTH2_MOCK_SERVER, tmp_path_factory.mktemp("hostile-provider")) as process:
        yield process


@pytest.fixture
def oidc_provider(oidc_provider_process: ProviderProcess) -> OidcProvider:
    """The certified provider, emptied. Tests can't stop this one."""
    return OidcProvider(oidc_provider_process).reset()


@pytest.fixture
def oidc_provider_https(oidc_provider_https_process: ProviderProcess) -> OidcProvider:
    """The certified provider over HTTPS, emptied. ``provider.tls`` trusts its certificate."""
    return OidcProvider(oidc_provider_https_process).reset()


@pytest.fixture
def own_oidc_provider(tmp_path: Path) -> Iterator[OidcProvider]:
    """A certified provider that the test may stop and start."""
    with _run_or_skip(certified.PROGRAM, OIDC_PROVIDER, tmp_path, shared=False) as process:
        yield OidcProvider(process)


@pytest.fixture
def hostile_provider(hostile_provider_process: ProviderProcess) -> HostileProvider:
    """The hostile provider, which lies on command. Tests can't stop this one."""
    return HostileProvider(hostile_provider_process).reset()
