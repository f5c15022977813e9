"""The command ``bandmaster apikey``: against a real database, for people and for programs."""

import json
import re
import sys

import anyio
import pytest
from tests.contrib.oidc.api_keys.conftest import OLD_PEPPER, PEPPER
from typer.testing import CliRunner

from bandmaster.contrib.oidc import ApiKeys, ApiKeySettings, HmacSha256Hasher, SqlApiKeyStore
from bandmaster.contrib.oidc.api_keys.commands import apikey
from bandmaster.contrib.oidc.api_keys.durations import parse_duration
from bandmaster.contrib.oidc.api_keys.tables import metadata
from bandmaster.contrib.oidc.errors import InvalidTokenError
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

KEY = re.compile(r"bmk_live_[0-9A-Za-z]{62}")


class Shop:
    """The command in an environment with a database, and the answers of that database's application about a key."""

    def __init__(self, url, monkeypatch):
        self.url = url
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("AUTH_API_KEY_STORE", "sql")
        self.use_peppers({"2026": PEPPER})
        self.act(lambda keys, manager: self._create_table(manager))

    def use_peppers(self, peppers):
        self.peppers = peppers
        text = ",".join(f"{name}={pepper}" for name, pepper in peppers.items())
        self.monkeypatch.setenv("AUTH_API_KEY_PEPPERS", text)

    @staticmethod
    async def _create_table(manager):
        async with manager.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    def act(self, action):
        async def main():
            settings = ApiKeySettings(peppers=self.peppers)
            manager = DatabaseManager(DatabaseSettings(url=self.url, connect_timeout=20))
            keys = ApiKeys(SqlApiKeyStore(manager), HmacSha256Hasher(settings.peppers), settings)
            try:
                return await action(keys, manager)
            finally:
                await manager.dispose()

        return anyio.run(main)

    def verify(self, key):
        return self.act(lambda keys, _: keys.verify(key))

    def is_refused(self, key):
        try:
            self.verify(key)
        except InvalidTokenError:
            return True
        return False

    def run(self, *arguments):
        result = CliRunner().invoke(apikey, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ask(self, *arguments, code=0):
        result = self.run(*arguments, "--format", "json")
        assert code == result.exit_code, result.output
        return json.loads(result.stdout)


@pytest.fixture(params=["sqlite", "psycopg"])
def shop(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'keys.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres_database").owner_url()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Shop(url, monkeypatch)


def test_a_key_is_printed_once(shop) -> None:
    """Standard output is the key alone, for scripts, and no other command prints the key."""
    made = shop.run("create", "acme", "--name", "ci", "--scope", "read", "--scope", "write", "--expires-in", "90d")
    key = made.stdout.strip()
    assert KEY.fullmatch(key)
    assert 1 == made.output.count(key)
    assert "This is the only time that the key is shown" in made.stderr
    principal = shop.verify(key)
    assert ("acme", {"read", "write"}) == (principal.subject, principal.scopes)
    assert 90 * 86_400 == pytest.approx(principal.expires_at - principal.issued_at)
    for arguments in (["list"], ["list", "--format", "json"], ["list", "--all"]):
        listed = shop.run(*arguments)
        assert principal.credential_id in listed.output
        assert key[22:65] not in listed.output
        assert "hmac" not in listed.output


def test_the_answer_for_programs(shop) -> None:
    """One JSON object with every field; times in UTC."""
    made = shop.ask("create", "acme", "--name", "ci", "--scope", "b", "--scope", "a")
    key = made.pop("key")
    assert key[9:22] == made["id"]
    assert (1, True) == (made.pop("format"), made.pop("ok"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])
    assert {
        "id": key[9:22],
        "owner": "acme",
        "name": "ci",
        "scopes": ["a", "b"],
        "state": "usable",
        "created_at": made["created_at"],
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "replaced_by": None,
        "pepper": "2026",
    } == made
    assert {"format": 1, "keys": [made]} == shop.ask("list")


def test_keys_are_listed_by_owner_and_page(shop) -> None:
    """Ended keys only with --all; pages follow the ids."""
    ids = sorted(shop.ask("create", "acme")["id"] for _ in range(3))
    other = shop.ask("create", "other")["id"]
    assert 0 == shop.run("revoke", ids[1]).exit_code
    assert [ids[0], ids[2]] == [key["id"] for key in shop.ask("list", "--owner", "acme")["keys"]]
    assert ids == [key["id"] for key in shop.ask("list", "--owner", "acme", "--all")["keys"]]
    assert [ids[2]] == [
        key["id"] for key in shop.ask("list", "--owner", "acme", "--all", "--after", ids[1], "--limit", "1")["keys"]
    ]
    text = shop.run("list", "--all").stdout
    assert 4 == len(text.splitlines())
    assert "revoked" in text
    assert other in text
    assert "There are no such keys.\n" == shop.run("list", "--owner", "nobody").stdout


@pytest.mark.requirement("CA-52")
def test_a_revoked_key_is_refused(shop) -> None:
    """Several at once, by id or by the whole key; an unknown id is named, with exit code 1."""
    one, two, three = (shop.run("create", "acme").stdout.strip() for _ in range(3))
    result = shop.run("revoke", one[9:22], two)
    assert (0, f"Revoked {one[9:22]}.\nRevoked {two[9:22]}.\n") == (result.exit_code, result.stdout)
    assert [True, True, False] == [shop.is_refused(key) for key in (one, two, three)]
    answer = shop.ask("revoke", "0" * 13, three[9:22], code=1)
    assert {"format": 1, "ok": False, "revoked": [three[9:22]], "missing": ["0" * 13]} == answer
    assert shop.is_refused(three)
    result = shop.run("revoke", "0" * 13)
    assert (1, "There is no key 0000000000000.\n") == (result.exit_code, result.stderr)


@pytest.mark.requirement("CA-50")
def test_keys_of_a_pepper_are_listed_and_revoked(shop) -> None:
    """Before a pepper is removed, the keys that would die are listed; commands that need no pepper work without one."""
    shop.use_peppers({"2025": OLD_PEPPER})
    dying = [shop.run("create", "acme").stdout.strip() for _ in range(2)]
    shop.use_peppers({"2026": PEPPER, "2025": OLD_PEPPER})
    kept = shop.run("create", "acme").stdout.strip()
    listed = shop.ask("list", "--pepper", "2025")["keys"]
    assert sorted(key[9:22] for key in dying) == [key["id"] for key in listed]
    shop.monkeypatch.delenv("AUTH_API_KEY_PEPPERS")
    answer = shop.ask("revoke", "--pepper", "2025")
    assert sorted(key[9:22] for key in dying) == sorted(answer["revoked"])
    assert [True, True, False] == [shop.is_refused(key) for key in (*dying, kept)]
    assert [] == shop.ask("revoke", "--pepper", "2025")["revoked"]
    assert "There are no such keys.\n" == shop.run("revoke", "--pepper", "2025").stdout


def test_all_keys_of_an_owner_are_revoked(shop, monkeypatch) -> None:
    """More than one page of keys is revoked, and nobody else's."""
    made = [shop.ask("create", "leaver")["id"] for _ in range(4)]
    other = shop.run("create", "acme").stdout.strip()
    monkeypatch.setattr("bandmaster.contrib.oidc.api_keys.commands._PAGE", 3)
    assert sorted(made) == sorted(shop.ask("revoke", "--owner", "leaver")["revoked"])
    assert not shop.is_refused(other)


@pytest.mark.requirement("CA-52")
def test_a_key_is_rotated(shop) -> None:
    """With a grace both keys work; without one the old key ends at once."""
    first = shop.run("create", "acme", "--scope", "read").stdout.strip()
    second = shop.run("rotate", first[9:22], "--grace", "1h").stdout.strip()
    assert KEY.fullmatch(second)
    assert [False, False] == [shop.is_refused(first), shop.is_refused(second)]
    assert {"read"} == shop.verify(second).scopes
    listed = {key["id"]: key for key in shop.ask("list")["keys"]}
    assert second[9:22] == listed[first[9:22]]["replaced_by"]
    third = shop.ask("rotate", second[9:22], "--grace", "0", "--expires-in", "1d")
    assert [True, False] == [shop.is_refused(second), shop.is_refused(third["key"])]
    assert third["expires_at"] is not None
    again = shop.run("rotate", first[9:22])
    assert 1 == again.exit_code
    assert f"was rotated already, to '{second[9:22]}'" in again.stderr


def test_the_grace_of_the_setting_is_the_default(shop, monkeypatch) -> None:
    """Without --grace AUTH_API_KEY_ROTATION_GRACE counts."""
    monkeypatch.setenv("AUTH_API_KEY_ROTATION_GRACE", "0")
    old = shop.run("create", "acme").stdout.strip()
    shop.run("rotate", old[9:22])
    assert shop.is_refused(old)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["create", "acme", "--expires-in", "soon"], "--expires-in: expected a number with one of the units"),
        (["create", "acme", "--expires-in", "0"], "expires_in: expected seconds above 0"),
        (["create", " "], "owner: expected"),
        (["create", "acme", "--scope", "a b"], "scopes: expected"),
        (["rotate", "short"], "ID: expected the id of a key"),
        (["rotate", "0" * 13, "--grace", "-1"], "--grace"),
        (["revoke"], "Name keys by their ids, or by --owner and --pepper"),
        (["revoke", "0" * 13, "--owner", "acme"], "Name keys by their ids, or by --owner and --pepper"),
        (["revoke", "nonsense"], "ID: expected the id of a key"),
    ],
)
def test_a_wrong_command_line_is_named(tmp_path, monkeypatch, arguments, text) -> None:
    """Exit code 2, and the argument in the text."""
    shop = Shop(f"sqlite:///{tmp_path / 'keys.sqlite3'}", monkeypatch)
    monkeypatch.chdir(tmp_path)
    result = shop.run(*arguments)
    assert 2 == result.exit_code, result.output
    assert text in result.output


