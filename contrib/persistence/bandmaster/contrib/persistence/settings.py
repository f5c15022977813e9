"""Settings of a database, and the URLs of its drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_serializer, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from bandmaster.kernel import Settings

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_MaybeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Names = Annotated[frozenset[str], NoDecode]

EMBEDDED = "sqlite+aiosqlite:///bandmaster.sqlite3"
"""The database where no URL is set: enough to try things out."""
_ASYNC = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+pysqlite": "sqlite+aiosqlite",
}
_SYNC = {"postgresql+asyncpg": "postgresql+psycopg", "sqlite+aiosqlite": "sqlite+pysqlite"}
_INSTALL = {"asyncpg": "bandmaster-persistence[asyncpg]", "psycopg": "psycopg[binary]"}


class DatabaseSettings(Settings):
    """Settings of a database, read from variables that begin with ``DATABASE_``. All times are in seconds."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="DATABASE_", validate_default=True)

    url: str = Field(
        default=EMBEDDED,
        repr=False,
        description="Where the database is: postgresql://user:password@host/name (psycopg), postgresql+asyncpg://..., "
        "sqlite:///file. Unset: a file in the working directory, for trying things out.",
    )
    migration_url: str | None = Field(
        default=None,
        repr=False,
        description="The same database as the role that owns its tables, for migrations. Unset: url.",
    )

    migrate_on_start: bool | None = Field(
        default=None,
        description="Apply pending migrations at the start; of several processes one does, the others wait. Unset: "
        "only to the embedded database.",
    )
    schema_check: Literal["refuse", "warn", "off"] = Field(
        default="warn",
        description="At the start with migrations that are pending, or newer than the code: refuse it, warn, or don't "
        "check.",
    )

    pool_size: int = Field(default=10, ge=1, description="Connections that the pool keeps open.")
    max_overflow: int = Field(default=5, ge=0, description="Connections beyond pool_size, while they are needed.")
    sync_pool_size: int = Field(
        default=3, ge=1, description="Connections that the pool of synchronous code keeps open."
    )
    sync_max_overflow: int = Field(
        default=2, ge=0, description="Connections of synchronous code beyond sync_pool_size, while they are needed."
    )
    pool_timeout: _Seconds = Field(default=30, description="Seconds to wait for a connection of a full pool.")
    pool_recycle: _Seconds = Field(default=3600, description="Seconds after which a connection is replaced.")
    pool_pre_ping: bool = Field(default=True, description="Check a pooled connection before each use.")

    connect_timeout: _Seconds = Field(default=5, description="Seconds to connect.")
    statement_timeout: _MaybeSeconds = Field(
        default=30, description="Seconds that a statement may take on PostgreSQL; 0: no limit."
    )
    idle_in_transaction_timeout: _MaybeSeconds = Field(
        default=60,
        description="Seconds that a transaction may idle on PostgreSQL before the server ends it; 0: no limit.",
    )
    lock_timeout: _MaybeSeconds = Field(
        default=0,
        description="Seconds that a statement may wait for a lock on PostgreSQL, or on SQLite's file, "
        "where 0 means 5; 0: no limit.",
    )
    application_name: str = Field(
        default="bandmaster",
        min_length=1,
        max_length=63,
        description="The name of the connections in PostgreSQL's own views.",
    )
    pgbouncer: bool = Field(
        default=False,
        description="PgBouncer in transaction mode stands before PostgreSQL: no prepared statements, timeouts set by "
        "transaction, no comparison with the server's max_connections (set BANDMASTER_LIMITS instead).",
    )

    echo: bool = Field(default=False, description="Log every statement. Refused in production.")
    slow_query: _MaybeSeconds = Field(default=0.5, description="Seconds after which a statement is logged; 0: never.")

    probe_timeout: _Seconds = Field(default=2, description="Seconds for the health check to have an answer.")
    critical: bool = Field(
        default=True,
        description="Whether the application can't start, and isn't ready, while the database doesn't answer.",
    )

    tenant_isolation: Literal["auto", "rls", "off"] = Field(
        default="auto",
        description="auto: on PostgreSQL each transaction sets the tenant of the request context, if there is one, for "
        "row-level security. rls: also refuse transactions without a tenant, and refuse the start where tenants could "
        "see each other's rows. off: set no tenant.",
    )
    tenant_setting: str = Field(
        default="app.tenant", description="The PostgreSQL setting that holds the tenant for policies."
    )
    tenant_column: str = Field(
        default="tenant_id", description="The column with a row's tenant; a table with this column must be protected."
    )
    tenant_audit: Literal["refuse", "warn", "off"] = Field(
        default="refuse",
        description="At the start with a role, a table, a partition or a view that lets tenants see each other's rows: "
        "refuse it, warn, or don't check.",
    )
    tenant_unprotected: _Names = Field(
        default=frozenset(), description="Relations with the tenant column that may stay open, comma separated."
    )

    @field_validator("url", "migration_url", mode="after")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        return None if value is None else _parse_url(value).render_as_string(hide_password=False)

    @field_validator("tenant_setting", mode="after")
    @classmethod
    def _check_setting(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) != 2 or not all(part.isidentifier() and part.isascii() for part in parts):
            raise ValueError("expected a name of the form app.tenant")
        return value

    @field_validator("tenant_column", mode="after")
    @classmethod
    def _check_column(cls, value: str) -> str:
        if not (value.isidentifier() and value.isascii()):
            raise ValueError("expected the name of a column, such as tenant_id")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> DatabaseSettings:
        if self.tenant_isolation == "rls" and not self.is_postgresql:
            raise ValueError(
                f"tenant_isolation: {self.dsn.get_backend_name()} has no row-level security to keep "
                "tenants apart; use PostgreSQL, or set it to off and filter by tenant in every query"
            )
        if self.migration_url is not None and self.migration_dsn.get_backend_name() != self.dsn.get_backend_name():
            raise ValueError("migration_url: is the URL of another kind of database than url")
        return self

    @field_serializer("url", "migration_url")
    def _mask_password(self, value: str | None) -> str | None:
        return None if value is None else make_url(value).render_as_string(hide_password=True)

    @property
    def dsn(self) -> URL:
        """The URL for asynchronous code. ``str()`` hides the password."""
        return make_url(self.url)

    @property
    def sync_dsn(self) -> URL:
        """The URL for synchronous code."""
        return to_sync_url(self.dsn)

    @property
    def migration_dsn(self) -> URL:
        """The URL of the role that migrates the database."""
        return self.dsn if self.migration_url is None else make_url(self.migration_url)

    @property
    def is_postgresql(self) -> bool:
        """Whether the database is PostgreSQL, which has roles, row-level security and timeouts."""
        return self.dsn.get_backend_name() == "postgresql"

    @property
    def is_embedded(self) -> bool:
        """Whether no URL is set, so that the embedded SQLite file serves."""
        return "url" not in self.model_fields_set

    @property
    def migrates(self) -> bool:
        """Whether pending migrations are applied at the start."""
        return self.is_embedded if self.migrate_on_start is None else self.migrate_on_start

    @property
    def is_in_memory(self) -> bool:
        """Whether the database is SQLite without a file."""
        return self.dsn.get_backend_name() == "sqlite" and self.dsn.database in (None, "", ":memory:")

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for other databases and in memory."""
        if self.dsn.get_backend_name() != "sqlite" or self.is_in_memory:
            return None
        return Path(str(self.dsn.database))

    @property
    def connections(self) -> int:
        """The most connections that one process may open: both pools, and one for the health check."""
        return self.pool_size + self.max_overflow + self.sync_pool_size + self.sync_max_overflow + 1


def to_sync_url(url: URL) -> URL:
    """The URL of the same database with a driver for synchronous code."""
    return url.set(drivername=_SYNC.get(url.drivername, url.drivername))


def describe_database(url: URL) -> str:
    """The text by which errors name a database: host, port, name and user, without the password."""
    if url.host is None:
        return f"{url.get_backend_name()} {url.database or 'in memory'}"
    return f"{url.get_backend_name()} {url.database!r} at {url.host}:{url.port or 5432} as {url.username!r}"


def _parse_url(text: str) -> URL:
    if not text.strip():
        raise ValueError("is blank; expected a URL such as postgresql://user:password@host/name")
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        # SQLAlchemy's message repeats the text, password included.
        raise ValueError("isn't a URL; expected one such as postgresql://user:password@host/name") from None
    url = url.set(drivername=_ASYNC.get(url.drivername, url.drivername))
    backend = url.get_backend_name()
    try:
        dialect = url.get_dialect()
        if not dialect.is_async and not dialect.get_async_dialect_cls(url).is_async:
            raise ValueError(
                f"{url.drivername} has no asynchronous driver; use postgresql+psycopg, postgresql+asyncpg or sqlite"
            )
        dialect.import_dbapi()
    except NoSuchModuleError:
        raise ValueError(
            f"names no database that SQLAlchemy knows: {url.drivername!r}; use postgresql or sqlite"
        ) from None
    except ImportError:
        driver = url.get_driver_name()
        raise ValueError(f"needs the driver {driver!r}: pip install {_INSTALL.get(driver, driver)}") from None
    if backend == "postgresql" and not url.database:
        raise ValueError("names no database; expected postgresql://user:password@host/name")
    return url
