"""The layer: places of a key, refusals, and requests that pass unchanged."""

from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from tests.contrib.oidc.api_keys.conftest import PEPPER

from bandmaster.contrib.oidc import ApiKeyAuth, ApiKeys, ApiKeySettings, ApiKeyStore, MemoryApiKeyStore
from bandmaster.contrib.oidc.api_keys.component import api_key_memory_store, api_keys
from bandmaster.contrib.oidc.api_keys.key_text import add_checksum, generate_key
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.principal import current_principal, get_principal
from bandmaster.kernel.testing import WebSocketRefused, run

pytestmark = pytest.mark.anyio


async def show(request):
    principal = get_principal(request.scope)
    assert principal == current_principal()
    found = None if principal is None else [principal.subject, principal.kind, sorted(principal.scopes)]
    return JSONResponse(found)


async def talk(websocket):
    await websocket.accept()
    principal = get_principal(websocket.scope)
    await websocket.send_json(None if principal is None else principal.subject)
    await websocket.close()


@asynccontextmanager
async def serving(store=None, **settings):
    host = Starlette(routes=[Route("/", show, methods=["GET", "POST"]), WebSocketRoute("/ws", talk)])
    chosen = ApiKeySettings(peppers={"2026": PEPPER}, **settings)
    overrides = {ApiKeySettings: chosen}
    parts = [api_key_memory_store, api_keys, ApiKeyAuth]
    if store is not None:
        overrides[ApiKeyStore] = store
        parts.remove(api_key_memory_store)
    async with run(host, contributions=parts, overrides=overrides) as running:
        yield running, running.resources[ApiKeys]


async def make_key(keys, **options):
    return (await keys.create("acme", scopes=["read"], **options)).key.get_secret_value()


async def test_a_request_without_a_key_passes() -> None:
    """A request without a key is served: routes say whether they need a credential."""
    async with serving() as (running, _):
        answer = await running.client.get("/")
        assert (200, None) == (answer.status_code, answer.json())
        for value in ("Basic YTpi", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "bmk_live_", "Token x", ""):
            answer = await running.client.get("/", headers={"authorization": value})
            assert (200, None) == (answer.status_code, answer.json()), value


@pytest.mark.parametrize(
    "make_headers",
    [
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: {"authorization": f"bearer   {key} "},
        lambda key: {"X-API-Key": key},
        lambda key: {"x-api-key": f" {key} "},
        lambda key: {"X-API-Key": key, "Authorization": "Basic YTpi"},
    ],
)
async def test_a_key_sets_the_principal(make_headers) -> None:
    """In both places, whatever the case of scheme and header. Basic credentials of a gateway don't matter."""
    async with serving() as (running, keys):
        answer = await running.client.get("/", headers=make_headers(await make_key(keys)))
        assert (200, ["acme", "api_key", ["read"]]) == (answer.status_code, answer.json())


@pytest.mark.requirement("AU-13")
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_a_key_that_does_not_hold_is_refused(header) -> None:
    """401 with WWW-Authenticate for junk, an unknown, a forged, a revoked and a foreign key, with one constant text."""
    async with serving() as (running, keys):
        key = await make_key(keys)
        revoked = await keys.create("acme")
        await keys.revoke(revoked.record.id)
        bad = [
            "bmk_live_",
            "bmk_live_" + "0" * 62,
            key[:-1],
            key.replace("live", "test"),
            generate_key("bmk_test_"),
            generate_key("bmk_live_"),
            add_checksum(key[:22] + "0" * 43),
            revoked.key.get_secret_value(),
        ]
        answers = set()
        for each in bad:
            value = f"Bearer {each}" if header == "authorization" else each
            answer = await running.client.get("/", headers={header: value})
            assert 401 == answer.status_code, each
            assert answer.headers["www-authenticate"].startswith("Bearer")
            answers.add(answer.text)
            assert each not in answer.text + str(answer.headers)
        assert 1 == len(answers)
        if header == "x-api-key":
            for each in (b"", "é".encode(), b"\xff", b"anything", f"{key}, {key}".encode()):
                answer = await running.client.get("/", headers={header: each})
                assert 401 == answer.status_code


