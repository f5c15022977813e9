"""Providers for the tests of authentication."""

from tests.contrib.oidc.providers.fixtures import hostile_provider as hostile_provider
from tests.contrib.oidc.providers.fixtures import hostile_provider_process as hostile_provider_process
from tests.contrib.oidc.providers.fixtures import oidc_provider as oidc_provider
from tests.contrib.oidc.providers.fixtures import oidc_provider_https as oidc_provider_https
from tests.contrib.oidc.providers.fixtures import oidc_provider_https_process as oidc_provider_https_process
from tests.contrib.oidc.providers.fixtures import oidc_provider_process as oidc_provider_process
from tests.contrib.oidc.providers.fixtures import own_oidc_provider as own_oidc_provider
