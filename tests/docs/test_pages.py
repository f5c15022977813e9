"""The built pages show the programs that their sources include, and no markup."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.conftest import ROOT, Site

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
SNIPPET = re.compile(r'^--8<-- "(?P<path>[^"]+)"$', re.MULTILINE)
INCLUDES = [(page, path) for page in PAGES for path in SNIPPET.findall((DOCS / page).read_text(encoding="utf-8"))]
PROGRAMS = [(page, path) for page, path in INCLUDES if not path.endswith(".md")]


def test_the_tutorial_includes_its_programs() -> None:
    """Each page of the tutorial, and the index, has a snippet for each program."""
    steps = [
        (f"tutorial/{path.stem}.md", path.relative_to(ROOT).as_posix()) for path in ROOT.glob("examples/tutorial/*.py")
    ]
    plugin = [
        ("tutorial/plugin.md", f"examples/ratelimit/{name}")
        for name in ("pyproject.toml", "bandmaster_ratelimit/__init__.py")
    ]
    assert {("index.md", "examples/tutorial/component.py"), *steps, *plugin} == set(PROGRAMS)


@pytest.mark.parametrize(("page", "path"), INCLUDES)
def test_an_included_file_exists(page: str, path: str) -> None:
    """Each snippet names a file of the repository."""
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("page", "path"), PROGRAMS)
def test_a_page_shows_the_included_program(site: Site, page: str, path: str) -> None:
    """One code block of the built page holds every line of the program."""
    program = (ROOT / path).read_text(encoding="utf-8")
    assert program.strip() in [shown.strip() for shown in site.page(page).programs]


def test_the_changelog_page_shows_the_changelog(site: Site) -> None:
    """The changelog page has every heading of CHANGELOG.md."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(site.page("changelog.md").headings.values())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_no_markup(site: Site, page: str) -> None:
    """No snippet marker, code fence, reference marker or escaped bar of a table is left in the text."""
    text = site.page(page).text
    assert [] == [markup for markup in ("--8", "```", "~~~", ":::", "\\|") if markup in text]


def test_the_glossary_is_a_list(site: Site) -> None:
    """Each term is a list entry with a definition, in alphabetical order."""
    source = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = site.page("glossary.md").entries
    terms = [term for term, _ in entries]
    assert re.findall(r"\*\*(.+?)\*\*", source) == terms
    assert sorted(terms) == terms
    assert [] == [text for term, text in entries if not re.fullmatch(rf"{term}: .+\.", text.strip(), re.DOTALL)]


def test_the_formatter_leaves_the_pages_alone() -> None:
    """Ruff formats Python blocks in Markdown, and would turn a snippet marker into a comparison."""
    pages = [*map(str, DOCS.rglob("*.md")), *map(str, ROOT.glob("*.md")), *map(str, ROOT.glob("contrib/*/*.md"))]
    command = [str(Path(sys.executable).with_name("ruff")), "format", "--no-cache", "--diff", *pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stdout), done.stderr