@pytest.mark.parametrize(
    "make_headers",
    [
        lambda key: [("Authorization", f"Bearer {key}"), ("X-API-Key", key)],
        lambda key: [("X-API-Key", key), ("Authorization", f"Bearer {key}")],
        lambda key: [("Authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln"), ("X-API-Key", key)],
        lambda key: [("X-API-Key", key), ("X-API-Key", key)],
        lambda key: [("X-API-Key", ""), ("X-API-Key", key)],
        lambda key: [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")],
        lambda key: [("Authorization", "Basic YTpi"), ("Authorization", f"Bearer {key}")],
        lambda key: [("Authorization", f"Bearer {key}"), ("Authorization", "Bearer x.y.z")],
        lambda key: [("Authorization", "Bearer x.y.z"), ("Authorization", f"Bearer {key}")],
    ],
)
async def test_credentials_in_two_places_are_refused(make_headers) -> None:
    """Which of two credentials counts is nobody's guess: 400 (RFC 6750, section 2)."""
    async with serving() as (running, keys):
        answer = await running.client.get("/", headers=make_headers(await make_key(keys)))
        assert 400 == answer.status_code


class AwayStore(MemoryApiKeyStore):
    is_away = False
    lookups = 0

    async def get(self, key_id):
        self.lookups += 1
        if self.is_away:
            raise AuthUnavailableError("away")
        return await super().get(key_id)


@pytest.mark.requirement("CA-43")
async def test_a_store_that_is_away_gives_503() -> None:
    """Never 401, since the key may be good; requests without a key are served."""
    store = AwayStore()
    async with serving(store) as (running, keys):
        key = await make_key(keys)
        store.is_away = True
        assert 503 == (await running.client.get("/", headers={"x-api-key": key})).status_code
        assert 200 == (await running.client.get("/")).status_code
        store.is_away = False
        assert 200 == (await running.client.get("/", headers={"x-api-key": key})).status_code


async def test_junk_costs_no_lookup() -> None:
    """The checksum refuses before the store is asked."""
    store = AwayStore()
    async with serving(store) as (running, keys):
        key = await make_key(keys)
        for bad in (key[:-1] + ("0" if key[-1] != "0" else "1"), "bmk_live_x", "junk"):
            assert 401 == (await running.client.get("/", headers={"x-api-key": bad})).status_code
        assert 0 == store.lookups
        assert 200 == (await running.client.get("/", headers={"x-api-key": key})).status_code
        assert 1 == store.lookups


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_websockets_take_keys_as_well(header) -> None:
    """A good key sets the principal of the connection, and a bad one refuses the handshake."""
    async with serving() as (running, keys):
        key = await make_key(keys)

        def headers(text):
            return {header: f"Bearer {text}" if header == "authorization" else text}

        async with running.websocket("/ws", headers=headers(key)) as socket:
            assert "acme" == await socket.receive_json()
        async with running.websocket("/ws") as socket:
            assert await socket.receive_json() is None
        with pytest.raises(WebSocketRefused):
            async with running.websocket("/ws", headers=headers(key[:-1])):
                pass


async def test_names_are_settings() -> None:
    """Prefix, environment and header as the operator wants them; the defaults mean nothing then."""
    async with serving(prefix="acme", environment="test", header="Api-Token") as (running, keys):
        key = await make_key(keys)
        assert key.startswith("acme_test_")
        for headers in ({"api-token": key}, {"authorization": f"Bearer {key}"}):
            assert ["acme", "api_key", ["read"]] == (await running.client.get("/", headers=headers)).json()
        answer = await running.client.get("/", headers={"x-api-key": key})
        assert (200, None) == (answer.status_code, answer.json())
        answer = await running.client.get("/", headers={"authorization": f"Bearer {generate_key('bmk_live_')}"})
        assert (200, None) == (answer.status_code, answer.json()), "no key of this application"


async def test_one_request_says_nothing_about_the_next() -> None:
    """A principal ends with the request."""
    async with serving() as (running, keys):
        key = await make_key(keys)
        assert (await running.client.get("/", headers={"x-api-key": key})).json()
        assert (await running.client.get("/")).json() is None
