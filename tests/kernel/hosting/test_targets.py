"""Tests of bandmaster.kernel.hosting.targets."""

import importlib
import os
import sys
import textwrap

import pytest

from bandmaster.kernel import Application, Kernel, PlanError
from bandmaster.kernel.errors import Problem, TargetError
from bandmaster.kernel.hosting.targets import load, load_application, put_first, split

SHOP = """
import functools
from starlette.applications import Starlette
from bandmaster.kernel import Kernel, LifespanBand, create_app, lifespan
@lifespan(band=LifespanBand.SERVICES)
async def part():
    yield
plain = Starlette()
kernel = Kernel(discover=False)
application = create_app(discover=False)
async def asgi(scope, receive, send): ...
def make(): return plain
def make_named(*, name="shop"): return plain
made = functools.partial(make)
def make_three(): return 3
def make_none(): return None
def make_what(): return make
def fail(): return {}["x"]
def leave(): raise SystemExit("bye")
async def make_async(): ...
def needs(app): ...
number = 3
class Mine:
    async def __call__(self, scope, receive, send): ...
    app = plain
mine = Mine()
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with modules that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for variable in [name for name in os.environ if name.startswith("BANDMASTER_")]:
        monkeypatch.delenv(variable)
    before = set(sys.modules)

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    write("shop_app.py", SHOP)
    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name", ["plain", "kernel", "application", "asgi", "make", "make_named", "made", "mine", "Mine.app", "mine.app"]
)
def test_objects_that_a_target_may_name(work, name):
    """A target names an Application, a Kernel, any ASGI app, or a function that returns one."""
    loaded = load(f"shop_app:{name}")
    module = sys.modules["shop_app"]
    known = [module.plain, module.kernel, module.application, module.asgi, module.mine]
    assert any(loaded is one for one in known)


EXPECTED = "expected an Application, a Kernel, any ASGI app, or a function without arguments that returns one."


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            "shop_app",
            (
                "'shop_app' isn't of the form module:attribute. Write the module as it is imported, a colon, and the "
                "name in it, such as shop_app:app."
            ),
        ),
        (
            "shop.main",
            (
                "'shop.main' isn't of the form module:attribute. Write the module as it is imported, a colon, and the "
                "name in it, such as shop:main or shop.main:app."
            ),
        ),
        (
            "./shop/main.py:web",
            (
                "'./shop/main.py:web' isn't of the form module:attribute. Write the module as it is imported, a colon, "
                "and the name in it, such as shop.main:web."
            ),
        ),
        (
            "",
            (
                "'' isn't of the form module:attribute. Write the module as it is imported, a colon, and the name in "
                "it, such as shop.main:app."
            ),
        ),
        ("shop_app.py:make", "There is no module 'shop_app.py'. A module is named as it is imported: shop_app."),
        ("shop_ap:make", "There is no module 'shop_ap'. Did you mean 'shop_app'?"),
        ("pkg.mian:app", "There is no module 'pkg.mian'. Did you mean 'pkg.main'?"),
        ("pkg.other:app", "There is no module 'pkg.other'. pkg has 'pkg.main' and 'pkg.xyz'."),
        ("shop_app.x:app", "There is no module 'shop_app.x'. shop_app has no modules in it."),
        ("hidden:app", "There is no module 'hidden'. It is in src: pass --app-dir src."),
        ("shop_app:apliction", "module shop_app has no attribute 'apliction'. Did you mean 'application'?"),
        (
            "shop_app:zzz",
            "module shop_app has no attribute 'zzz'. It has 'application', 'kernel', 'mine' and 'plain'.",
        ),
        ("shop_app:number.x", "an int has no attribute 'x'."),
        ("shop_app:make_three", f"shop_app:make_three() returned an int; {EXPECTED}"),
        ("shop_app:make_none", f"shop_app:make_none() returned None; {EXPECTED}"),
        (
            "shop_app:make_what",
            (
                f"shop_app:make_what() returned the function make(); {EXPECTED} A factory takes no arguments; give "
                "them defaults."
            ),
        ),
        (
            "shop_app:make_async",
            (
                f"shop_app:make_async is the function make_async(); {EXPECTED} A factory is a plain function: write "
                "def, not async def."
            ),
        ),
        (
            "shop_app:needs",
            f"shop_app:needs is the function needs(app); {EXPECTED} A factory takes no arguments; give them defaults.",
        ),
        ("shop_app:number", f"shop_app:number is an int; {EXPECTED}"),
        (
            "shop_app:part",
            (
                f"shop_app:part is a LifespanContribution; {EXPECTED} It is a part of an application: name the app, "
                "create_app(contributions=[part])."
            ),
        ),
        (
            "bandmaster.contrib.wbe:app",
            (
                "There is no module 'bandmaster.contrib.wbe'. No distribution of bandmaster's has "
                "bandmaster.contrib.wbe. Did you mean 'web'?"
            ),
        ),
        ("shop_app:functools", f"shop_app:functools is the module functools; {EXPECTED}"),
        (
            "shop_app:Starlette",
            (
                f"shop_app:Starlette is the class Starlette; {EXPECTED} "
                "Name one that you made of it: app = Starlette(...)."
            ),
        ),
    ],
)
def test_misspelt_targets(work, target, expected):
    """A misspelt target is reported with the target that was probably meant."""
    work("pkg/__init__.py", "")
    work("pkg/main.py", "")
    work("pkg/xyz.py", "")
    work("src/hidden.py", "")
    with pytest.raises(TargetError) as caught:
        load(target)
    assert expected == str(caught.value)
    assert caught.value.misspelt
    assert (Problem, ()) == (type(caught.value.problems[0]), caught.value.trace)


def test_a_module_that_is_nowhere(work, tmp_path):
    """The error for an unknown module names the directory that was searched."""
    with pytest.raises(TargetError) as caught:
        load("qqqqq:app")
    assert (
        f"There is no module 'qqqqq'. It was looked for in {tmp_path} and among what is installed; --app-dir names "
        "another directory."
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import reddis.client\n",
            (
                "bad can't be imported: ModuleNotFoundError: No module named 'reddis'. Install what brings 'reddis', "
                "or correct the import.\n  bad.py:1 in <module>\n    import reddis.client"
            ),
        ),
        (
            "import bad.inner\n",
            (
                "bad can't be imported: ModuleNotFoundError: No module named 'bad.inner'; 'bad' is not a package. "
                "Install what brings 'bad', or correct the import.\n  bad.py:1 in <module>\n    import bad.inner"
            ),
        ),
        (
            "import bandmaster.contrib.nosuch\n",
            (
                "bad can't be imported: ModuleNotFoundError: No module named 'bandmaster.contrib.nosuch'. No "
                "distribution of bandmaster's has bandmaster.contrib.nosuch.\n"
                "  bad.py:1 in <module>\n    import bandmaster.contrib.nosuch"
            ),
        ),
        (
            "raise SystemExit(3)\n",
            (
                "bad can't be imported: it calls sys.exit(3) when it is imported.\n"
                "  bad.py:1 in <module>\n    raise SystemExit(3)"
            ),
        ),
        (
            "x = (\n",
            "bad can't be imported: SyntaxError: '(' was never closed (bad.py, line 1).\n  bad.py:1\n    x = (",
        ),
        (
            "def one(): two()\ndef two(): three()\ndef three(): four()\ndef four(): assert False\none()\n",
            (
                "bad can't be imported: AssertionError.\n  bad.py:2 in two\n    def two(): three()\n"
                "  bad.py:3 in three\n    def three(): four()\n  bad.py:4 in four\n    def four(): assert False"
            ),
        ),
        (
            (
                "from bandmaster.kernel import *\n"
                "@lifespan(band=LifespanBand.SERVICES, priority=999)\nasync def a():\n    yield\n"
            ),
            (
                "bad can't be imported: ValueError: priority: 999 lies outside its band. Allowed: SERVICES 300–399 "
                "(bad.py:2).\n"
                "  bad.py:2 in <module>\n    @lifespan(band=LifespanBand.SERVICES, priority=999)"
            ),
        ),
        (
            "def __getattr__(name): raise ValueError('lazy')\n",
            (
                "bad:app can't be imported: ValueError: lazy.\n"
                "  bad.py:1 in __getattr__\n    def __getattr__(name): raise ValueError('lazy')"
            ),
        ),
        (
            "import os\ndef app(): raise OSError('postgres://joe:hunter2@db')\n",
            (
                "bad:app() raised OSError: postgres://joe:**********@db.\n"
                "  bad.py:2 in app\n    def app(): raise OSError('postgres://joe:**********@db')"
            ),
        ),
    ],
)
def test_code_that_fails(work, tmp_path, text, expected):
    """A module that fails isn't reported as missing; the error shows the place."""
    work("bad.py", text)
    with pytest.raises(TargetError) as caught:
        load("bad:app")
    assert expected == str(caught.value).replace(f"{tmp_path}/", "")
    assert not caught.value.misspelt
    assert caught.value.__cause__ is not None


