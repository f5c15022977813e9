"""The security scheme in a FastAPI host's OpenAPI document."""

import pytest
from fastapi import FastAPI, Security
from tests.contrib.oidc.api_keys.conftest import PEPPER

from bandmaster.contrib.oidc import ApiKeys, ApiKeySettings, api_key_scheme
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.layer import ApiKeyAuth
from bandmaster.contrib.oidc.principal import current_principal
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


async def test_the_document_names_the_header_and_the_route_takes_a_key() -> None:
    """The docs page asks for a key by the header of the setting; the dependency refuses nothing by itself."""
    host = FastAPI()

    @host.get("/who", dependencies=[Security(api_key_scheme("Api-Token"))])
    async def who() -> str | None:
        principal = current_principal()
        return None if principal is None else principal.subject

    @host.get("/open")
    async def open_() -> None: ...

    overrides = {ApiKeySettings: ApiKeySettings(peppers={"2026": PEPPER}, header="Api-Token")}
    async with run(host, contributions=[api_key_memory_store, api_keys, ApiKeyAuth], overrides=overrides) as running:
        document = (await running.client.get("/openapi.json")).json()
        scheme = document["components"]["securitySchemes"]["ApiKey"]
        assert ("apiKey", "header", "Api-Token") == (scheme["type"], scheme["in"], scheme["name"])
        assert [{"ApiKey": []}] == document["paths"]["/who"]["get"]["security"]
        assert "security" not in document["paths"]["/open"]["get"]
        made = await running.resources[ApiKeys].create("acme")
        answer = await running.client.get("/who", headers={"api-token": made.key.get_secret_value()})
        assert "acme" == answer.json()
        assert (await running.client.get("/who")).json() is None
