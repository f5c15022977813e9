"""Tests of bandmaster.kernel.cli.commands.lock."""

import json
import sys


def test_write_and_check(sandbox):
    """Directly after locking, --check finds no difference."""
    sandbox.install_data()
    assert "wrote bandmaster.lock: 1 distribution with 9 parts\n" == sandbox.out("lock")
    lock = json.loads((sandbox.work / "bandmaster.lock").read_text())
    assert {"lifespan": ["database", "cache", "jobs"], "middleware": ["trace", "access"]} == lock["order"]
    assert "ok: 1 distribution with 9 parts as bandmaster.lock says\n" == sandbox.out("lock", "--check")


def test_locking_without_settings(sandbox):
    """Locking needs no settings of the application, because an image build has none."""
    sandbox.install_data(url=None)
    sandbox.out("lock")
    sandbox.out("lock", "--check")
    assert 1 == sandbox.run("check").exit_code


def test_a_changed_part_is_not_imported(sandbox):
    """A part that has changed is reported without being imported."""
    sandbox.install_data()
    sandbox.out("lock")
    for name in [name for name in sys.modules if name.startswith("acme")]:
        del sys.modules[name]
    sandbox.install("acme-data", "[bandmaster.lifespan]\nevil = acme_data:evil\n", acme_data="raise SystemExit\n")
    sandbox.install("acme-new", "[bandmaster.lifespan]\nx = acme_new:x\n", "2.0")
    code, said = sandbox.error("lock", "--check")
    lines = said.splitlines()
    assert (1, "What is installed isn't what bandmaster.lock says:") == (code, lines[0])
    assert lines[1].startswith("  ~ acme-data 1.2: other content under the same version, ")
    assert "  ~ acme-data: no longer brings lifespan:cache" in lines
    assert "  ~ acme-data: now brings lifespan:evil" in lines
    assert [
        "  + acme-new 2.0 is installed, but isn't in the lock",
        "If that is what you want to run, look the changes over, then run: bandmaster lock",
    ] == lines[-2:]
    told = json.loads(sandbox.run("lock", "--check", "--format", "json").stdout)
    assert (False, 12) == (told["ok"], len(told["drift"]))


def test_another_order(sandbox):
    """Another order of the same parts is a difference, too."""
    sandbox.install_data()
    sandbox.out("lock", "--file", "web.lock")
    text = (sandbox.work / "web.lock").read_text()
    (sandbox.work / "web.lock").write_text(text.replace('"trace",\n      "access"', '"access",\n      "trace"'))
    code, said = sandbox.error("lock", "--check", "--file", "web.lock")
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


def test_another_policy(sandbox, monkeypatch):
    """The declared reaction to a failed start is locked, and the choice of operators isn't."""
    sandbox.install(
        "acme-cache",
        "[bandmaster.lifespan]\ncache = acme_cache:cache\n",
        acme_cache="""
from bandmaster.kernel import LifespanBand, lifespan

@lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="degrade")
async def cache():
    yield
""",
    )
    sandbox.out("lock")
    path = sandbox.work / "bandmaster.lock"
    assert {"cache": "degrade"} == json.loads(path.read_text())["on_start_failure"]
    monkeypatch.setenv("BANDMASTER_ON_START_FAILURE", "cache=retry")
    sandbox.out("lock", "--check")
    path.write_text(path.read_text().replace('"cache": "degrade"', '"cache": "retry"'))
    code, said = sandbox.error("lock", "--check")
    assert 1 == code
    assert "  ~ cache: on_start_failure retry → degrade\n" in said


def test_no_lock_file(sandbox):
    """Without a lock file the error says how to write one."""
    assert (
        1,
        """\
1 problem with the installed parts:
  - There is no lock file bandmaster.lock. Make one with: bandmaster lock
""",
    ) == sandbox.error("lock", "--check")


def test_a_place_that_cannot_be_written(sandbox):
    """A file that can't be written is an error of one line."""
    assert (1, "nowhere/x.lock can't be written: No such file or directory.\n") == sandbox.error(
        "lock", "--file", "nowhere/x.lock"
    )


def test_a_distribution_without_hashes(sandbox):
    """A distribution without hashes of files is locked by the metadata, with a warning."""
    sandbox.install("acme-one", "[bandmaster.commands]\nx = acme:x\n", record=False)
    warning = "warning: acme-one 1.2 is locked by its metadata alone: it has no RECORD of its files\n"
    for arguments in (["lock"], ["lock", "--check"]):
        result = sandbox.run(*arguments)
        assert (0, warning) == (result.exit_code, result.stderr)


