"""The text of a statement without literals and comments, and its summary. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_READ = 20_000
"""The most characters of a statement that are read."""
_MOST_TABLES = 3

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<block> /\* )
    | (?P<dollar> \$(?:[^\W\d]\w*)?\$ )
    | (?P<escaped> [eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\\?\Z) )
    | (?P<string> (?:[uU]&|[bBxXnN])?'[^']*(?:''[^']*)*(?:'|\Z) )
    | (?P<kept> "[^"]*(?:""[^"]*)*(?:"|\Z) | `[^`]*(?:`|\Z) | %\(\w+\)s | \$\d+ | :: | :\w+ | [^\W\d][\w$]* )
    | (?P<number> 0[xXoObB][\da-fA-F_]+ | \d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)? | \.\d[\d_]*(?:[eE][+-]?\d+)? )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[^\W\d]\w*")
_NAME = r'(?:"[^"]+"|[^\W\d][\w$]*)'
_MAIN = re.compile(r"[()]|\b(?:SELECT|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_TABLE = re.compile(
    rf"""
      # A name before a bracket is a function here, and a table with its columns below.
      \b(?:FROM|JOIN)\s+(?:ONLY\s+)?((?>{_NAME}(?:\.{_NAME})*))(?!\s*\()
    | \b(?:INTO|UPDATE|TABLE)\s+(?>(?:ONLY|IF\s+NOT\s+EXISTS|IF\s+EXISTS)\s+)?({_NAME}(?:\.{_NAME})*)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CTE = re.compile(rf"(?:\bWITH\s+(?:RECURSIVE\s+)?|,\s*)({_NAME})\s*(?:\([^()]*\)\s*)?AS\b", re.IGNORECASE)
_NO_TABLES = frozenset(("SELECT", "LATERAL", "UNNEST", "VALUES", "SET", "NOWAIT", "SKIP"))


@dataclass(frozen=True, slots=True)
class Statement:
    """The description of a statement for its span."""

    text: str
    """The statement with ``?`` in place of every literal, and without comments."""
    operation: str
    """The first word in capitals, such as ``SELECT``; of a statement with CTEs, its main word."""
    tables: tuple[str, ...]
    """The first tables that the statement names."""

    @property
    def summary(self) -> str:
        """The operation and the tables, such as ``SELECT orders customers``: few values, however many statements."""
        return " ".join((self.operation, *self.tables))[:255]


def describe_statement(sql: str) -> Statement:
    """Describe a statement. The time is linear in the length, of which 20 000 characters are read."""
    return _describe(sql) if len(sql) <= 4096 else _describe.__wrapped__(sql)


@lru_cache(maxsize=512)
def _describe(sql: str) -> Statement:
    text = hide_literals(sql)
    operation = find_operation(text)
    return Statement(text, operation, find_tables(text))


def hide_literals(sql: str) -> str:
    """The statement with ``?`` in place of every string and number, and without comments, which may hold values too.

    Names in double quotes and parameters stay. An unclosed quote makes the rest a literal.

    >>> hide_literals("SELECT * FROM t1 WHERE a = 'it''s' AND b IN (1, 2.5) -- for 42")
    'SELECT * FROM t1 WHERE a = ? AND b IN (?, ?)'
    """
    sql = sql[:_READ]
    parts: list[str] = []
    at = 0
    while (found := _TOKEN.search(sql, at)) is not None:
        parts.append(sql[at : found.start()])
        at = found.end()
        match found.lastgroup:
            case "kept":
                parts.append(found[0])
            case "comment":
                parts.append(" ")
            case "block":
                parts.append(" ")
                at = _find_comment_end(sql, at)
            case "dollar":
                end = sql.find(found[0], at)
                at = len(sql) if end < 0 else end + len(found[0])
                parts.append("?")
            case _:
                parts.append("?")
    parts.append(sql[at:])
    return " ".join("".join(parts).split())


def find_operation(text: str) -> str:
    """The word for the effect of a statement, in capitals; empty for a text without words.

    >>> find_operation("WITH a AS (SELECT 1) UPDATE t SET x = 1")
    'UPDATE'
    """
    first = _WORD.search(text)
    if first is None:
        return ""
    if first[0].upper() != "WITH":
        return first[0].upper()[:40]
    depth = 0
    for found in _MAIN.finditer(text):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            depth -= 1
        elif depth == 0:
            return found[0].upper()
    return "WITH"


def find_tables(text: str) -> tuple[str, ...]:
    """The first tables that a statement without literals names, without its CTEs.

    >>> find_tables('SELECT * FROM shop.orders JOIN "Customer" ON true')
    ('shop.orders', 'Customer')
    """
    own = {name.strip('"').lower() for name in _CTE.findall(text)} if "WITH" in text[:8].upper() else set[str]()
    tables: dict[str, None] = {}
    for source, target in _TABLE.findall(text):
        plain = (source or target).replace('"', "")
        if plain.upper() not in _NO_TABLES and plain.lower() not in own:
            tables[plain] = None
        if len(tables) == _MOST_TABLES:
            break
    return tuple(tables)


def _find_comment_end(sql: str, at: int) -> int:
    """The end of a comment that begins before ``at``. PostgreSQL's comments may hold others."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)
