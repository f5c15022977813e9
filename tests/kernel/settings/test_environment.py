"""Tests of bandmaster.kernel.settings.environment."""

from pathlib import Path

import pytest

from bandmaster.kernel.settings.environment import (
    Environment,
    current_environment,
    use_command_line_file,
    use_environment,
)


@pytest.fixture(autouse=True)
def _work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BANDMASTER_ENV_FILE", raising=False)
    for name in ("code", "command", "variable"):
        Path(f"{name}.env").write_text(f"SHOP_PLACE={name}\n", encoding="utf-8")


def read_place(environment):
    return environment.file.variables["SHOP_PLACE"].value if environment.file else None


def test_no_file_unless_one_is_named():
    """A file called .env is read only if somebody names it."""
    Path(".env").write_text("SHOP_PLACE=hidden\n", encoding="utf-8")
    assert None is read_place(current_environment())


def test_which_file_counts(monkeypatch):
    """The command line has precedence over the code, and the code over the variable."""
    monkeypatch.setenv("BANDMASTER_ENV_FILE", "variable.env")
    assert "variable" == read_place(current_environment())
    assert "code" == read_place(Environment.choose("code.env"))
    with use_command_line_file("command.env"):
        assert "command" == read_place(current_environment())
        assert "command" == read_place(Environment.choose("code.env"))
    assert "variable" == read_place(current_environment())


def test_an_environment_in_use():
    """Every reader within the block has the same file, unless the code names another."""
    with use_environment(Environment.choose("code.env")):
        assert "code" == read_place(current_environment())
        assert "variable" == read_place(Environment.choose(Path("variable.env")))


def test_an_empty_variable_names_no_file(monkeypatch):
    """docker compose passes an empty text for a variable that isn't set."""
    monkeypatch.setenv("BANDMASTER_ENV_FILE", "")
    assert None is read_place(current_environment())


def test_the_directory_may_change(monkeypatch, tmp_path):
    """A relative path means the directory in which the file was named; messages show the path as it was given."""
    (tmp_path / "below").mkdir()
    environment = Environment.choose("code.env")
    monkeypatch.chdir(tmp_path / "below")
    assert ("code", "code.env:1") == (read_place(environment), environment.find_place("SHOP_PLACE"))


def test_a_file_must_be_a_path():
    """Any other argument is refused."""
    with pytest.raises(ValueError, match="env_file: expected the path of a file, got 3"):
        Environment.choose(3)


def test_the_place_of_a_variable(monkeypatch):
    """A variable of the process has no place, in upper or lower case unless the case matters."""
    environment = Environment.choose("code.env")
    assert ("code.env:1", "") == (environment.find_place("shop_place"), environment.find_place("OTHER"))
    monkeypatch.setenv("shop_place", "process")
    assert "" == environment.find_place("SHOP_PLACE")
    assert "code.env:1" == environment.find_place("SHOP_PLACE", case_sensitive=True)
    assert (True, False) == (environment.has("Shop_Place"), environment.has("Shop_Place", case_sensitive=True))
    assert {"SHOP_PLACE", "shop_place"} <= set(environment.names)
