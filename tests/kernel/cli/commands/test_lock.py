"""Tests of bandmaster.kernel.cli.commands.lock."""

import json
import sys


def test_write_and_check(house):
    """What was just locked is as locked."""
    house.install_data()
    assert "wrote bandmaster.lock: 1 distribution with 9 parts\n" == house.out("lock")
    lock = json.loads((house.work / "bandmaster.lock").read_text())
    assert {"lifespan": ["database", "cache", "jobs"], "middleware": ["trace", "access"]} == lock["order"]
    assert "ok: 1 distribution with 9 parts as bandmaster.lock says\n" == house.out("lock", "--check")


def test_it_needs_no_settings(house):
    """A build locks without what the application is set to at run time."""
    house.install_data(url=None)
    house.out("lock")
    house.out("lock", "--check")
    assert 1 == house.run("check").exit_code


def test_a_change_is_told_without_importing(house):
    """Code that isn't what was locked isn't run in order to say so."""
    house.install_data()
    house.out("lock")
    for name in [name for name in sys.modules if name.startswith("acme")]:
        del sys.modules[name]
    house.install("acme-data", "[bandmaster.lifespan]\nevil = acme_data:evil\n", acme_data="raise SystemExit\n")
    house.install("acme-new", "[bandmaster.lifespan]\nx = acme_new:x\n", "2.0")
    code, said = house.error("lock", "--check")
    lines = said.splitlines()
    assert (1, "What is installed isn't what bandmaster.lock says:") == (code, lines[0])
    assert lines[1].startswith("  ~ acme-data 1.2: other content under the same version, ")
    assert "  ~ acme-data: no longer brings lifespan:cache" in lines
    assert "  ~ acme-data: now brings lifespan:evil" in lines
    assert [
        "  + acme-new 2.0 is installed, but isn't in the lock",
        "If that is what you want to run, look the changes over, then run: bandmaster lock",
    ] == lines[-2:]
    told = json.loads(house.run("lock", "--check", "--format", "json").stdout)
    assert (False, 12) == (told["ok"], len(told["drift"]))


def test_another_order(house):
    """The same parts in another order are a difference as well."""
    house.install_data()
    house.out("lock", "--file", "web.lock")
    text = (house.work / "web.lock").read_text()
    (house.work / "web.lock").write_text(text.replace('"trace",\n      "access"', '"access",\n      "trace"'))
    code, said = house.error("lock", "--check", "--file", "web.lock")
    assert (
        1,
        """\
What is installed isn't what web.lock says:
  ~ order of middleware:
      …
      +trace
       access
      -trace
If that is what you want to run, look the changes over, then run: bandmaster lock
""",
    ) == (code, said)


def test_no_lock_file(house):
    """It says how to get one."""
    assert (
        1,
        """\
1 problem with the installed parts:
  - There is no lock file bandmaster.lock. Make one with: bandmaster lock
""",
    ) == house.error("lock", "--check")


def test_a_place_that_cannot_be_written(house):
    """The reason in a line."""
    assert (1, "nowhere/x.lock can't be written: No such file or directory.\n") == house.error(
        "lock", "--file", "nowhere/x.lock"
    )


def test_what_the_lock_cannot_vouch_for(house):
    """A distribution without hashes of its files is locked by its metadata, with a warning."""
    house.install("acme-one", "[bandmaster.commands]\nx = acme:x\n", record=False)
    warning = "warning: acme-one 1.2 is locked by its metadata alone: it has no RECORD of its files\n"
    for arguments in (["lock"], ["lock", "--check"]):
        result = house.run(*arguments)
        assert (0, warning) == (result.exit_code, result.stderr)


def test_for_programs(house):
    """What was written."""
    house.install("acme-one", "[bandmaster.commands]\nx = acme:x\n")
    assert {
        "format": 1,
        "ok": True,
        "file": "bandmaster.lock",
        "distributions": {"acme-one": "1.2"},
        "warnings": [],
    } == json.loads(house.out("lock", "--format", "json"))


def test_what_is_in_code_is_not_in_the_lock(house):
    """The order names installed parts only; the rest is under version control."""
    house.install_data()
    house.write(
        "shop.py",
        """
        from bandmaster.kernel import MiddlewareBand, create_app, middleware
        @middleware(band=MiddlewareBand.CONTEXT)
        class Own:
            def on_end(self, exchange): ...
        app = create_app(contributions=[Own])
        """,
    )
    house.out("lock", "shop:app")
    lock = json.loads((house.work / "bandmaster.lock").read_text())
    assert ["trace", "access"] == lock["order"]["middleware"]
    house.out("lock", "--check")
    house.out("lock", "shop:app", "--role", "worker")
    lock = json.loads((house.work / "bandmaster.lock").read_text())
    assert ["database", "cache", "jobs", "reports"] == lock["order"]["lifespan"]


def test_locking_anew_while_locked(house):
    """The old lock doesn't stand in the way of a new one; an app that composes itself needs telling."""
    house.install_data()
    house.write("shop.py", "from bandmaster.kernel import create_app\napp = create_app()\n")
    house.out("lock")
    house.install("acme-new", "[bandmaster.commands]\nx = acme:x\n")
    house.setenv(BANDMASTER_PLUGINS="locked")
    code, said = house.error("lock", "shop:app")
    assert 1 == code
    assert said.endswith(
        "  - shop:app can't be planned. While the old lock refuses it, lock with: BANDMASTER_PLUGINS=auto "
        "bandmaster lock "
        "shop:app\n"
    )
    assert "wrote bandmaster.lock: 2 distributions with 10 parts\n" == house.out("lock")
    assert "ok: shop:app fits together (3 components, 2 layers)\n" == house.out("check", "shop:app")


def test_parts_that_cannot_be_loaded(house):
    """Without a plan there is no order."""
    house.install("acme-bad", "[bandmaster.lifespan]\nbad = acme_bad:bad\n", acme_bad="import reddis\n")
    house.write("shop.py", "from bandmaster.kernel import create_app\napp = create_app()\n")
    for target in ([], ["shop:app"]):
        code, said = house.error("lock", *target)
        assert (1, True) == (code, "lifespan 'bad' (acme-bad 1.2) can't be loaded" in said)
        assert "While the old lock" not in said
