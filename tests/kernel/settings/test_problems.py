"""Tests of bandmaster.kernel.settings.problems."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import KernelSettings, PlanError, Settings
from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.display import describe_settings, read_value
from bandmaster.kernel.settings.environment import Environment, use_environment
from bandmaster.kernel.settings.reading import load_settings, read_settings

SECRET = "hunter2-hunter2"


class Server(BaseModel):
    host: str
    port: int = 1
    password: SecretStr


class Pair(BaseModel):
    first: Server
    second: Server | None = None
    third: Annotated[Server, Field(description="A model with an annotation.")] = Server(
        host="h", password=SecretStr("x")
    )


class Shop(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")

    pair: Pair
    size: int = 1
    code: Literal[1, 2] = 1
    alias: int = Field(1, validation_alias="SHOP_OTHER_NAME")
    table: dict[str, int] = {}


class Json(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="JSON_")

    server: Server


class Together(Settings):
    model_config = SettingsConfigDict(env_prefix="TOGETHER_")

    low: int = 1
    high_limit: int = 0

    @model_validator(mode="after")
    def _check(self) -> "Together":
        if self.low > self.high_limit:
            raise ValueError("low: above high_limit, which is low")
        return self


@pytest.fixture
def find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def find(kind, file="", **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "shop.env").write_text(file, encoding="utf-8")
        return [str(problem) for problem in read_settings([kind], Environment.choose("shop.env"))[1]]

    return find


def name_variables(problems):
    return [problem.partition(" ")[0] for problem in problems]


def test_missing_settings_of_a_model_are_named_by_their_variables(find):
    """A person sets the variables of the model's fields, so the problems name those."""
    assert ["SHOP_PAIR__FIRST__HOST", "SHOP_PAIR__FIRST__PASSWORD"] == name_variables(find(Shop))
    assert ["SHOP_PAIR__FIRST__PASSWORD"] == name_variables(find(Shop, SHOP_PAIR__FIRST__HOST="h"))


def test_a_model_without_variables_of_its_own_is_named_whole(find):
    """Without a delimiter a model is one variable, in JSON."""
    assert ["JSON_SERVER"] == name_variables(find(Json))
    assert ["JSON_SERVER.password"] == name_variables(find(Json, JSON_SERVER='{"host": "h"}'))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("SHOP_SIZE=many", "SHOP_SIZE is wrong (Shop, shop.env:5): Input should be a valid integer"),
        ("shop_size=many", "SHOP_SIZE is wrong (Shop, shop.env:5): Input should be a valid integer"),
        ("SHOP_CODE=3", "SHOP_CODE is wrong (Shop, shop.env:5): Input should be 1 or 2."),
        ("SHOP_OTHER_NAME=x", "SHOP_OTHER_NAME is wrong (Shop, shop.env:5): Input should be a valid integer"),
        ("SHOP_TABLE={", "SHOP_TABLE is wrong (Shop, shop.env:5): it isn't valid JSON."),
        ("SHOP_PAIR__FIRST__PORT=x", "SHOP_PAIR__FIRST__PORT is wrong (Shop, shop.env:5): Input should be"),
    ],
)
def test_a_wrong_value_of_a_file_names_the_line(find, line, expected):
    """The person mends the line, so the problem says which."""
    (problem,) = find(Shop, f"# shop\nSHOP_PAIR__FIRST__HOST=h\n\nSHOP_PAIR__FIRST__PASSWORD={SECRET}\n{line}\n")
    assert problem.startswith(expected)
    assert SECRET not in problem


def test_a_wrong_value_of_the_process_names_no_line(find):
    """The variable of the process hides the line."""
    (problem,) = find(KernelSettings, "BANDMASTER_DEBUG=1\n", BANDMASTER_DEBUG="perhaps")
    assert problem.startswith("BANDMASTER_DEBUG is wrong (KernelSettings): ")


def test_messages_about_several_settings_name_variables(find):
    """A field in a message is named by the variable; an ordinary word stays unchanged."""
    assert ["Together is wrong: TOGETHER_LOW: above TOGETHER_HIGH_LIMIT, which is low."] == find(Together)


def test_a_misspelt_variable_is_named_at_the_missing_one(find):
    """A required variable is missing because its name is misspelt."""

    class Needy(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        address: str

    (problem,) = find(Needy, SHOP_ADRESS="here")
    assert problem.endswith(" SHOP_ADRESS is set: is it misspelt?")


class Mail(BaseSettings):
    """With pydantic-settings' own default for further lines of a file: to refuse them."""

    model_config = SettingsConfigDict(env_prefix="MAIL_", env_file=("first.env", ".env", "missing.env"))

    host: str = ""
    port: int = 25


def test_lines_for_others_in_a_file_of_the_type(find, tmp_path):
    """The file is at fault for no variable of the environment; the problem names its lines and the remedy."""
    (tmp_path / ".env").write_text(f"MAIL_HOST=mx\nBANDMASTER_DEBUG=1\nSHOP_TOKEN={SECRET}\n", encoding="utf-8")
    (problem,) = find(Mail)
    assert problem == (
        "Mail reads .env and refuses what is there for others: BANDMASTER_DEBUG (.env:2), SHOP_TOKEN (.env:3). "
        "Let the model_config of Mail have extra='ignore'."
    )


def test_a_wrong_value_in_a_file_of_the_type(find, tmp_path):
    """The line is named as well, of the file that counts."""
    (tmp_path / "first.env").write_text("MAIL_PORT=25\n", encoding="utf-8")
    (tmp_path / ".env").write_text("\nMAIL_PORT=x\n", encoding="utf-8")
    (problem,) = find(Mail)
    assert problem.startswith("MAIL_PORT is wrong (Mail, .env:2): ")


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path):
    """No settings are read without the file, since a value from elsewhere may be the wrong one."""
    environment = Environment.choose(tmp_path / "missing.env")
    values, problems = read_settings([KernelSettings, Shop], environment)
    assert ({}, 1) == (values, len(problems))
    with pytest.raises(PlanError, match=r"the env file .*missing\.env can't be read: No such file"):
        with use_environment(environment):
            load_settings(KernelSettings)


def test_settings_are_loaded_outside_of_components(monkeypatch):
    """A command reads a type, or raises all problems in one error."""
    monkeypatch.setenv("TOGETHER_HIGH_LIMIT", "2")
    assert 2 == load_settings(Together).high_limit
    monkeypatch.setenv("TOGETHER_LOW", "many")
    with pytest.raises(PlanError, match="TOGETHER_LOW is wrong"):
        load_settings(Together)


def test_a_required_model_is_shown_by_its_fields():
    """Each field has a variable and a value of its own; a model with a default is one value."""
    described = describe_settings(Shop)
    assert {
        "SHOP_PAIR__FIRST__HOST": True,
        "SHOP_PAIR__FIRST__PORT": False,
        "SHOP_PAIR__FIRST__PASSWORD": True,
        "SHOP_PAIR__SECOND": False,
        "SHOP_PAIR__THIRD": False,
    } == {one.variable: one.required for one in described if one.variable.startswith("SHOP_PAIR")}
    shop = Shop(pair=Pair(first=Server(host="here", password=SecretStr(SECRET))))
    assert ["here", "1", MASK] == [read_value(shop, one.path) for one in described[:3]]
