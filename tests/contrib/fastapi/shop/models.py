"""The models of requests and responses."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

ISBN = Annotated[str, Field(pattern=r"^97[89]\d{10}$")]


class BookIn(BaseModel):
    isbn: ISBN
    title: str = Field(min_length=1, max_length=200)
    price: Decimal = Field(gt=0, max_digits=8, decimal_places=2)
    published: date | None = None
    stock: int = Field(default=0, ge=0, le=1000)

    @field_validator("title")
    @classmethod
    def no_control_characters(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("has characters that can't be printed")
        return value


class Book(BookIn):
    id: int


class BookRecord(Book):
    purchase_price: Decimal = Decimal(1)
    """Secret: response models leave the field out."""


class Card(BaseModel):
    kind: Literal["card"]
    number: str = Field(min_length=12, max_length=19)


class Invoice(BaseModel):
    kind: Literal["invoice"]
    address: str


class Line(BaseModel):
    isbn: ISBN
    count: int = Field(gt=0, le=10)


class OrderIn(BaseModel):
    lines: list[Line] = Field(min_length=1, max_length=20)
    payment: Annotated[Card | Invoice, Field(discriminator="kind")]


class Order(BaseModel):
    id: int
    customer: str
    lines: list[Line]
    state: Literal["open", "paid"] = "open"


class Credentials(BaseModel):
    user: str
    password: str


class Token(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"
