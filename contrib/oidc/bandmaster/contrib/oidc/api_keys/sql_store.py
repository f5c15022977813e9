"""`SqlApiKeyStore`: API keys in the database."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from bandmaster.contrib.oidc.api_keys.api_key import ApiKey, describe_hash
from bandmaster.contrib.oidc.api_keys.store import make_taken_error
from bandmaster.contrib.oidc.api_keys.tables import api_key_table
from bandmaster.contrib.oidc.errors import ApiKeyError, AuthUnavailableError
from bandmaster.contrib.persistence import DatabaseManager, no_tenant
from bandmaster.kernel import PermanentError, TransientError

_KEY = api_key_table.c


class SqlApiKeyStore:
    """An `ApiKeyStore` in the table ``auth_api_keys`` of a database, on PostgreSQL and on SQLite."""

    def __init__(self, manager: DatabaseManager) -> None:
        self._manager = manager

    async def get(self, key_id: str) -> ApiKey | None:
        """See `ApiKeyStore.get`."""
        with _translating_errors(), no_tenant():
            async with self._manager.session() as session:
                row = (await session.execute(_SELECT_ONE, {"key_id": key_id})).one_or_none()
        return None if row is None else _read_row(row)

    async def add(self, key: ApiKey) -> None:
        """See `ApiKeyStore.add`."""

        async def work(session: AsyncSession) -> None:
            await session.execute(insert(api_key_table), _make_row(key))

        with _translating_errors(taken=key.id), no_tenant():
            await self._manager.transaction(work)

    async def list(
        self,
        *,
        owner: str | None = None,
        pepper: str | None = None,
        usable_at: float | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[ApiKey]:
        """See `ApiKeyStore.list`."""
        query = select(api_key_table).order_by(_KEY.id).limit(limit)
        if owner is not None:
            query = query.where(_KEY.owner == owner)
        if pepper is not None:
            query = query.where(_KEY.hashed_with.endswith(f"${pepper}", autoescape=True))
        if usable_at is not None:
            query = query.where(_is_usable(_to_datetime(usable_at)))
        if after is not None:
            query = query.where(_KEY.id > after)
        with _translating_errors(), no_tenant():
            async with self._manager.session() as session:
                return [_read_row(row) for row in await session.execute(query)]

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        """See `ApiKeyStore.revoke`."""
        change = update(api_key_table).where(_KEY.id == key_id, _KEY.revoked_at.is_(None))

        async def work(session: AsyncSession) -> Row[Any] | None:
            await session.execute(change.values(revoked_at=_to_datetime(now)))
            return (await session.execute(_SELECT_ONE, {"key_id": key_id})).one_or_none()

        with _translating_errors(), no_tenant():
            row = await self._manager.transaction(work)
        return None if row is None else _read_row(row)

    async def rotate(self, key_id: str, successor: ApiKey, *, now: float, ends_at: float) -> bool:
        """See `ApiKeyStore.rotate`."""
        at, end = _to_datetime(now), _to_datetime(ends_at)
        change = update(api_key_table).where(_KEY.id == key_id, _KEY.replaced_by.is_(None), _is_usable(at))
        if ends_at > now:
            earlier = case((or_(_KEY.expires_at.is_(None), _KEY.expires_at > end), end), else_=_KEY.expires_at)
            change = change.values(replaced_by=successor.id, expires_at=earlier)
        else:
            change = change.values(replaced_by=successor.id, revoked_at=at)

        async def work(session: AsyncSession) -> bool:
            # Another rotation of the same key waits here for the end of this transaction, and then finds no row.
            if not _count_rows(await session.execute(change)):
                return False
            await session.execute(insert(api_key_table), _make_row(successor))
            return True

        with _translating_errors(taken=successor.id), no_tenant():
            return await self._manager.transaction(work)

    async def record_uses(self, uses: Mapping[str, float], *, interval: float) -> None:
        """See `ApiKeyStore.record_uses`."""
        # In one order in all processes, so that two of them never wait for each other's rows.
        rows = [
            {
                "key_id": key_id,
                "used_at": _to_datetime(used_at),
                "before": _to_datetime(used_at) - timedelta(seconds=interval),
            }
            for key_id, used_at in sorted(uses.items())
        ]
        with _translating_errors(), no_tenant():
            async with self._manager.session() as session:
                connection = await session.connection()
                await connection.execute(_RECORD_USE, rows)

    async def replace_hash(self, key_id: str, old: str, new: str) -> bool:
        """See `ApiKeyStore.replace_hash`."""
        change = update(api_key_table).where(_KEY.id == key_id, _KEY.hash == old)

        async def work(session: AsyncSession) -> bool:
            return _count_rows(await session.execute(change.values(hash=new, hashed_with=describe_hash(new)))) == 1

        with _translating_errors(), no_tenant():
            return await self._manager.transaction(work)

    async def count_usable(self, now: float) -> Mapping[str, int]:
        """See `ApiKeyStore.count_usable`."""
        query = select(_KEY.hashed_with, func.count()).where(_is_usable(_to_datetime(now))).group_by(_KEY.hashed_with)
        with _translating_errors(), no_tenant():
            async with self._manager.session() as session:
                return {row[0]: row[1] for row in await session.execute(query)}


_SELECT_ONE = select(api_key_table).where(_KEY.id == bindparam("key_id"))
_RECORD_USE = (
    update(api_key_table)
    .where(_KEY.id == bindparam("key_id"), or_(_KEY.last_used_at.is_(None), _KEY.last_used_at <= bindparam("before")))
    .values(last_used_at=bindparam("used_at"))
)


@contextmanager
def _translating_errors(*, taken: str = "") -> Generator[None, None, None]:
    """Raise the package's errors in place of the database's. ``taken`` is the id that is being added."""
    try:
        yield
    except TransientError as error:
        raise AuthUnavailableError("the database of the API keys can't be used at the moment") from error
    except IntegrityError as error:
        raise make_taken_error(taken) from error
    except (PermanentError, SQLAlchemyError) as error:
        raise ApiKeyError(
            f"the database refuses the API keys ({type(error).__name__}). If it has no table auth_api_keys yet, make "
            "the table: bandmaster db upgrade"
        ) from error


def _is_usable(at: datetime) -> ColumnElement[bool]:
    return and_(_KEY.revoked_at.is_(None), or_(_KEY.expires_at.is_(None), _KEY.expires_at > at))


def _make_row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "hash": key.hash,
        "hashed_with": key.hashed_with,
        "created_at": _to_datetime(key.created_at),
        "expires_at": _to_datetime_or_none(key.expires_at),
        "revoked_at": _to_datetime_or_none(key.revoked_at),
        "replaced_by": key.replaced_by,
        "last_used_at": _to_datetime_or_none(key.last_used_at),
    }


def _read_row(row: Row[Any]) -> ApiKey:
    created_at = _to_seconds(row.created_at)
    assert created_at is not None
    return ApiKey(
        id=row.id,
        owner=row.owner,
        hash=row.hash,
        created_at=created_at,
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        expires_at=_to_seconds(row.expires_at),
        revoked_at=_to_seconds(row.revoked_at),
        replaced_by=row.replaced_by,
        last_used_at=_to_seconds(row.last_used_at),
    )


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _to_datetime_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _to_datetime(seconds)


def _to_seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    # SQLite stores no time zone; the values were written in UTC.
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _count_rows(result: Any) -> int:
    count: int = result.rowcount
    return count
