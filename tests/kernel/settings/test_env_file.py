"""Tests of bandmaster.kernel.settings.env_file."""

import os

import pytest

from bandmaster.kernel import PlanError
from bandmaster.kernel.settings.env_file import FileVariable, read_env_file

SECRET = "hunter2-hunter2"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content):
        (tmp_path / "shop.env").write_bytes(content if isinstance(content, bytes) else content.encode())
        return "shop.env"

    return write


def find_problems(path):
    with pytest.raises(PlanError) as caught:
        read_env_file(path, {})
    return [str(problem) for problem in caught.value.problems]


def test_the_variables_of_a_file_have_lines(write):
    """Comments, blank lines, export and quotes are as in python-dotenv; each variable has the line where it begins."""
    path = write("# shop\n\nA=1\r\n  export B = 'x y'\n\n\nC=\"two\nlines\"\nD=\nE=a # comment\n")
    file = read_env_file(path, {})
    assert {
        "A": FileVariable("1", 3),
        "B": FileVariable("x y", 4),
        "C": FileVariable("two\nlines", 7),
        "D": FileVariable("", 9),
        "E": FileVariable("a", 10),
    } == file.variables
    assert ("shop.env:7", ()) == (file.place("C"), file.warnings)


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(write):
    """Editors on Windows begin a file with one."""
    assert {"A": FileVariable("1", 1)} == read_env_file(write(b"\xef\xbb\xbfA=1\r\n"), {}).variables


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("B=${A}/x", "1/x"),
        ('B="${A} ${HOST}"', "1 here"),
        ("B='${A}'", "${A}"),
        ("B=${MISSING:-else}", "else"),
        ("B=${MISSING:-}", ""),
        ("B=$A", "$A"),
        ("A=2\nB=${A}", "2"),
    ],
)
def test_a_value_may_refer_to_other_variables(write, line, expected):
    """Variables of the process are found before earlier ones of the file; single quotes keep the signs."""
    assert expected == read_env_file(write(f"A=1\n{line}\n"), {"HOST": "here"}).variables["B"].value


def test_the_process_comes_first(write):
    """A reference means the variable that settings would be read from."""
    assert "process" == read_env_file(write("A=1\nB=${A}\n"), {"A": "process"}).variables["B"].value


def test_a_reference_to_nothing_is_refused(write):
    """The name isn't shown, since it may be a piece of a password."""
    (problem,) = find_problems(write(f"A=1\nB=x${{{SECRET}}}\n"))
    assert problem.startswith("shop.env:2: the value of B refers to a variable, as ${NAME}, that is not set.")
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"A=1\n{SECRET}\n", "shop.env:2 can't be read: there is no name of a variable before the '='."),
        ("A=1\n\nPASSWORD\n", "shop.env:3 can't be read: PASSWORD has no '=' and no value."),
        (f"A='{SECRET}\n", "shop.env:1 can't be read: it isn't of the form NAME=value."),
        (f"A=1\nB: {SECRET}\n", "shop.env:2 can't be read: it isn't of the form NAME=value."),
        (f"={SECRET}\n", "shop.env:1 can't be read: it isn't of the form NAME=value."),
        (f"{{{SECRET}}}=1\n", "shop.env:1 can't be read: there is no name of a variable before the '='."),
    ],
)
def test_a_line_that_cannot_be_read_is_named(write, content, expected):
    """The problem names the file and the line, and shows no text that may be a secret."""
    if "hunter2" in expected:
        pytest.fail("an expectation with a secret")
    (problem,) = find_problems(write(content.replace(SECRET, SECRET.replace("-", "/"))))
    assert problem.startswith(expected)
    assert "hunter2" not in problem


def test_all_lines_are_reported_at_once(write):
    """A file with several faults is mended in one go."""
    assert ["shop.env:1", "shop.env:3"] == [
        problem.partition(" ")[0] for problem in find_problems(write("x y\nA=1\nB\n"))
    ]


def test_a_variable_that_is_set_twice(write):
    """The last line counts, and a warning names both."""
    file = read_env_file(write("A=1\nB=2\nA=3\n"), {})
    assert ("3", ("shop.env:3: A is set already on line 1; the last line counts.",)) == (
        file.variables["A"].value,
        file.warnings,
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"A=\xff\xfe"), "it isn't UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, make, reason):
    """The problem names the file and the reason."""
    path = tmp_path / "shop.env"
    make(path)
    (problem,) = find_problems(path)
    assert problem.startswith(f"the env file {path} can't be read: {reason}.")


def test_a_pipe_is_read_once(tmp_path):
    """A shell passes a pipe for ``--env-file <(decrypt shop.env)``."""
    read, write = os.pipe()
    os.write(write, b"A=1\n")
    os.close(write)
    try:
        assert {"A": FileVariable("1", 1)} == read_env_file(f"/dev/fd/{read}", {}).variables
    finally:
        os.close(read)
