"""Tests of bandmaster.kernel.cli.commands.plugins."""

import json
import sys

import pytest


def test_where_everything_comes_from(house):
    """Every entry point by distribution, without importing any."""
    house.install_data()
    house.install("acme-tools", "[bandmaster.commands]\nhello = acme_tools:hello\n", "0.3", acme_tools="1 / 0\n")
    assert f"""\
10 parts installed  10 to be loaded, with plugins=auto

acme-data 1.2  in {house.site}
  lifespan cache = acme_data:cache
  lifespan database = acme_data:database
  lifespan jobs = acme_data:jobs
  lifespan reports = acme_data:reports
  middleware access = acme_data:Access
  middleware trace = acme_data:Trace
  route orders = acme_data:orders
  error handler conflict = acme_data:conflict
  error handler gone = acme_data:gone

acme-tools 0.3  in {house.site}
  command hello = acme_tools:hello
""" == house.out("plugins")
    assert not {"acme_data", "acme_tools"} & set(sys.modules)


def test_why_parts_are_left_out(house):
    """Disabled, not allowed, hidden by a command of the kernel's own, malformed, or of a taken name."""
    house.install_data()
    house.install("acme-bad", "[bandmaster.lifespan]\nempty =\n[bandmaster.commands]\nplan = acme_bad:plan\n")
    house.setenv(BANDMASTER_DISABLE="empty")
    shown = house.out("plugins")
    assert "  lifespan empty =   left out: it is disabled\n" in shown
    assert "  command plan = acme_bad:plan  left out: the kernel itself has a command of that name\n" in shown
    house.setenv(BANDMASTER_PLUGINS="allowlist", BANDMASTER_ALLOW="acme-bad", BANDMASTER_DISABLE="")
    result = house.run("plugins")
    assert 1 == result.exit_code
    assert "  lifespan cache = acme_data:cache  left out: acme-data isn't in the allowlist\n" in result.stdout
    assert "11 parts installed  0 to be loaded, with plugins=allowlist\n" in result.stdout
    assert "\nProblems\n  lifespan 'empty' (acme-bad 1.2) is malformed" in result.stdout


def test_two_of_one_name(house):
    """Both are left out, and the problem is told."""
    for name in ("acme-one", "acme-two"):
        house.install(name, "[bandmaster.lifespan]\nx = acme:x\n")
    result = house.run("plugins")
    assert 1 == result.exit_code
    assert 2 == result.stdout.count(
        "  lifespan x = acme:x  left out: another distribution has the same name in that group\n"
    )
    told = json.loads(house.run("plugins", "--format", "json").stdout)
    assert ["x"] == [problem["subject"] for problem in told["problems"]]


def test_nothing_installed(house):
    """It says what to do about it."""
    assert "0 parts installed  install a distribution that brings some, such as bandmaster-web\n" == house.out(
        "plugins"
    )


def test_one_part(house):
    """One is one."""
    house.install("acme-one", "[bandmaster.lifespan]\nx = acme:x\n")
    assert house.out("plugins").startswith("1 part installed  1 to be loaded, with plugins=auto\n")


def test_for_programs(house):
    """Each part with its verdict."""
    house.install("acme-one", "[bandmaster.lifespan]\nx = acme:x\n")
    house.setenv(BANDMASTER_DISABLE="x,y")
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
                "location": str(house.site / "acme_one-1.2.dist-info"),
                "admitted": False,
                "reason": "it is disabled",
            }
        ],
        "problems": [],
        "warnings": ["'y' is disabled, but no part has that name."],
    } == json.loads(house.out("plugins", "--format", "json"))


def test_files_are_held_against_their_hashes(house):
    """--files reads every file of every distribution that brings parts."""
    house.install_data()
    assert house.out("plugins", "--files").endswith("\n\nno file has changed since it was installed\n")
    (house.site / "acme_data.py").write_text("print('hello')\n")
    result = house.run("plugins", "--files")
    assert 1 == result.exit_code
    changed = "acme-data 1.2: acme_data.py was changed after it was installed"
    assert f"\nFiles that have changed since they were installed\n  {changed}\n" in result.stdout
    told = json.loads(house.run("plugins", "--files", "--format", "json").stdout)
    assert [changed] == told["files"]


def test_locked(house):
    """Without a lock file, or after a change, nothing is to be loaded."""
    house.install_data()
    house.setenv(BANDMASTER_PLUGINS="locked")
    result = house.run("plugins")
    assert (1, True) == (
        result.exit_code,
        "There is no lock file bandmaster.lock. Make one with: bandmaster lock" in result.stdout,
    )
    house.out("lock")
    assert "9 parts installed  9 to be loaded, with plugins=locked\n" in house.out("plugins")
    house.install("acme-new", "[bandmaster.lifespan]\nx = acme:x\n")
    result = house.run("plugins")
    assert "lifespan x = acme:x  left out: what is installed isn't what is locked\n" in result.stdout
    assert "10 parts installed  0 to be loaded, with plugins=locked\n" in result.stdout


def test_wrong_settings(house):
    """The find_reasons_not_loaded depend on the kernel's settings, so those must be right."""
    house.setenv(BANDMASTER_PLUGINS="none")
    assert (
        1,
        (
            "1 problem in the plan:\n  - BANDMASTER_PLUGINS is wrong (KernelSettings): Input should be 'auto', "
            "'allowlist' or "
            "'locked'.\n"
        ),
    ) == house.error("plugins")


@pytest.mark.parametrize("directory", [".", "vendored"])
def test_another_directory(house, directory):
    """--app-dir is looked through first, as it is when the application is composed."""
    info = house.work / directory / "acme_here-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: acme-here\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bandmaster.lifespan]\nx = acme:x\n")
    assert f"\nacme-here 1  in {house.work / directory}\n" in house.out("plugins", "--app-dir", directory)
