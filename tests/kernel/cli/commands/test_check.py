"""Tests of bandmaster.kernel.cli.commands.check."""

import json

import pytest


def test_a_plan_without_problems(sandbox):
    """A plan without problems is one line, with the exit code 0."""
    sandbox.install_data()
    assert "ok: everything installed fits together (3 components, 2 layers)\n" == sandbox.out("check")


def test_all_problems_at_once(sandbox):
    """All problems of a plan are reported at once, with the exit code 1."""
    sandbox.install_data()
    sandbox.setenv(ACME_URL="nonsense", ACME_POOL_SIZE="0")
    assert (
        1,
        (
            "2 problems in the plan:\n"
            "  - ACME_URL is wrong (DataSettings): Input should be a valid URL, relative URL without a base. "
            "DataSettings is read by lifespan 'database' (PERSISTENCE, acme-data 1.2).\n"
            "  - ACME_POOL_SIZE is wrong (DataSettings): Input should be greater than or equal to 1. "
            "DataSettings is read by lifespan 'database' (PERSISTENCE, acme-data 1.2).\n"
        ),
    ) == sandbox.error("check")


def test_warnings_pass_unless_strict(sandbox):
    """Warnings go to standard error; with --strict they make the command fail."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_DISABLE="jbos")
    warning = "warning: 'jbos' is disabled, but no part has that name. Did you mean 'jobs'?\n"
    result = sandbox.run("check")
    assert (0, "ok: everything installed fits together (3 components, 2 layers)\n", warning) == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )
    assert (1, f"{warning}Warnings fail with --strict.\n") == sandbox.error("check", "--strict")


@pytest.mark.requirement("XC-R1")
@pytest.mark.parametrize(
    ("limit", "policy", "code"), [(20, "refuse", 0), (17, "refuse", 0), (14, "warn", 0), (14, "refuse", 1)]
)
def test_budgets_and_their_limits(sandbox, limit, policy, code):
    """Above 80 % of a limit there is a warning, above 100 % a problem unless a setting makes it a warning."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_LIMITS=json.dumps({"postgres": limit}), BANDMASTER_OVER_BUDGET=policy)
    told = json.loads((result := sandbox.run("check", "--format", "json")).stdout)
    about = [text for text in [*told["warnings"], *(p["message"] for p in told["problems"])] if "postgres" in text]
    assert (code, code == 0) == (result.exit_code, told["ok"])
    assert (0 if limit == 20 else 1) == len(about)
    if code:
        assert (
            "1 problem in the plan:\n  - the plan may hold 15 of postgres (15 in one process), 107% of the 14 that "
            "BANDMASTER_LIMITS allows. Lower pool sizes or processes, raise the limit, or set "
            "BANDMASTER_OVER_BUDGET=warn.\n"
        ) == sandbox.run("check").stderr


def test_for_programs(sandbox):
    """The JSON has the counts, the problems and the warnings."""
    sandbox.install_data()
    told = json.loads(sandbox.out("check", "--role", "worker", "--format", "json"))
    assert {
        "format": 1,
        "ok": True,
        "role": "worker",
        "components": 4,
        "layers": 0,
        "problems": [],
        "warnings": [],
        "notes": [],
    } == told
    sandbox.setenv(BANDMASTER_DISABLE="nothing")
    result = sandbox.run("check", "--strict", "--format", "json")
    assert (1, False) == (result.exit_code, json.loads(result.stdout)["ok"])


def test_a_misspelt_target(sandbox):
    """A misspelt target is wrong use, in text and in JSON."""
    sandbox.write("shop.py", "from starlette.applications import Starlette\napp = Starlette()\n")
    assert (2, "module shop has no attribute 'ap'. Did you mean 'app'?\n") == sandbox.error("check", "shop:ap")
    result = sandbox.run("check", "shop:ap", "--format", "json")
    told = json.loads(result.stdout)
    assert (2, "", "TargetError") == (result.exit_code, result.stderr, told["error"])
    assert "trace" not in told


def test_a_target_that_fails(sandbox):
    """An import that fails inside the target is a problem, with file and line."""
    sandbox.write("shop.py", "import reddis\n")
    expected = (
        "shop can't be imported: ModuleNotFoundError: No module named 'reddis'. Install what brings 'reddis', or "
    )
    assert (
        1,
        f"{expected}correct the import.\n  shop.py:1 in <module>\n    import reddis\n",
    ) == sandbox.error("check", "shop:app")
    told = json.loads(sandbox.run("check", "shop:app", "--format", "json").stdout)
    assert ["shop.py:1 in <module>", "  import reddis"] == told["trace"]


def test_another_directory(sandbox):
    """Modules are looked for in --app-dir first."""
    sandbox.write("src/shop.py", "from starlette.applications import Starlette\napp = Starlette()\n")
    assert (2, "There is no module 'shop'. It is in src: pass --app-dir src.\n") == sandbox.error("check", "shop:app")
    assert "ok: shop:app fits" in sandbox.out("check", "shop:app", "--app-dir", "src")


def test_a_directory_that_is_not_there(sandbox):
    """A misspelt directory is wrong use, although the module may be found elsewhere."""
    sandbox.write("shop.py", "from starlette.applications import Starlette\napp = Starlette()\n")
    for directory in ("nowhere", "shop.py"):
        result = sandbox.run("check", "shop:app", "--app-dir", directory)
        assert (2, True) == (result.exit_code, f"{directory} is no directory." in result.stderr)


def test_several_wrong_entry_points(sandbox):
    """Entry points that are empty, wrong or in conflict are all named."""
    sandbox.install(
        "acme-bad", "[bandmaster.lifespan]\nempty =\nnowhere = acme_bad\nodd = acme_bad:thing\nx = acme_bad:x\n"
    )
    sandbox.install("acme-too", "[bandmaster.lifespan]\nx = acme_bad:x\n", version="2", acme_bad="thing = 3\nx = 3\n")
    code, said = sandbox.error("check")
    assert 1 == code
    assert [
        "4 problems with the installed parts:",
        "  - lifespan 'empty' (acme-bad 1.2) is malformed: it has no value; write name = module:attribute",
        (
            "  - lifespan 'nowhere' (acme-bad 1.2) is malformed: 'acme_bad' names a module but nothing in it; write "
            "acme_bad:attribute"
        ),
        (
            "  - lifespan 'x' comes from acme-bad 1.2 and acme-too 2; names are unique within a group. Uninstall "
            "all but one: "
            "to disable 'x' would leave out every one of them."
        ),
        (
            "  - lifespan 'odd' (acme-bad 1.2) can't be loaded: acme_bad:thing is an int, not a LifespanContribution. "
            "Make a LifespanContribution of it and name that. Or switch it off with BANDMASTER_DISABLE=odd or "
            "disable={'odd'}."
        ),
    ] == [line.partition(" (/")[0] for line in said.splitlines()]
