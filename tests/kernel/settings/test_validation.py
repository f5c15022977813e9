"""Tests of bandmaster.kernel.settings.validation."""

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.validation import InvalidValue, invalid_values, validation_messages

SECRET = "hunter2"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Color(Enum):
    RED = "scarlet"


class Model(BaseModel):
    code: Literal[1001, 1012] = 1001
    color: Color = Color.RED
    port: int = Field(default=1, lt=65536)
    pets: list[Cat] = []
    pet: Cat | Dog | None = Field(default=None, discriminator="kind")
    word: str = ""
    odd: str = ""
    missing: int

    @field_validator("word")
    @classmethod
    def _check_word(cls, word: str) -> str:
        raise ValueError(f"no {word}.")

    @field_validator("odd")
    @classmethod
    def _check_odd(cls, word: str) -> str:
        raise PydanticCustomError("odd", "{word} is odd", {"word": word})  # type: ignore[arg-type]


class Whole(BaseModel):
    password: str = ""
    user: str = ""

    @model_validator(mode="before")
    @classmethod
    def _check(cls, values: Any) -> Any:
        raise ValueError(f"odd: {values}")


def fail(kind, **values):
    with pytest.raises(ValidationError) as caught:
        kind(**values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"code": "1012"}, "code: Input should be 1001 or 1012"),
        ({"color": "scarle"}, "color: Input should be 'scarlet'"),
        ({"port": 65536}, "port: Input should be less than 65536"),
        ({"pets": [{"kind": SECRET}]}, "pets.0.kind: Input should be 'cat'"),
        ({"word": SECRET}, f"word: no {MASK}"),
        ({"odd": SECRET}, f"odd: {MASK} is odd"),
    ],
)
def test_messages_show_what_is_allowed_and_not_what_was_given(values, expected):
    """pydantic's constants stay, although an input may equal one; a validator's quote of the input is masked."""
    assert [expected] == validation_messages(fail(Model, missing=1, **values))


def test_a_tag_is_not_shown():
    """pydantic's message repeats the tag of a union, which is masked."""
    (message,) = validation_messages(fail(Model, missing=1, pet={"kind": SECRET}))
    assert message.startswith(f"pet: Input tag '{MASK}' found")


def test_a_message_about_a_whole_hides_its_secrets():
    """Members are hidden by their names or by the caller's rule; short texts stay readable."""
    error = fail(Whole, password=SECRET, user="shopper")
    assert [f"odd: {{'password': '{MASK}', 'user': 'shopper'}}"] == validation_messages(error)
    (value,) = invalid_values(error, lambda name, _: name == "user")
    assert InvalidValue((), f"odd: {{'password': '{SECRET}', 'user': '{MASK}'}}", missing=False) == value


def test_the_caller_names_the_location():
    """A location is rendered as an option or a variable."""
    assert ["--missing: Field required"] == validation_messages(fail(Model), lambda location: f"--{location[0]}")
    assert [True] == [value.missing for value in invalid_values(fail(Model))]
