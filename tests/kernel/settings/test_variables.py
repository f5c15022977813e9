"""Tests of bandmaster.kernel.settings.variables."""

from typing import Annotated

import pytest
from tests.kernel.settings.examples import CaseSensitive, Part

from bandmaster.kernel import KernelSettings
from bandmaster.kernel.settings.variables import find_model, variable_of, variables_of


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        (KernelSettings, "debug", "BANDMASTER_DEBUG"),
        (Part, "size", "TEST_SIZE"),
        (Part, "aliased", "OTHER_NAME"),
        (Part, "chosen", "FIRST_CHOICE"),
        (Part, "placed", "PLACE"),
        (CaseSensitive, "Size", "test_Size"),
        (CaseSensitive, "other", "Other"),
    ],
)
def test_the_variable_of_a_setting(kind, field, expected):
    """The variable is the prefix and the name, or the first alias, in capitals unless case matters."""
    assert expected == variable_of(kind, field)


def test_every_variable_of_a_setting():
    """A field with several aliases has a variable for each."""
    assert ["FIRST_CHOICE", "SECOND", "TEST_CHOSEN"] == variables_of(Part, "chosen")
    assert ["PLACE", "ELSE", "TEST_PLACED"] == variables_of(Part, "placed")


def test_the_model_of_an_annotation():
    """A nested settings type is found below `Annotated`, too."""
    assert CaseSensitive is find_model(Annotated[CaseSensitive, "kept apart"])
    assert None is find_model(CaseSensitive | None)
