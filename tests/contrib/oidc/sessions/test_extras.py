"""Without the extras for Redis and databases the package works, and says how to install them."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
for name in ("redis", "sqlalchemy", "bandmaster.contrib.redis", "bandmaster.contrib.persistence"):
    sys.modules[name] = None
from pydantic import SecretStr, ValidationError
from bandmaster.contrib.oidc import redis_client
from bandmaster.contrib.oidc.sessions import component, sql_component
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.token_store import component as tokens
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.kernel import Kernel

parts = [
    redis_client.auth_redis, component.session_store, component.session_store_redis, sql_component.session_store_sql,
    sql_component.session_migrations, tokens.token_store, tokens.token_store_redis,
]
given = {TokenStoreSettings: TokenStoreSettings(store="memory")}
plan = Kernel(contributions=parts, discover=False, overrides=given).plan
print([component.name for component in plan.components])

def report(action):
    try:
        action()
    except (ValidationError, ImportError) as error:
        print(" ".join(str(error).split()))

report(lambda: SessionSettings(store="redis", keys={"1": SecretStr("k" * 43)}))
report(lambda: SessionSettings(store="sql", keys={"1": SecretStr("k" * 43)}))
report(lambda: TokenStoreSettings(store="redis"))

def use(name):
    import bandmaster.contrib.oidc
    getattr(bandmaster.contrib.oidc, name)

for name in ("RedisSessionStore", "SqlSessionStore", "RedisTokenStore"):
    report(lambda: use(name))
"""


def test_each_missing_extra_is_named():
    """By settings, and by the import of a class that needs one; the parts are left out of plans."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True, timeout=120, check=False
    )
    assert "" == done.stderr
    plan, *reports = done.stdout.splitlines()
    assert "['token_store']" == plan
    redis, sql = "pip install 'bandmaster-oidc[redis]'", "pip install 'bandmaster-oidc[sql]'"
    assert [redis, sql, redis, redis, sql, redis] == [
        next(hint for hint in (redis, sql) if hint in report) for report in reports
    ]
