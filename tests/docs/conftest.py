"""The built documentation. One build serves every test and every worker of a session."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HEADINGS = {"h1", "h2", "h3", "h4", "h5"}


@dataclass
class Page(HTMLParser):
    """A built page: the text, the code blocks, the headings and the list entries."""

    text: str = ""
    programs: list[str] = field(default_factory=list)
    """The text of each code block."""
    headings: dict[str, str] = field(default_factory=dict)
    """The text of each heading, by anchor; the reference adds labels such as "property"."""
    entries: list[tuple[str, str]] = field(default_factory=list)
    """The bold term and the text of each list entry of the article."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._anchor = ""
        self._in_article = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        if tag == "article":
            self._in_article = True
        elif tag == "code" and "pre" in self._open:
            self.programs.append("")
        elif tag == "li" and self._in_article:
            self.entries.append(("", ""))
        elif tag in HEADINGS:
            self._anchor = dict(attrs).get("id") or ""
            self.headings[self._anchor] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._in_article = False
        elif tag in HEADINGS:
            self.headings[self._anchor] = " ".join(self.headings[self._anchor].removesuffix("¶").split())
        # Void elements such as <br> have no end tag; the end tag of the element around them removes them.
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"script", "style"} & set(self._open):
            return
        if "pre" in self._open and "code" in self._open:
            self.programs[-1] += data
        if HEADINGS & set(self._open):
            self.headings[self._anchor] += data
        if "li" in self._open and self._in_article:
            term, text = self.entries[-1]
            self.entries[-1] = (term + data if "strong" in self._open else term, text + data)


class Site:
    """The built pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pages: dict[str, Page] = {}

    def page(self, source: str) -> Page:
        """Parse the page that was built from a source below ``docs``, such as ``tutorial/plugin.md``."""
        if source not in self._pages:
            path = Path(source.removesuffix(".md"))
            place = self.folder / path.parent if path.name == "index" else self.folder / path
            self._pages[source] = Page()
            self._pages[source].feed((place / "index.html").read_text(encoding="utf-8"))
        return self._pages[source]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Site:
    """Build the documentation strictly, in the first worker that needs a page."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent  # the parent folder is common to all workers
    folder, built = shared / "site", shared / "site.built"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
            env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
            assert 0 == done.returncode, done.stdout + done.stderr
            built.touch()
    return Site(folder)
