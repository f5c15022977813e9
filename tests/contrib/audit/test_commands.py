"""The command ``bandmaster audit``: against a real database, for people, programs and schedulers."""

import json
import logging
import sys

import anyio
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tests.contrib.audit.conftest import KEY, OLD_KEY
from typer.testing import CliRunner

from bandmaster.contrib.audit import AuditLog, ChainKeys, SqlAuditStore
from bandmaster.contrib.audit.commands.audit import audit
from bandmaster.contrib.audit.stores.tables import audit_migrations
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.persistence.migration import migrate

SOUND, TAMPERED, NOT_RUN, WRONG_USE = 0, 3, 70, 2


class Shop:
    """The command in an environment with a database that has entries."""

    def __init__(self, url, monkeypatch):
        self.url = url
        self.monkeypatch = monkeypatch
        self.keys = ChainKeys({"2026": SecretStr(KEY)})
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("AUDIT_STORE", "sql")
        monkeypatch.setenv("AUDIT_KEYS", f"2026={KEY}")

        async def make(_):
            await migrate.upgrade(sa.make_url(DatabaseSettings(url=url).url), (audit_migrations.value,))

        self.act(make)

    def act(self, action):
        async def main():
            manager = DatabaseManager(DatabaseSettings(url=self.url, connect_timeout=20))
            try:
                return await action(AuditLog(SqlAuditStore(manager, self.keys)))
            finally:
                await manager.dispose()

        return anyio.run(main)

    def fill(self, count=5, stream="s"):
        async def add(log):
            for number in range(count):
                await log.record(
                    f"a{number}",
                    actor="ann",
                    stream=stream,
                    resource_type="order",
                    resource_id=str(number),
                    details={"token": "planted-secret", "n": number},
                )

        self.act(add)

    def run(self, *arguments, code=0):
        result = CliRunner().invoke(audit, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code == result.exit_code, result.output
        return result

    def ask(self, *arguments, code=0):
        return json.loads(self.run(*arguments, "--format", "json", code=code).stdout)


@pytest.fixture
def shop(database_url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Shop(database_url, monkeypatch)


@pytest.fixture
def tamper(shop, database_url):
    """Runs statements behind the back of the triggers."""

    def run(*statements):
        async def act(log):
            def work(connection):
                if connection.dialect.name == "sqlite":
                    for (name,) in connection.exec_driver_sql(
                        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                    ).all():
                        connection.exec_driver_sql(f"DROP TRIGGER {name}")
                else:
                    for table in ("audit_entries", "audit_personal"):
                        connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                for statement in statements:
                    connection.exec_driver_sql(statement)

            await log.store.run(work)

        shop.act(act)

    return run


@pytest.mark.requirement("OBS-A9")
def test_the_exit_codes_of_verify_differ(shop, tamper, monkeypatch) -> None:
    """OBS-A9: sound, tampered and could-not-run are 0, 3 and 70, whatever the reason is."""
    shop.fill()
    assert "Sound: 5 entries of 1 stream" in shop.run("verify", code=SOUND).stdout
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 2")
    shown = shop.run("verify", code=TAMPERED).stdout
    assert "Tampered: 5 entries" in shown
    assert "altered: entry 2 of the stream 's'" in shown
    answer = shop.ask("verify", code=TAMPERED)
    assert (False, "tampered", 1) == (answer["ok"], answer["outcome"], len(answer["findings"]))
    assert any("triggers are missing" in remark for remark in answer["remarks"])
    for name, value in (
        ("AUDIT_KEYS", "short=1"),
        ("AUDIT_STORE", "memory"),
        ("AUDIT_STORE", ""),
        ("DATABASE_URL", "sqlite:////nowhere/at/all.sqlite3"),
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            shop.run("verify", code=NOT_RUN)
    shop.run("verify", "--against", "nothing.log", code=NOT_RUN)
    shop.run("verify", "--stream", "nobody", code=NOT_RUN)
    shop.run("verify", "--unknown", code=WRONG_USE)


@pytest.mark.requirement("OBS-A9")
def test_a_missing_key_is_not_a_break(shop, monkeypatch) -> None:
    """OBS-A9: entries that can't be judged give the code of could-not-run, and the key's id."""
    shop.fill()
    monkeypatch.setenv("AUDIT_KEYS", f"2027={OLD_KEY}")
    answer = shop.ask("verify", code=NOT_RUN)
    assert ("unverified", ["2026"]) == (answer["outcome"], answer["unknown_keys"])


@pytest.mark.requirement("OBS-A3")
def test_verify_says_what_it_does_not_prove(shop, monkeypatch) -> None:
    """OBS-A3: without keys, and without anything from outside the tables."""
    shop.fill()
    shown = shop.run("verify").stdout
    assert "nothing was compared with what is known outside the tables" in shown
    monkeypatch.setenv("AUDIT_KEYS", "")
    shop.keys = ChainKeys()
    shop.fill(stream="unkeyed")
    shown = shop.run("verify", "--stream", "unkeyed").stdout
    assert "only accidents are found" in shown


@pytest.mark.requirement("OBS-A2", "OBS-A9")
def test_a_checkpoint_remembers_how_far_entries_are_verified(shop, tamper, tmp_path) -> None:
    """OBS-A2: what was removed since is found; OBS-A9: what was verified isn't read again."""
    shop.fill()
    assert "there was no checkpoint seen" in shop.run("verify", "--checkpoint", "seen").stdout
    shop.fill(2)
    assert 2 == shop.ask("verify", "--checkpoint", "seen")["entries"]
    assert 0 == shop.ask("verify", "--checkpoint", "seen")["entries"]
    assert 7 == shop.ask("verify", "--checkpoint", "seen", "--full")["entries"]
    tamper("DELETE FROM audit_personal WHERE sequence > 6", "DELETE FROM audit_entries WHERE sequence > 6")
    before = (tmp_path / "seen").read_bytes()
    assert "truncated" == shop.ask("verify", "--checkpoint", "seen", code=TAMPERED)["findings"][0]["kind"]
    assert before == (tmp_path / "seen").read_bytes()
    (finding,) = shop.ask("verify", "--checkpoint", "seen", code=TAMPERED)["findings"]
    assert [finding] == shop.ask("verify", "--checkpoint", "seen", "--full", code=TAMPERED)["findings"]
    shop.run("acknowledge", finding["id"], "--reason", "the disk", "--checkpoint", "seen", "--by", "op")
    answer = shop.ask("verify", "--checkpoint", "seen", "--full")
    assert ([], 7) == (answer["findings"], answer["entries"])
    shop.fill()
    answer = shop.ask("verify", "--checkpoint", "seen")
    assert ("sound", 5) == (answer["outcome"], answer["entries"])
    assert 1 == len(shop.ask("list", "--action", "audit.acknowledged")["entries"])


def test_checkpoint_vouches_for_entries_without_a_key(shop) -> None:
    """Keys that are set later: the command writes a keyed entry where a stream ends without one."""
    keyed, shop.keys = shop.keys, ChainKeys()
    shop.fill()
    shop.keys = keyed
    shop.run("verify", code=TAMPERED)
    shop.run("checkpoint", "seen", "--by", "op")
    assert "sound" == shop.ask("verify", "--full")["outcome"]
    shop.run("checkpoint", code=NOT_RUN)


@pytest.mark.requirement("OBS-A9")
def test_acknowledge(shop, tamper) -> None:
    """OBS-A9: by the id that verify prints; an unknown id and a blank reason are refused."""
    shop.fill()
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 2")
    (finding,) = shop.ask("verify", code=TAMPERED)["findings"]
    shop.run("acknowledge", "0123456789abcdef", "--reason", "x", code=NOT_RUN)
    shop.run("acknowledge", finding["id"], "--reason", " ", code=NOT_RUN)
    shop.run("verify", code=TAMPERED)
    shown = shop.run("acknowledge", finding["id"], "--reason", "a restore", "--by", "op").stdout
    assert "Acknowledged" in shown
    assert "acknowledged: altered: entry 2" in shop.run("verify").stdout
    (entry, *_) = shop.ask("list", "--action", "audit.acknowledged")["entries"]
    assert ("op", "a restore") == (entry["actor"], entry["details"]["reason"])


def test_list(shop) -> None:
    """Newest first, filtered, page by page; secrets were redacted before."""
    shop.fill()
    answer = shop.ask("list", "--limit", "2")
    assert ["a4", "a3"] == [entry["action"] for entry in answer["entries"]]
    rest = shop.ask("list", "--before", answer["next"])
    assert (["a2", "a1", "a0"], None) == ([entry["action"] for entry in rest["entries"]], rest["next"])
    assert ["3"] == [entry["resource_id"] for entry in shop.ask("list", "--action", "a3")["entries"]]
    assert 5 == len(shop.ask("list", "--actor", "ann", "--since", "2020-01-01")["entries"])
    assert [] == shop.ask("list", "--until", "2020-01-01")["entries"]
    shown = shop.run("list", "--resource-id", "3").stdout
    assert "s#4  success  a3  order:3  by ann" in shown
    assert "There are no such entries." in shop.run("list", "--actor", "bob").stdout
    assert "planted-secret" not in shop.run("list", "--format", "json").stdout
    for wrong in (["--since", "soon"], ["--result", "maybe"], ["--before", "x"]):
        shop.run("list", *wrong, code=WRONG_USE)


def test_export_and_verify_export(shop, tmp_path, monkeypatch) -> None:
    """The file alone is verified; changed, it isn't taken for one of ours."""
    shop.fill()
    shop.fill(2, "other")
    answer = shop.ask("export", "out.jsonl")
    assert 7 == answer["entries"]
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.sqlite3")
    assert 7 == shop.ask("verify", "--export", "out.jsonl")["entries"]
    path = tmp_path / "out.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"a4"', b'"a9"'))
    shop.run("verify", "--export", "out.jsonl", code=NOT_RUN)
    shop.run("verify", "--export", "none.jsonl", code=NOT_RUN)


@pytest.mark.requirement("OBS-A5")
def test_prune(shop, tmp_path, tamper) -> None:
    """OBS-A5: each stream has its export; a broken stream isn't pruned, and the code says so."""
    shop.fill()
    shop.fill(3, "tenant:red/blue")
    shop.run("prune", "--export-to", ".", "--reason", "old", code=WRONG_USE)
    shop.run("prune", "--export-to", "nowhere", "--keep-days", "0", "--reason", "old", code=WRONG_USE)
    assert (
        "nothing to remove" in shop.run("prune", "--export-to", ".", "--before", "2020-01-01", "--reason", "x").stdout
    )
    answer = shop.ask("prune", "--export-to", ".", "--keep-days", "0", "--reason", "old", "--by", "op")
    assert [("s", 4), ("tenant:red/blue", 2)] == [(each["stream"], each["entries"]) for each in answer["pruned"]]
    for each in answer["pruned"]:
        shop.run("verify", "--export", each["export"])
    assert 4 == shop.ask("verify")["entries"]
    shop.fill(2)
    tamper("UPDATE audit_entries SET action = 'x' WHERE sequence = 6 AND stream = 's'")
    shop.run("prune", "--export-to", ".", "--keep-days", "0", "--reason", "old", code=TAMPERED)


@pytest.mark.requirement("OBS-A6")
def test_erase(shop) -> None:
    """OBS-A6: the person is gone, an entry says so without the name, and the chain is sound."""
    shop.fill()
    assert "Erased 5 personal fields" in shop.run("erase", "ann", "--reason", "asked for", "--by", "op").stdout
    assert "ann" not in shop.run("list").stdout
    assert "by (erased)" in shop.run("list").stdout
    shop.run("verify")
    assert [] == shop.ask("erase", "ann", "--reason", "again")["erased"]


@pytest.mark.parametrize("database_url", ["psycopg"], indirect=True)
def test_removing_uses_the_role_that_owns_the_tables(shop, postgres_database, monkeypatch) -> None:
    """The role of the application may neither erase nor prune; the command takes DATABASE_MIGRATION_URL."""
    shop.fill()
    monkeypatch.setenv("DATABASE_URL", postgres_database.app_url())
    assert "may this role use it" in shop.run("erase", "ann", "--reason", "x", code=1).output
    monkeypatch.setenv("DATABASE_MIGRATION_URL", postgres_database.owner_url())
    shop.run("erase", "ann", "--reason", "x")
    shop.run("prune", "--export-to", ".", "--keep-days", "0", "--reason", "old")
    shown = shop.run("verify").stdout
    assert "owns the tables" not in shown


def test_the_entries_of_commands_are_log_events(shop, caplog) -> None:
    """An erasure, too, has an anchor outside of the table."""
    caplog.set_level(logging.INFO)
    shop.fill()
    shop.run("erase", "ann", "--reason", "asked for", "--by", "op")
    events = [record.fields for record in caplog.records if getattr(record, "event", "") == "audit entry"]
    assert ("audit.erased", 6) == (events[-1]["action"], events[-1]["sequence"])