def test_for_programs(sandbox):
    """The JSON has the file and the versions of the distributions."""
    sandbox.install("acme-one", "[bandmaster.commands]\nx = acme:x\n")
    assert {
        "format": 1,
        "ok": True,
        "file": "bandmaster.lock",
        "distributions": {"acme-one": "1.2"},
        "warnings": [],
    } == json.loads(sandbox.out("lock", "--format", "json"))


def test_parts_in_code(sandbox):
    """The order has installed parts only, because code is under version control."""
    sandbox.install_data()
    sandbox.write(
        "shop.py",
        """
        from bandmaster.kernel import MiddlewareBand, create_app, middleware
        @middleware(band=MiddlewareBand.CONTEXT)
        class Own:
            def on_end(self, exchange): ...
        app = create_app(contributions=[Own])
        """,
    )
    sandbox.out("lock", "shop:app")
    lock = json.loads((sandbox.work / "bandmaster.lock").read_text())
    assert ["trace", "access"] == lock["order"]["middleware"]
    sandbox.out("lock", "--check")
    sandbox.out("lock", "shop:app", "--role", "worker")
    lock = json.loads((sandbox.work / "bandmaster.lock").read_text())
    assert ["database", "cache", "jobs", "reports"] == lock["order"]["lifespan"]


def test_locking_anew_while_locked(sandbox):
    """The old lock doesn't prevent a new one; for a target that composes parts the error names the command to run."""
    sandbox.install_data()
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = create_app()\n")
    sandbox.out("lock")
    sandbox.install("acme-new", "[bandmaster.commands]\nx = acme:x\n")
    sandbox.setenv(BANDMASTER_PLUGINS="locked")
    code, said = sandbox.error("lock", "shop:app")
    assert 1 == code
    assert said.endswith(
        "  - shop:app can't be planned. While the old lock refuses it, lock with: BANDMASTER_PLUGINS=auto "
        "bandmaster lock "
        "shop:app\n"
    )
    assert "wrote bandmaster.lock: 2 distributions with 10 parts\n" == sandbox.out("lock")
    assert "ok: shop:app fits together (3 components, 2 layers)\n" == sandbox.out("check", "shop:app")


def test_parts_that_cannot_be_loaded(sandbox):
    """Parts that can't be loaded prevent a lock, because there is no order."""
    sandbox.install("acme-bad", "[bandmaster.lifespan]\nbad = acme_bad:bad\n", acme_bad="import reddis\n")
    sandbox.write("shop.py", "from bandmaster.kernel import create_app\napp = create_app()\n")
    for target in ([], ["shop:app"]):
        code, said = sandbox.error("lock", *target)
        assert (1, True) == (code, "lifespan 'bad' (acme-bad 1.2) can't be loaded" in said)
        assert "While the old lock" not in said


def test_parts_with_conditions(sandbox):
    """The locked order has every part, also those that the settings of an environment leave out."""
    sandbox.install(
        "acme-store",
        """
        [bandmaster.lifespan]
        disk = acme_store:disk
        memory = acme_store:memory
        """,
        acme_store="""
        from collections.abc import AsyncIterator
        from pydantic_settings import BaseSettings
        from bandmaster.kernel import LifespanBand, lifespan
        class StoreSettings(BaseSettings):
            store_on_disk: bool = False
        class Store: ...
        @lifespan(band=LifespanBand.SERVICES, when=lambda: True)
        async def first() -> AsyncIterator[None]: yield
        def on_disk(settings: StoreSettings) -> bool: return settings.store_on_disk
        def in_memory(settings: StoreSettings) -> bool: return not settings.store_on_disk
        @lifespan(band=LifespanBand.SERVICES, when=on_disk)
        async def disk() -> AsyncIterator[Store]: yield Store()
        @lifespan(band=LifespanBand.SERVICES, when=in_memory)
        async def memory() -> AsyncIterator[Store]: yield Store()
        """,
    )
    sandbox.write(
        "shop.py",
        """
        from collections.abc import AsyncIterator
        from bandmaster.kernel import LifespanBand, create_app, lifespan
        def app():
            from acme_store import Store
            @lifespan(band=LifespanBand.APPLICATION)
            async def asks(store: Store) -> AsyncIterator[None]: yield
            return create_app(contributions=[asks])
        """,
    )
    for target in ([], ["shop:app"]):
        sandbox.out("lock", *target)
        lock = json.loads((sandbox.work / "bandmaster.lock").read_text())
        assert (1, ["disk", "memory"]) == (lock["format"], lock["order"]["lifespan"])
        for setting in ("0", "1"):
            sandbox.setenv(STORE_ON_DISK=setting)
            sandbox.out("lock", "--check", *target)
