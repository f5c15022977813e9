"""Every error text of the page about troubleshooting is the code's present text.

To add an entry: write a heading of the third level, the text of the error in a ``text`` block, and the paragraphs
"Why." and "What to do." on the page; then write a function under ``@provokes`` with the same heading in a module of
`tests.docs.troubles`, which provokes the error for real and returns its text, or several texts. On the page ``…``
stands for a part that differs, and white space doesn't count. An entry with several blocks has a text for each.
"""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from tests.docs import troubles
from tests.docs.conftest import ROOT
from tests.docs.troubles.registry import PROVOKERS, Place

PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
ENTRY = re.compile(r"^### (?P<heading>.+)\n(?P<body>(?:(?!^#).*\n?)*)", re.MULTILINE)
BLOCK = re.compile(r"^```text\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ENTRIES = {match["heading"]: match["body"] for match in ENTRY.finditer(PAGE.read_text(encoding="utf-8"))}

for module in pkgutil.iter_modules(troubles.__path__):
    importlib.import_module(f"{troubles.__name__}.{module.name}")


def match_text(shown: str, text: str) -> bool:
    """Whether the page shows the text of an error; the page has … for any text."""
    shown, text = " ".join(shown.split()), " ".join(text.split())
    return re.fullmatch(".+?".join(map(re.escape, shown.split("…"))), text) is not None


def test_every_entry_is_provoked() -> None:
    """No entry of the page is left that nothing provokes, and no error is provoked that has no entry."""
    assert sorted(PROVOKERS) == sorted(ENTRIES)


@pytest.mark.parametrize("heading", ENTRIES)
def test_an_entry_has_all_paragraphs(heading: str) -> None:
    """Each entry shows an error, the reason and the remedy."""
    body = ENTRIES[heading]
    assert BLOCK.search(body)
    assert ["Why.", "What to do."] == re.findall(r"^\*\*(.+?)\*\*", body, re.MULTILINE)


@pytest.mark.parametrize("heading", ENTRIES)
def test_an_entry_shows_what_the_code_says(heading: str, tmp_path, monkeypatch) -> None:
    """Each text of the page is the text of an error that is provoked for real."""
    provoked = PROVOKERS[heading](Place(tmp_path, monkeypatch))
    texts = [provoked] if isinstance(provoked, str) else list(provoked)
    shown = [match["text"] for match in BLOCK.finditer(ENTRIES[heading])]
    different = [text for text in texts if not any(match_text(block, text) for block in shown)]
    assert [] == different
    assert [] == [block for block in shown if not any(match_text(block, text) for text in texts)]


@pytest.mark.parametrize(
    ("shown", "text", "expected"),
    [
        ("it failed (…).", "it failed (/a/b.py:3).", True),
        ("it failed\n  (…).", "it failed (/a/b.py:3).", True),
        ("it failed (…).", "it failed ().", False),
        ("it failed.", "it failed. Why?", False),
        ("it failed (...)", "it failed (abc)", False),
    ],
)
def test_the_comparison(shown: str, text: str, expected: bool) -> None:
    """The ellipsis stands for some text, and everything else for itself."""
    assert expected is match_text(shown, text)
