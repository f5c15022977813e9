"""Statements without literals: nothing that may be a value survives, and names and parameters do."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandmaster.contrib.tracing.instrumentation.sql_text import (
    describe_statement,
    find_operation,
    find_tables,
    hide_literals,
)

SECRET = "hunter2secret"


@pytest.mark.requirement("OBS-T8")
@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 'hunter2'", "SELECT ?"),
        ("SELECT 'it''s', 'b'", "SELECT ?, ?"),
        (r"SELECT E'it\'s', e'a''b' , 'c\'", "SELECT ?, ? , ?"),
        ("SELECT U&'d\\0061t', B'01', x'ff', N'a'", "SELECT ?, ?, ?, ?"),
        ("SELECT $$a'b$$, $tag$ $$ ' $tag$, $1", "SELECT ?, ?, $1"),
        ("SELECT 1, 2.5, .5, 1e3, 0xFF, 1_000, -7", "SELECT ?, ?, ?, ?, ?, ?, -?"),
        ("SELECT t1.c2, a_3 FROM t1 LIMIT 10", "SELECT t1.c2, a_3 FROM t1 LIMIT ?"),
        ('SELECT "a ""b"" 1" FROM "x"', 'SELECT "a ""b"" 1" FROM "x"'),
        ("SELECT %(id_1)s, :name, $2, ?, a::int", "SELECT %(id_1)s, :name, $2, ?, a::int"),
        ("SELECT 1 -- for hunter2\nFROM t", "SELECT ? FROM t"),
        ("SELECT /* hunter2 /* nested */ 'x' */ 1", "SELECT ?"),
        ("SELECT date'2020-01-01'", "SELECT date?"),
        ("SELECT 'never closed", "SELECT ?"),
        ("SELECT $x$ never closed", "SELECT ?"),
        ("SELECT /* never closed", "SELECT"),
        ("SELECT E'never closed\\", "SELECT ?"),
        ("CREATE ROLE bob PASSWORD 'hunter2'", "CREATE ROLE bob PASSWORD ?"),
        ("INSERT  INTO\n t VALUES\t('a')", "INSERT INTO t VALUES (?)"),
        ("", ""),
        ("§ 7 größe", "§ ? größe"),
    ],
)
def test_literals_are_hidden(sql: str, shown: str) -> None:
    """Strings of every notation, numbers and comments are hidden; names, parameters and casts stay."""
    assert shown == hide_literals(sql)


def _quote(text: str, style: str) -> str:
    if style == "plain":
        return "'" + text.replace("'", "''") + "'"
    if style == "escaped":
        return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if style == "dollar":
        return f"$q${text.replace('$q$', '')}$q$"
    if style == "block":
        return f"/*{text.replace('/*', '').replace('*/', '')}*/"
    return f"--{text.replace(chr(10), ' ')}\n"


STYLES = st.sampled_from(["plain", "escaped", "dollar", "block", "line"])
TEXTS = st.text(alphabet="ab'\"\\$/*-;:%(?) \n1e", max_size=12)
BETWEEN = st.sampled_from([" , ", " FROM t WHERE a = ", ' "name" ', " %(p)s ", " :x ", " ( ", " $1 "])


@pytest.mark.requirement("OBS-T8")
@settings(max_examples=2000)
@given(st.lists(st.tuples(BETWEEN, TEXTS, TEXTS, STYLES), min_size=1, max_size=5))
def test_no_value_survives(parts: list[tuple[str, str, str, str]]) -> None:
    """Whatever stands in strings and comments beside it, a value in any of them is gone."""
    sql = "SELECT " + "".join(
        between + _quote(f"{before}{SECRET}{after}", style) for between, before, after, style in parts
    )
    assert SECRET not in hide_literals(sql)


@given(st.text(alphabet="ab'\"\\$/*-;:%(?) \n1eEuU&x", max_size=60))
def test_any_text_is_accepted_and_stable(sql: str) -> None:
    """No text fails, and a text without literals stays what it is."""
    shown = hide_literals(sql)
    assert shown == hide_literals(shown)
    describe_statement(sql)


@pytest.mark.parametrize(
    "piece", ["'", "''", "E'\\", "$$", "$a$", "/*", "--", '"', "1", "(", "a.", "FROM ", "WITH a AS (", ", a AS", " "]
)
def test_the_time_is_bounded(piece: str) -> None:
    """A long text takes no more than a short one of the characters that are read, whatever it repeats."""
    text = piece * 200_000
    began = time.process_time()
    describe_statement(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("sql", "operation", "tables"),
    [
        ("select * from orders o join shop.customers c on true", "SELECT", ("orders", "shop.customers")),
        ('INSERT INTO "Order" (a) VALUES (?)', "INSERT", ("Order",)),
        ("UPDATE ONLY t SET a = ?", "UPDATE", ("t",)),
        ("DELETE FROM t WHERE a IN (SELECT b FROM u)", "DELETE", ("t", "u")),
        ("WITH a AS (SELECT ? FROM x), b AS (SELECT ?) UPDATE t SET c = ? FROM a", "UPDATE", ("x", "t")),
        ("WITH RECURSIVE r(n) AS (SELECT ?) SELECT * FROM r", "SELECT", ()),
        ("SELECT * FROM generate_series(?, ?)", "SELECT", ()),
        ("SELECT * FROM (SELECT ?) AS s", "SELECT", ()),
        ("CREATE TABLE IF NOT EXISTS t (a int)", "CREATE", ("t",)),
        ("SELECT a FROM t FOR UPDATE SKIP LOCKED", "SELECT", ("t",)),
        ("SELECT a FROM a1, a2 JOIN b ON true JOIN c ON true JOIN d ON true", "SELECT", ("a1", "b", "c")),
        ("(SELECT ?)", "SELECT", ()),
        ("WITH", "WITH", ()),
        ("", "", ()),
    ],
)
def test_operation_and_tables_are_found(sql: str, operation: str, tables: tuple[str, ...]) -> None:
    """The name of a span is made of them: few names, however many statements."""
    assert (operation, tables) == (find_operation(sql), find_tables(sql))


def test_a_summary_is_short() -> None:
    """A name of a span has 255 characters at the most."""
    described = describe_statement(f"SELECT * FROM {'x' * 1000}")
    assert 255 == len(described.summary)
    assert "SELECT" == describe_statement("select 1").summary
