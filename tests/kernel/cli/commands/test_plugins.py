"""Tests of bandmaster.kernel.cli.commands.plugins."""

import json
import sys

import pytest


def test_every_part_by_distribution(sandbox):
    """Every entry point is listed by distribution, without importing any."""
    sandbox.install_data()
    sandbox.install("acme-tools", "[bandmaster.commands]\nhello = acme_tools:hello\n", "0.3", acme_tools="1 / 0\n")
    assert f"""\
10 parts installed  10 to be loaded, with plugins=auto

acme-data 1.2  in {sandbox.site}
  lifespan cache = acme_data:cache
  lifespan database = acme_data:database
  lifespan jobs = acme_data:jobs
  lifespan reports = acme_data:reports
  middleware access = acme_data:Access
  middleware trace = acme_data:Trace
  route orders = acme_data:orders
  error handler conflict = acme_data:conflict
  error handler gone = acme_data:gone

acme-tools 0.3  in {sandbox.site}
  command hello = acme_tools:hello
""" == sandbox.out("plugins")
    assert not {"acme_data", "acme_tools"} & set(sys.modules)


def test_reasons_not_to_load_a_part(sandbox):
    """A part is left out if it is disabled, not allowed, malformed, or named like another part or command."""
    sandbox.install_data()
    sandbox.install("acme-bad", "[bandmaster.lifespan]\nempty =\n[bandmaster.commands]\nplan = acme_bad:plan\n")
    sandbox.setenv(BANDMASTER_DISABLE="empty")
    shown = sandbox.out("plugins")
    assert "  lifespan empty =   left out: it is disabled\n" in shown
    assert "  command plan = acme_bad:plan  left out: the kernel itself has a command of that name\n" in shown
    sandbox.setenv(BANDMASTER_PLUGINS="allowlist", BANDMASTER_ALLOW="acme-bad", BANDMASTER_DISABLE="")
    result = sandbox.run("plugins")
    assert 1 == result.exit_code
    assert "  lifespan cache = acme_data:cache  left out: acme-data isn't in the allowlist\n" in result.stdout
    assert "11 parts installed  0 to be loaded, with plugins=allowlist\n" in result.stdout
    assert "\nProblems\n  lifespan 'empty' (acme-bad 1.2) is malformed" in result.stdout


def test_two_of_one_name(sandbox):
    """Two parts of one name are both left out, with a problem."""
    for name in ("acme-one", "acme-two"):
        sandbox.install(name, "[bandmaster.lifespan]\nx = acme:x\n")
    result = sandbox.run("plugins")
    assert 1 == result.exit_code
    assert 2 == result.stdout.count(
        "  lifespan x = acme:x  left out: another distribution has the same name in that group\n"
    )
    told = json.loads(sandbox.run("plugins", "--format", "json").stdout)
    assert ["x"] == [problem["subject"] for problem in told["problems"]]


def test_nothing_installed(sandbox):
    """Without parts the answer says what to install."""
    assert "0 parts installed  install a distribution that brings some, such as bandmaster-web\n" == sandbox.out(
        "plugins"
    )


def test_one_part(sandbox):
    """One part is counted in the singular."""
    sandbox.install("acme-one", "[bandmaster.lifespan]\nx = acme:x\n")
    assert sandbox.out("plugins").startswith("1 part installed  1 to be loaded, with plugins=auto\n")


def test_for_programs(sandbox):
    """The JSON has each part with the reason not to load it."""
    sandbox.install("acme-one", "[bandmaster.lifespan]\nx = acme:x\n")
    sandbox.setenv(BANDMASTER_DISABLE="x,y")
    assert {
        "format": 1,
        "mode": "auto",
        "parts": [
            {
                "group": "bandmaster.lifespan",
                "name": "x",
                "value": "acme:x",
                "distribution": "acme-one",
                "version": "1.2",
                "location": str(sandbox.site / "acme_one-1.2.dist-info"),
                "admitted": False,
                "reason": "it is disabled",
            }
        ],
        "problems": [],
        "warnings": ["'y' is disabled, but no part has that name."],
    } == json.loads(sandbox.out("plugins", "--format", "json"))


def test_files_are_compared_with_their_hashes(sandbox):
    """--files reads every file of every distribution that brings parts."""
    sandbox.install_data()
    assert sandbox.out("plugins", "--files").endswith("\n\nno file has changed since it was installed\n")
    (sandbox.site / "acme_data.py").write_text("print('hello')\n")
    result = sandbox.run("plugins", "--files")
    assert 1 == result.exit_code
    changed = "acme-data 1.2: acme_data.py was changed after it was installed"
    assert f"\nFiles that have changed since they were installed\n  {changed}\n" in result.stdout
    told = json.loads(sandbox.run("plugins", "--files", "--format", "json").stdout)
    assert [changed] == told["files"]


def test_locked(sandbox):
    """Without a lock file, or after a change, no part is to be loaded."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_PLUGINS="locked")
    result = sandbox.run("plugins")
    assert (1, True) == (
        result.exit_code,
        "There is no lock file bandmaster.lock. Make one with: bandmaster lock" in result.stdout,
    )
    sandbox.out("lock")
    assert "9 parts installed  9 to be loaded, with plugins=locked\n" in sandbox.out("plugins")
    sandbox.install("acme-new", "[bandmaster.lifespan]\nx = acme:x\n")
    result = sandbox.run("plugins")
    assert "lifespan x = acme:x  left out: what is installed isn't what is locked\n" in result.stdout
    assert "10 parts installed  0 to be loaded, with plugins=locked\n" in result.stdout


def test_wrong_settings(sandbox):
    """Invalid settings of the kernel are an error, because they decide which parts are loaded."""
    sandbox.setenv(BANDMASTER_PLUGINS="none")
    assert (
        1,
        (
            "1 problem in the plan:\n  - BANDMASTER_PLUGINS is wrong (KernelSettings): Input should be 'auto', "
            "'allowlist' or "
            "'locked'.\n"
        ),
    ) == sandbox.error("plugins")


@pytest.mark.parametrize("directory", [".", "vendored"])
def test_another_directory(sandbox, directory):
    """Distributions in --app-dir come first."""
    info = sandbox.work / directory / "acme_here-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: acme-here\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bandmaster.lifespan]\nx = acme:x\n")
    assert f"\nacme-here 1  in {sandbox.work / directory}\n" in sandbox.out("plugins", "--app-dir", directory)