@pytest.mark.requirement("AU-17")
def test_the_input_of_a_validation_is_not_repeated(work):
    """An error doesn't repeat the input that pydantic refused, as pydantic's own text does."""
    work(
        "bad.py",
        "from secretive import given\nfrom pydantic import BaseModel\nclass S(BaseModel):\n    n: int\n\nS(n=given)\n",
    )
    work("secretive.py", "given = 'hunter2'\n")
    with pytest.raises(TargetError) as caught:
        load("bad:app")
    assert str(caught.value).startswith(
        "bad can't be imported: ValidationError: S: n: Input should be a valid integer, unable to parse string as an "
        "integer.\n  bad.py:6 in <module>\n    S(n=given)\n"
    )
    assert "hunter2" not in str(caught.value)


def test_deep_inside_a_library_the_own_step_stays(work, tmp_path):
    """The last step outside of libraries is shown, however deep inside a library the error is."""
    work("site-packages/library.py", "def f(n): return f(n - 1) if n else 1 / 0\n")
    work("mine.py", "import library\nlibrary.f(9)\n")
    sys.path.append(str(tmp_path / "site-packages"))
    with pytest.raises(TargetError) as caught:
        load("mine:app")
    assert ["mine.py:2 in <module>", "site-packages/library.py:1 in f", "site-packages/library.py:1 in f"] == list(
        caught.value.trace[::2]
    )


