"""The account of a person who is logged in: a page with their API keys, and a report that the keys are for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from bandmaster.contrib.fastapi import Resource
from bandmaster.contrib.oidc import ApiKey, ApiKeyError, ApiKeys, CurrentUser, Principal, require
from bandmaster.contrib.persistence import DatabaseManager
from boxoffice.account_page import render_account
from boxoffice.houses import Houses
from boxoffice.jobs import count_seats

SCOPE = "reports"
"""The scope that the report requires. People have the scope by their login, programs by an API key."""
_LONGEST_NAME = 60

Keys = Annotated[ApiKeys, Resource()]
KeyId = Annotated[str, Path(min_length=1, max_length=40)]
_NO_STORE = {"cache-control": "no-store"}

router = APIRouter()
account = APIRouter(prefix="/account", include_in_schema=False)


async def find_person(user: CurrentUser) -> Principal:
    """The person who is logged in. A program with a token or a key manages no keys."""
    if user.kind != "session":
        raise HTTPException(403, "Log in with a browser to manage API keys.")
    return user


Person = Annotated[Principal, Depends(find_person)]


@router.get("/reports/sales", dependencies=[Depends(require(SCOPE))])
async def report_sales(
    houses: Annotated[Houses, Resource()], manager: Annotated[DatabaseManager, Resource()]
) -> dict[str, int]:
    """How many seats each house has sold."""
    return await count_seats(manager, houses.titles)


@account.get("")
async def show_account(person: Person, keys: Keys) -> HTMLResponse:
    """The page with the API keys of the person."""
    return await _show(person, keys)


@account.post("/keys")
async def create_key(
    person: Person, keys: Keys, name: Annotated[str, Form(min_length=1, max_length=_LONGEST_NAME)]
) -> HTMLResponse:
    """Make a key. This response is the only one that shows it."""
    made = await keys.create(_owner_of(person), name=name, scopes={SCOPE} & person.scopes)
    return await _show(person, keys, made.key.get_secret_value())


@account.post("/keys/{key_id}/rotate")
async def rotate_key(person: Person, keys: Keys, key_id: KeyId) -> Response:
    """Replace a key by a new one. The old one is accepted for a day, so that programs can change over."""
    await _check_owner(person, keys, key_id)
    try:
        made = await keys.rotate(key_id)
    except ApiKeyError:
        return _return_to_account()  # it has ended, or was rotated in another tab; the page shows that
    return await _show(person, keys, made.key.get_secret_value())


@account.post("/keys/{key_id}/revoke")
async def revoke_key(person: Person, keys: Keys, key_id: KeyId) -> Response:
    """End a key at once."""
    await _check_owner(person, keys, key_id)
    await keys.revoke(key_id)
    return _return_to_account()


router.include_router(account)


async def _show(person: Principal, keys: ApiKeys, new: str | None = None) -> HTMLResponse:
    found: Sequence[ApiKey] = await keys.list(owner=_owner_of(person), usable=True)
    template = files("boxoffice").joinpath("account.html").read_text("utf-8")
    return HTMLResponse(render_account(template, person.subject, found, new), headers=_NO_STORE)


async def _check_owner(person: Principal, keys: ApiKeys, key_id: str) -> None:
    try:
        found = await keys.get(key_id)
    except ValueError:
        found = None
    # Another person's key is answered like one that doesn't exist.
    if found is None or found.owner != _owner_of(person):
        raise HTTPException(404, "There is no such key.")


def _owner_of(person: Principal) -> str:
    # A subject is unique at its issuer only.
    return f"{person.subject} at {person.issuer}"


def _return_to_account() -> RedirectResponse:
    return RedirectResponse("/account", 303, headers=_NO_STORE)
