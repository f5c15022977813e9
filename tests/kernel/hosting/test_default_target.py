"""Tests of bandmaster.kernel.hosting.default_target."""

import os

import pytest

from bandmaster.kernel import TargetError
from bandmaster.kernel.hosting.default_target import resolve_target


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BANDMASTER_APP", raising=False)
    inner = tmp_path / "project" / "deep" / "deeper"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return tmp_path / "project"


def write(folder, text):
    (folder / "pyproject.toml").write_text(text)


def test_a_given_target(folder, monkeypatch):
    """A target that is given has precedence over the environment and the file."""
    monkeypatch.setenv("BANDMASTER_APP", "shop:other")
    write(folder, "[tool.bandmaster]\nnonsense = 1\n")
    assert ("shop:app", "here") == resolve_target("shop:app", "here")


def test_nothing(folder):
    """Without a variable and without a table, the target is everything installed."""
    assert (None, ".") == resolve_target(None)
    write(folder, "[tool.other]\nx = 1\n")
    assert (None, ".") == resolve_target(None)


def test_the_variable(folder, monkeypatch):
    """BANDMASTER_APP has precedence over the file; an empty one counts as unset."""
    write(folder, '[tool.bandmaster]\napp = "shop:app"\n')
    monkeypatch.setenv("BANDMASTER_APP", " office:app ")
    assert ("office:app", ".") == resolve_target(None)
    monkeypatch.setenv("BANDMASTER_APP", "")
    assert ("shop:app", str(folder)) == resolve_target(None)


def test_the_nearest_file_with_a_table(folder):
    """The nearest pyproject.toml with the table counts, and one without is passed over."""
    write(folder, '[tool.bandmaster]\napp = "shop:app"\n')
    write(folder / "deep", '[project]\nname = "mentions-bandmaster"\n')
    assert ("shop:app", str(folder)) == resolve_target(None)
    (folder / "deep" / "deeper" / "src").mkdir()
    write(folder / "deep" / "deeper", '[tool.bandmaster]\napp = "nearer:app"\napp_dir = "src"\n')
    assert ("nearer:app", os.path.join(folder, "deep", "deeper", "src")) == resolve_target(None)
    assert ("nearer:app", "lib") == resolve_target(None, "lib")
    assert ("shop:app", str(folder / "deep")) == resolve_target(None, str(folder / "deep"))


def test_a_table_without_an_application(folder):
    """A table without ``app`` ends the search, as another project's application would be a surprise."""
    write(folder, '[tool.bandmaster]\napp = "shop:app"\n')
    write(folder / "deep", "[tool.bandmaster]\n")
    assert (None, ".") == resolve_target(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[tool.bandmaster]\nap = "x:y"\n',
            "has the key 'ap' in [tool.bandmaster], which no command reads. Did you mean 'app'?",
        ),
        (
            "[tool.bandmaster]\nzzz = 1\n",
            "has the key 'zzz' in [tool.bandmaster], which no command reads. The table may have 'app' and 'app_dir'.",
        ),
        (
            "[tool.bandmaster]\napp = 7\n",
            "has the key 'app' in [tool.bandmaster] with a value that is no text. Write app = ",
        ),
        (
            '[tool]\nbandmaster = "x"\n',
            "has a tool.bandmaster that is no table. Write [tool.bandmaster] on a line of its own.",
        ),
        ('[tool.bandmaster]\napp = "x:y"\napp_dir = "nowhere"\n', "has an app_dir that is no directory: "),
        ("[tool.bandmaster\n", "can't be read: "),
        ('tool = "bandmaster"\n', "has a tool.bandmaster that is no table"),
    ],
)
def test_a_wrong_file(folder, text, expected):
    """A file that can't be used is named with the reason and the remedy."""
    write(folder, text)
    with pytest.raises(TargetError) as caught:
        resolve_target(None)
    assert str(caught.value).startswith(f"{folder / 'pyproject.toml'} {expected}")


def test_a_file_that_is_no_text(folder):
    """A file in another encoding is named."""
    (folder / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TargetError, match=r"pyproject\.toml can't be read: .*codec"):
        resolve_target(None)


def test_a_broken_file_of_other_tools(folder):
    """A broken file that doesn't mention bandmaster ends no command."""
    write(folder, "[tool.other\n")
    assert (None, ".") == resolve_target(None)