def test_an_error_of_the_kernel_passes(work):
    """A plan error passes unchanged from an import, from a factory and from a lazy export."""
    work("one.py", "from bandmaster.kernel import PlanError, Problem\nraise PlanError([Problem('no')])\n")
    work("two.py", "from bandmaster.kernel import PlanError, Problem\ndef app(): raise PlanError([Problem('no')])\n")
    work(
        "three.py",
        "from bandmaster.kernel import PlanError, Problem\ndef __getattr__(name): raise PlanError([Problem('no')])\n",
    )
    for module in ("one", "two", "three"):
        with pytest.raises(PlanError, match="no"):
            load(f"{module}:app")


def test_an_object_without_attributes_of_its_own(work):
    """A missing attribute of an object without a ``__dict__`` is reported."""
    work("slim.py", "class Slim:\n    __slots__ = ()\nslim = Slim()\n")
    with pytest.raises(TargetError, match="has no attribute 'app'"):
        load("slim:slim.app")


def test_a_compiled_callable_is_taken_for_an_app(work):
    """A compiled callable without a signature may be an app, and isn't called to find out."""
    work("compiled.py", "app = {}.update\n")
    assert "update" == load("compiled:app").__name__


def test_the_directory_is_put_first_once(work, tmp_path):
    """The directory comes first on ``sys.path``, as with servers, and only once."""
    put_first(".")
    put_first(".")
    assert [str(tmp_path), False] == [sys.path[0], sys.path[1] == str(tmp_path)]
    work("other/deep.py", "app = lambda scope, receive, send: None\n")
    assert callable(load("deep:app", "other") or True)
    assert str(tmp_path / "other") == sys.path[0]


def test_the_application_of_a_target(work, monkeypatch):
    """An Application is returned unchanged, a Kernel gets a host, and another app becomes the host."""
    monkeypatch.setenv("BANDMASTER_PLUGINS", "allowlist")
    application = load_application("shop_app:application")
    module = sys.modules["shop_app"]
    assert application is module.application
    of_kernel = load_application("shop_app:kernel")
    assert (Application, module.kernel) == (type(of_kernel), of_kernel.kernel)
    hosted = load_application("shop_app:plain", role="api")
    assert ("api", True) == (hosted.plan.role, hosted.host is module.plain)
    everything = load_application()
    assert ("web", Kernel) == (everything.plan.role, type(everything.kernel))


def test_an_application_that_fails_while_it_is_composed(work, monkeypatch):
    """A failure while an application is composed names the setting or the place."""
    monkeypatch.setenv("BANDMASTER_PLUGINS", "allowlist")
    monkeypatch.setenv("BANDMASTER_DISTRIBUTION", "no-such-distribution")
    try:
        load_application()
    except TargetError as error:
        assert str(error).startswith("What is installed can't be composed: PackageNotFoundError: ")
    except PlanError as error:
        assert "no-such-distribution" in str(error)


@pytest.mark.parametrize("target", ["a:b", "a.b:c.d"])
def test_the_two_halves(target):
    """A target has a module and an attribute, each dotted if need be."""
    assert tuple(target.split(":")) == split(target)
