"""The check of credentials against all lists of revoked ones."""

from __future__ import annotations

from typing import Literal

import pytest

from bandmaster.contrib.oidc import AuthUnavailableError, InvalidTokenError, Principal
from bandmaster.contrib.oidc.revocations import RevocationCheck

pytestmark = pytest.mark.anyio


class Away:
    async def is_revoked(self, principal: Principal) -> bool:
        raise AuthUnavailableError("away")


class Revoked:
    async def is_revoked(self, principal: Principal) -> bool:
        return principal.credential_id == "t1"


@pytest.mark.requirement("CA-43")
@pytest.mark.parametrize("when_away", ["accept", "refuse"])
@pytest.mark.parametrize("lists", [(Away(), Revoked()), (Revoked(), Away())], ids=["away first", "away last"])
async def test_a_list_that_is_away_hides_no_other(
    lists: tuple[Away | Revoked, ...], when_away: Literal["accept", "refuse"]
) -> None:
    """A credential that one list knows to be revoked is refused while another list is away."""
    with pytest.raises(InvalidTokenError):
        await RevocationCheck(lists, when_away).check(Principal("ada", credential_id="t1"))


@pytest.mark.requirement("CA-43")
async def test_an_unknown_answer() -> None:
    """Where no list says revoked and one is away, the setting decides."""
    principal, lists = Principal("bob", credential_id="t2"), (Away(), Revoked())
    accepting = RevocationCheck(lists, "accept")
    await accepting.check(principal)
    assert accepting.accepted_unchecked == 1
    with pytest.raises(AuthUnavailableError):
        await RevocationCheck(lists, "refuse").check(principal)
