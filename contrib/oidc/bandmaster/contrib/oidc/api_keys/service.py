"""`ApiKeys`: makes, verifies, revokes and rotates API keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import SecretStr

from bandmaster.contrib.oidc.api_keys.api_key import ApiKey, KeyState, NewApiKey, check_id
from bandmaster.contrib.oidc.api_keys.hashers import KeyHasher, describe_missing
from bandmaster.contrib.oidc.api_keys.key_text import generate_key, make_prefix, read_id
from bandmaster.contrib.oidc.api_keys.pending_updates import PendingUpdates
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.api_keys.store import ApiKeyStore
from bandmaster.contrib.oidc.errors import ApiKeyError, AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.principal import Principal
from bandmaster.kernel import get_logger


class ApiKeys:
    """Makes, verifies, revokes and rotates API keys. The component ``api_keys`` provides one.

    Every key that is shown is shown once: `create` and `rotate` return the key, and nothing keeps the key. ``updates``
    takes the updates that no request waits for; without them neither the last use nor a replaced hash is noted.
    ``clock`` gives the seconds since the epoch.

    Every method raises `AuthUnavailableError` where the store can't be reached, and `ApiKeyError` where the store
    refuses.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        hasher: KeyHasher,
        settings: ApiKeySettings,
        *,
        updates: PendingUpdates | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._hasher = hasher
        self._settings = settings
        self._updates = updates
        self._clock = clock
        self._prefix = make_prefix(settings.prefix, settings.environment)

    @property
    def prefix(self) -> str:
        """The text that every key begins with: ``bmk_live_``."""
        return self._prefix

    async def create(
        self,
        owner: str,
        *,
        name: str = "",
        scopes: Iterable[str] = (),
        expires_in: float | None = None,
    ) -> NewApiKey:
        """Make a key for an owner, who becomes the subject of the principal.

        ``name`` is a text by which people recognise the key, and ``expires_in`` the lifetime in seconds; None:
        the key doesn't expire.

        Raises:
            ValueError: an argument is out of range; the message names the argument.
        """
        now = self._read_clock()
        made = await self._make(owner, name, scopes, now, None if expires_in is None else check_lifetime(expires_in))
        await self.store.add(made.record)
        _log("API key created", made.record)
        return made

    async def verify(self, key: str) -> Principal:
        """Who a key was made for.

        Raises:
            InvalidTokenError: the key doesn't hold: junk, unknown, expired or revoked. The message has no key.
            AuthUnavailableError: the key can't be checked at the moment.
        """
        key_id = read_id(key, self._prefix)
        if key_id is None:
            raise InvalidTokenError(f"an API key isn't of the form {self._prefix}..., or its checksum is wrong")
        record = await self._read(key_id)
        if record is None:
            await self._hasher.verify_nothing(key)
            raise InvalidTokenError(f"there is no API key {key_id!r}")
        # The hash comes first: whoever doesn't have the key learns nothing about its state, not even from the time.
        if not await self._hasher.verify(key, record.hash):
            reason = describe_missing(self._hasher, record.hash) or "the secret is another one"
            raise InvalidTokenError(f"the API key {key_id!r} doesn't hold: {reason}")
        now = self._clock()
        state = record.get_state(now)
        if state is not KeyState.USABLE:
            raise InvalidTokenError(f"the API key {key_id!r} {_describe_end(record, state)}")
        if self._updates is not None:
            self._updates.add_use(record, now)
            if not self._hasher.is_current(record.hash):
                # No request waits for the new hash, which takes bcrypt a while.
                self._updates.add_renewal(record, lambda: self._hasher.hash(key))
        return Principal(
            subject=record.owner,
            scopes=record.scopes,
            kind="api_key",
            credential_id=record.id,
            issued_at=record.created_at,
            expires_at=record.expires_at,
        )

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether the key of a principal has ended since then; False for principals of other kinds.

        For connections that outlive the request, such as an open WebSocket.
        """
        if principal.kind != "api_key" or principal.credential_id is None:
            return False
        record = await self._read(principal.credential_id)
        return record is None or record.get_state(self._clock()) is not KeyState.USABLE

    async def revoke(self, key_id: str) -> ApiKey:
        """Refuse a key from now on. Revoking a revoked key changes nothing.

        Raises:
            ApiKeyError: there is no such key.
            ValueError: the text isn't an id.
        """
        check_id(key_id, "key_id")
        record = await self.store.revoke(key_id, self._read_clock())
        if record is None:
            raise _make_missing_error(key_id)
        _log("API key revoked", record)
        return record

    async def rotate(self, key_id: str, *, grace: float | None = None, expires_in: float | None = None) -> NewApiKey:
        """Make a key with the same owner, name and scopes, and let the old one end.

        Both keys are accepted for ``grace`` seconds, and the old one is refused from then on; None: the setting
        ``rotation_grace``; 0: the old key is revoked at once. An earlier end of the old key stays. The new key
        lives as long as the old one was meant to, counted from now, unless ``expires_in`` says.

        Raises:
            ApiKeyError: there is no such key, the key has ended, or was rotated already.
            ValueError: an argument is out of range; the message names the argument.
        """
        check_id(key_id, "key_id")
        seconds = self._settings.rotation_grace if grace is None else check_grace(grace)
        now = self._read_clock()
        old = await self.store.get(key_id)
        if old is None:
            raise _make_missing_error(key_id)
        self._check_rotation(old, now)
        lifetime = _find_lifetime(old) if expires_in is None else check_lifetime(expires_in)
        made = await self._make(old.owner, old.name, old.scopes, now, lifetime)
        if not await self.store.rotate(key_id, made.record, now=now, ends_at=now + seconds):
            self._check_rotation(await self.store.get(key_id) or old, now)
            raise ApiKeyError(f"the API key {key_id!r} was changed by somebody else at the same time; try again")
        _log("API key rotated", made.record, replaces=key_id, grace=seconds)
        return made

    async def get(self, key_id: str) -> ApiKey | None:
        """The record of a key; None if there is none.

        Raises:
            ValueError: the text isn't an id.
        """
        check_id(key_id, "key_id")
        return await self.store.get(key_id)

    async def list(
        self,
        *,
        owner: str | None = None,
        pepper: str | None = None,
        usable: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[ApiKey]:
        """Records in the order of their ids, with ``usable`` only those of keys that are accepted now.

        ``owner``, ``pepper`` (an id) and ``after`` (the id of a key) are as for `ApiKeyStore.list`.
        """
        usable_at = self._read_clock() if usable else None
        return await self.store.list(owner=owner, pepper=pepper, usable_at=usable_at, after=after, limit=limit)

    async def _make(
        self, owner: str, name: str, scopes: Iterable[str], now: float, lifetime: float | None
    ) -> NewApiKey:
        key = generate_key(self._prefix)
        key_id = read_id(key, self._prefix)
        assert key_id is not None
        record = ApiKey(
            id=key_id,
            owner=owner,
            name=name,
            scopes=scopes if isinstance(scopes, frozenset) else _collect_scopes(scopes),
            hash=await self._hasher.hash(key),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
        return NewApiKey(SecretStr(key), record)

    async def _read(self, key_id: str) -> ApiKey | None:
        """The record of a key that somebody has sent.

        Raises:
            AuthUnavailableError: also where the store refuses, for a missing table or a wrong password: the store can
                say nothing about the key until somebody mends that, so the key can be neither accepted nor refused.
        """
        try:
            return await self.store.get(key_id)
        except ApiKeyError as error:
            raise AuthUnavailableError(str(error)) from error

    def _check_rotation(self, record: ApiKey, now: float) -> None:
        if record.replaced_by is not None:
            raise ApiKeyError(
                f"the API key {record.id!r} was rotated already, to {record.replaced_by!r}; rotate that one, or revoke "
                "this one to end it now"
            )
        state = record.get_state(now)
        if state is not KeyState.USABLE:
            raise ApiKeyError(f"the API key {record.id!r} {_describe_end(record, state)}; create a new one")

    def _read_clock(self) -> float:
        # To the microsecond, as databases store times.
        return round(self._clock(), 6)


def check_lifetime(seconds: float) -> float:
    """Check the lifetime of a key.

    Raises:
        ValueError: the lifetime isn't above 0, or ends after the year 9999.
    """
    if not 0 < seconds < _LONGEST:
        raise ValueError(f"expires_in: expected seconds above 0, got {seconds!r}")
    return float(seconds)


def check_grace(seconds: float) -> float:
    """Check the grace period of a rotation.

    Raises:
        ValueError: the grace is negative, or ends after the year 9999.
    """
    if not 0 <= seconds < _LONGEST:
        raise ValueError(f"grace: expected seconds from 0 up, got {seconds!r}")
    return float(seconds)


_LONGEST = 7000 * 365 * 86_400.0
"""Seconds from now that a time can be written to a database."""


def _collect_scopes(scopes: Iterable[str]) -> frozenset[str]:
    if isinstance(scopes, str):
        raise ValueError(f"scopes: expected several names, got the text {scopes!r}")
    return frozenset(scopes)


def _find_lifetime(record: ApiKey) -> float | None:
    return None if record.expires_at is None else record.expires_at - record.created_at


def _describe_end(record: ApiKey, state: KeyState) -> str:
    if state is KeyState.REVOKED:
        return "was revoked"
    return (
        "has expired" if record.replaced_by is None else f"was rotated to {record.replaced_by!r}, and its grace is over"
    )


def _make_missing_error(key_id: str) -> ApiKeyError:
    return ApiKeyError(f"there is no API key {key_id!r}")


def _log(event: str, record: ApiKey, **fields: Any) -> None:
    get_logger("bandmaster.oidc").info(
        event, id=record.id, owner=record.owner, scopes=sorted(record.scopes), expires_at=record.expires_at, **fields
    )
