"""Tests of bandmaster.kernel.discovery.entry_points."""

import configparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.discovery.entry_points import Entry, parse, split


def test_reads_only_groups_of_bandmaster():
    """Entries of other groups are passed over, even malformed ones."""
    text = "[console_scripts]\nnonsense\nx = y:z\n\n[bandmaster.lifespan]\naudit = acme.audit:audit\n"
    assert list(parse(text)) == [Entry("bandmaster.lifespan", "audit", "acme.audit:audit", 6)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_and_white_space_are_ignored(newline):
    """Both kinds of comment, empty lines, indentation and spaces around names and values are ignored."""
    lines = ["# a", "; b = c", "", "  [ bandmaster.routes ]  ", "\t# c", "   users   =   acme.users:routes  "]
    assert list(parse(newline.join(lines))) == [Entry("bandmaster.routes", "users", "acme.users:routes", 6)]


def test_a_group_may_be_continued():
    """A group with two headers in a file is one group."""
    text = "[bandmaster.routes]\na = m:a\n[other]\n[bandmaster.routes]\nb = m:b\na = m:c\n"
    entries = list(parse(text))
    assert [(entry.name, entry.fault) for entry in entries] == [
        ("a", ""),
        ("b", ""),
        ("a", "the name is given twice in one group"),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("audit", "it has no value; write name = module:attribute"),
        ("audit =", "it has no value; write name = module:attribute"),
        ("= acme:audit", "there is no name before '=' in '= acme:audit'"),
        ("audit = acme.audit", "'acme.audit' names a module but nothing in it; write acme.audit:attribute"),
        ("audit = not a module!", "'not a module!' isn't of the form module:attribute"),
        ("audit = acme:not an attribute", "'acme:not an attribute' isn't of the form module:attribute"),
        ("audit = :audit", "':audit' isn't of the form module:attribute"),
        ("audit = acme..audit:audit", "'acme..audit:audit' isn't of the form module:attribute"),
    ],
)
def test_malformed_entries_say_what_is_wrong(line, fault):
    """A malformed line is kept, with its fault."""
    (entry,) = parse(f"[bandmaster.lifespan]\n{line}\n")
    assert (entry.line, entry.fault) == (2, fault)


def test_a_header_without_its_bracket_is_a_fault_of_the_file():
    """A broken header is reported, because the lines below belong to no group."""
    (entry,) = parse("[bandmaster.lifespan\naudit = acme:audit\n[broken\nx = y\n")
    assert entry == Entry("", "", "", 1, "'[bandmaster.lifespan' isn't a group in brackets")


def test_an_entry_before_any_group_is_a_fault_of_the_file():
    """A file without a header isn't taken for an empty one."""
    (entry,) = parse("audit = acme:audit\n")
    assert entry == Entry("", "", "", 1, "'audit = acme:audit' stands before any [group]")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("acme.audit:audit", ("acme.audit", "audit")),
        (" acme : a.b [extra, other]", ("acme", "a.b")),
        ("acme", ("acme", "")),
        ("", ("", "")),
    ],
)
def test_split(value, expected):
    """A value has a module and an attribute; extras belong to neither."""
    assert split(value) == expected


_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
_values = st.from_regex(r"[a-z_]{1,5}(\.[a-z_]{1,5}){0,2}:[a-z_]{1,5}", fullmatch=True)


@given(
    st.dictionaries(
        st.sampled_from(["bandmaster.lifespan", "bandmaster.routes", "console_scripts"]),
        st.dictionaries(_names, _values, max_size=4),
    )
)
def test_agrees_with_configparser(groups):
    """From a well-formed file, configparser reads the same entries."""
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items()) + "\n"
        for group, entries in groups.items()
    )
    oracle = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    oracle.optionxform = str
    oracle.read_string(text)
    expected = [
        (group, name, value, "")
        for group in oracle.sections()
        if group.startswith("bandmaster.")
        for name, value in oracle[group].items()
    ]
    assert [(entry.group, entry.name, entry.value, entry.fault) for entry in parse(text)] == expected


@given(st.text())
def test_no_text_is_too_broken(text):
    """No text raises an exception."""
    list(parse(f"[bandmaster.lifespan]\n{text}"))
