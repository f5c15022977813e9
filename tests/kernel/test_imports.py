"""Tests of bandmaster.kernel.imports."""

import importlib
import itertools
import os.path
import sys

import pytest

from bandmaster.kernel import LifespanBand
from bandmaster.kernel.errors import BandmasterError
from bandmaster.kernel.imports import (
    FailedImport,
    ImportFailure,
    MissingAttribute,
    MissingModule,
    advise_import,
    describe_object,
    import_object,
    split_reference,
)
from bandmaster.kernel.text import list_names

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and returns the module's name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(text):
        name = f"bandmaster_test_import_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    return write


@pytest.mark.parametrize("text", ["a:b", "a.b:c.d"])
def test_a_reference(text):
    """A reference has a module and an attribute, each dotted if need be."""
    assert tuple(text.split(":")) == split_reference(text)


@pytest.mark.parametrize("text", ["", "a", "a:", ":b", "a..b:c", "a:b.", "a:b:c", "a/b.py:c", "a : b"])
def test_text_of_another_form(text):
    """Text that isn't module:attribute is no reference."""
    assert split_reference(text) is None


def test_attributes_of_attributes():
    """A dotted attribute is followed."""
    assert os.path.join is import_object("os", "path.join")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("bandmaster_test_gone", "bandmaster_test_gone"),
        ("bandmaster_test_gone.inner", "bandmaster_test_gone"),
        ("os.inner", "os.inner"),
    ],
)
def test_a_module_that_is_not_there(name, missing):
    """The failure names the module, or the package around it, that isn't there."""
    with pytest.raises(MissingModule) as caught:
        import_object(name, "x")
    assert (missing, f"there is no module {missing!r}") == (caught.value.name, str(caught.value))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    "text",
    ["raise KeyError('x')", "import bandmaster_test_gone", "import sys; sys.exit(3)", "import {name}.inner", "x = ("],
)
def test_a_module_that_fails(module, text, tmp_path):
    """A module that is there and fails isn't taken for a missing one."""
    name = module("")
    (tmp_path / f"{name}.py").write_text(text.format(name=name))
    with pytest.raises(FailedImport) as caught:
        import_object(name, "x")
    assert (name, caught.value.__cause__) == (caught.value.subject, caught.value.error)


@pytest.mark.parametrize("error", ["RuntimeError('late')", "SystemExit(1)"])
def test_a_lazy_export_that_fails(module, error):
    """A module that imports an attribute on first use fails only then."""
    name = module(f"def __getattr__(name):\n    raise {error}\n")
    with pytest.raises(FailedImport) as caught:
        import_object(name, "x")
    assert (f"{name}:x", f"{name}:x can't be imported") == (caught.value.subject, str(caught.value))


@pytest.mark.parametrize("text", ["{}", "def __getattr__(name):\n    {}"])
def test_an_error_of_the_kernel_passes(module, text):
    """An error of the kernel, which names the part at fault, isn't wrapped."""
    name = module(
        "from bandmaster.kernel.errors import PlanError, Problem\n" + text.format("raise PlanError([Problem('no')])")
    )
    with pytest.raises(BandmasterError, match="no"):
        import_object(name, "x")


def test_an_interrupt_passes(module):
    """Ctrl-C during an import interrupts the process."""
    with pytest.raises(KeyboardInterrupt):
        import_object(module("raise KeyboardInterrupt"), "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import bandmaster.contrib.nosuch",
            "No distribution of bandmaster's has bandmaster.contrib.nosuch.",
        ),
        ("import bandmaster_test_gone", ""),
        ("raise ModuleNotFoundError('no name')", ""),
        ("raise ImportError('no', name='bandmaster.contrib.web')", ""),
        ("from bandmaster.kernel import lifespam", "Did you mean 'lifespan'?"),
        ("from bandmaster.kernel import zzzzzz", ""),
        ("import bandmaster.kernel as k; k.lifespam", "Did you mean 'lifespan'?"),
        ("'text'.uper()", "Did you mean 'upper'?"),
        ("raise AttributeError('by hand')", ""),
        (
            "from bandmaster.kernel import LifespanBand\nLifespanBand.SERVICE",
            f"LifespanBand has {list_names(LifespanBand.__members__)}. Did you mean 'SERVICES'?",
        ),
        (
            "from enum import Enum\nclass Colour(Enum):\n    RED = 1\nColour.Purple",
            "Colour has 'RED'.",
        ),
        (
            "class Odd:\n    def __dir__(self):\n        raise OSError\nOdd().name",
            "",
        ),
    ],
)
def test_the_advice_for_an_import_that_fails(module, text, expected):
    """The advice names the distribution of a missing package of bandmaster's, or the name that was probably meant."""
    with pytest.raises(FailedImport) as caught:
        import_object(module(text), "x")
    assert expected == advise_import(caught.value.error)


def test_the_advice_without_a_line_of_code():
    """Where no frame shows the import, the name of the module has to do."""
    assert advise_import(ModuleNotFoundError(name="bandmaster.contrib.web")).startswith("bandmaster.contrib.web comes ")


MEMBERS = """
shop = 1
shopper = "text"
_shap = 2
class Box:
    width = 3
crate = Box()
"""


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("shap", "Did you mean 'shop'?"),
        ("shoper", "Did you mean 'shop'?"),
        ("crat", "Did you mean 'crate'?"),
        ("zzz", "It has 'shop'."),
        ("crate.wdth", "Did you mean 'width'?"),
        ("crate.zzz", ""),
    ],
)
def test_the_attribute_that_was_meant(module, attribute, expected):
    """The nearest attribute that fits is suggested, else the nearest of all, else those that fit."""
    with pytest.raises(MissingAttribute) as caught:
        import_object(module(MEMBERS), attribute)
    assert expected == caught.value.suggest(lambda value: isinstance(value, int))


def test_no_lazy_export_is_imported_for_a_suggestion(module):
    """A suggestion may name a lazy export, without importing it."""
    name = module("def __dir__():\n    return ['lazy']\ndef __getattr__(name):\n    raise AttributeError(name)\n")
    with pytest.raises(ImportFailure) as caught:
        import_object(name, "lasy")
    assert "Did you mean 'lazy'?" == caught.value.suggest(lambda value: True)


class Shop:
    """A class to be described."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (sys, "the module sys"),
        (Shop, "the class Shop"),
        (Shop(), "a Shop"),
        (3, "an int"),
        (split_reference, "the function split_reference(text)"),
        ({}.update, "the function update(…)"),
    ],
)
def test_an_object_is_described_without_its_value(value, expected):
    """An object is described by kind and name; the value may be a secret."""
    assert expected == describe_object(value)