def test_what_is_missing_is_said(tmp_path, monkeypatch) -> None:
    """No store, no pepper, no table, and no such key: one sentence each, with advice."""
    shop = Shop(f"sqlite:///{tmp_path / 'keys.sqlite3'}", monkeypatch)
    monkeypatch.chdir(tmp_path)
    missing = shop.run("rotate", "0" * 13)
    assert (1, True) == (missing.exit_code, "there is no API key '0000000000000'" in missing.stderr)

    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    empty = shop.run("list")
    assert (1, True) == (empty.exit_code, "make the table: bandmaster db upgrade" in empty.stderr)

    monkeypatch.delenv("AUTH_API_KEY_PEPPERS")
    for arguments in (["create", "acme"], ["rotate", "0" * 13]):
        bare = shop.run(*arguments)
        assert (1, True) == (bare.exit_code, "AUTH_API_KEY_PEPPERS isn't set" in bare.stderr)

    monkeypatch.setenv("AUTH_API_KEY_STORE", "memory")
    memory = shop.run("list")
    assert 1 == memory.exit_code
    assert "Set AUTH_API_KEY_STORE to sql" in memory.stderr


MAIN = """
from bandmaster.contrib.oidc import ApiKeySettings
from bandmaster.contrib.oidc.api_keys.component import api_keys
from bandmaster.contrib.oidc.api_keys.sql_parts import api_key_migrations, api_key_sql_store
from bandmaster.contrib.persistence import DatabaseSettings, database, database_schema
from bandmaster.kernel import create_app

app = create_app(
    contributions=[api_keys, api_key_migrations, api_key_sql_store, database, database_schema],
    overrides={{
        ApiKeySettings: ApiKeySettings(peppers={{"code": {pepper!r}}}, store="sql", prefix="acme"),
        DatabaseSettings: DatabaseSettings(url={url!r}),
    }},
    discover=False,
)
"""


def test_an_application_brings_its_own_settings(tmp_path, monkeypatch) -> None:
    """With --target the settings that the application's code names are used."""
    shop = Shop(f"sqlite:///{tmp_path / 'keys.sqlite3'}", monkeypatch)
    (tmp_path / "key_shop_main.py").write_text(MAIN.format(pepper=PEPPER, url=shop.url))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///nowhere.sqlite3")
    monkeypatch.delenv("AUTH_API_KEY_PEPPERS")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        made = shop.ask("create", "acme", "--target", "key_shop_main:app", "--app-dir", str(tmp_path))
    finally:
        sys.modules.pop("key_shop_main", None)
    assert made["key"].startswith("acme_live_")
    assert "code" == made["pepper"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("1.5h", 5400), (" 2d ", 172_800), ("3m", 180), ("4s", 4)]
)
def test_durations(text, seconds) -> None:
    """A number and a unit; seconds without one."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "d", "-1", "1w", "1e3", "1 d", "inf", "nan", "٣d"[:1] + "x"])
def test_what_is_no_duration(text) -> None:
    """A text of another form is refused, not guessed."""
    with pytest.raises(ValueError, match="expected a number with one of the units"):
        parse_duration(text)
