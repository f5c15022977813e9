"""Tests of bandmaster.kernel.discovery.metadata."""

import builtins
import importlib.metadata
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.contributions.model import Provenance
from bandmaster.kernel.discovery.distributions import normalise
from bandmaster.kernel.discovery.metadata import Found, Scan, find, scan
from bandmaster.kernel.errors import DiscoveryError

AUDIT = "[bandmaster.lifespan]\naudit = acme.audit:audit\n"


def install(site, name, version="1.0", entry_points=None, *, folder=None, metadata="METADATA", display=None):
    """A distribution's metadata in a directory, as pip leaves it there."""
    info = Path(site) / (folder or f"{name}-{version}.dist-info")
    info.mkdir(parents=True)
    if metadata:
        (info / metadata).write_text(
            f"Metadata-Version: 2.1\nName: {display or name}\nVersion: {version}\n\nName: no\n"
        )
    if entry_points is not None:
        (info / "entry_points.txt").write_text(entry_points)
    return info


def brought(*path):
    return [(found.name, str(found.provenance)) for found in find([os.fspath(entry) for entry in path])]


def test_an_entry_point_with_its_distribution(tmp_path):
    """What is found says who brought it, from where, and how it is called; nothing is imported."""
    info = install(tmp_path, "acme_audit", "1.2", AUDIT, display="Acme-Audit")
    (found,) = find([str(tmp_path)])
    assert found == Found(
        "bandmaster.lifespan",
        "audit",
        "acme.audit:audit",
        Provenance("Acme-Audit", "1.2", "acme.audit:audit"),
        str(info),
    )
    assert str(found) == "lifespan 'audit' (Acme-Audit 1.2)"
    assert (found.address, found.distribution, found.problem) == ("lifespan:audit", "acme-audit", None)
    assert "acme" not in sys.modules


def test_kinds_are_said_as_people_say_them():
    """A group's name becomes the name of one thing in it."""
    groups = ["bandmaster.lifespan", "bandmaster.routes", "bandmaster.error_handlers", "bandmaster.commands"]
    kinds = [Found(group, "x", "m:x", Provenance()).kind for group in groups]
    assert kinds == ["lifespan", "route", "error handler", "command"]


def test_all_groups_in_one_pass(tmp_path, monkeypatch):
    """Every file is read once for all groups, and the order is that of groups and names."""
    groups = ["commands", "routes", "error_handlers", "middleware", "lifespan"]
    text = "".join(f"[bandmaster.{group}]\nb = m:b\na = m:a\n" for group in groups)
    install(tmp_path, "acme", entry_points=text)
    install(tmp_path, "other", entry_points="[console_scripts]\nx = bandmaster.x:main\n")
    opened = []
    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, *rest: opened.append(Path(path).name) or real(path, *rest))
    assert [found.address for found in find([str(tmp_path)])] == [
        f"{group}:{name}"
        for group in ("lifespan", "middleware", "routes", "error_handlers", "commands")
        for name in ("a", "b")
    ]
    assert sorted(opened) == ["METADATA", "entry_points.txt", "entry_points.txt"]


@pytest.mark.parametrize("name", ["acme_audit", "Acme.Audit", "ACME__audit", "acme._audit"])
def test_names_are_compared_normalised(tmp_path, name):
    """Spellings of one distribution's name are one distribution (PEP 503)."""
    install(tmp_path / "a", name, "1.0", AUDIT)
    install(tmp_path / "b", "acme_audit", "2.0", AUDIT)
    assert normalise(name) == "acme-audit"
    assert brought(tmp_path / "a", tmp_path / "b") == [("audit", f"{name} 1.0")]


def test_the_first_on_the_path_hides_later_ones(tmp_path):
    """Where a distribution is there twice, the one that would be imported counts."""
    install(tmp_path / "a", "acme", "1.0", AUDIT)
    install(tmp_path / "b", "acme", "2.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == [("audit", "acme 1.0")]
    assert brought(tmp_path / "b", tmp_path / "a") == [("audit", "acme 2.0")]


def test_one_without_parts_hides_one_with_parts(tmp_path):
    """The first on the path counts also where only the later one brings parts."""
    install(tmp_path / "a", "acme", "2.0")
    install(tmp_path / "b", "acme", "1.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == []


def test_a_left_over_directory_hides_nothing(tmp_path):
    """Metadata without METADATA is no distribution: an interrupted uninstall left it."""
    install(tmp_path / "a", "acme", "2.0", metadata=None)
    install(tmp_path / "b", "acme", "1.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == [("audit", "acme 1.0")]


def test_what_pip_moved_aside_is_passed_over(tmp_path):
    """pip renames what it is about to remove; a crash leaves ``~name`` there, which must not come alive."""
    install(tmp_path, "~cme_audit", "1.0", AUDIT)
    assert brought(tmp_path) == []


def test_development_eggs(tmp_path):
    """An egg-info directory beside the source counts like any other."""
    install(tmp_path, "acme", "1.0.dev0", AUDIT, folder="acme.egg-info", metadata="PKG-INFO")
    assert brought(tmp_path) == [("audit", "acme 1.0.dev0")]


def test_unpacked_eggs(tmp_path):
    """An unpacked egg stands on the path itself and has its metadata in EGG-INFO."""
    egg = tmp_path / "acme-1.0-py3.11.egg"
    install(egg, "acme", "1.0", AUDIT, folder="EGG-INFO", metadata="PKG-INFO")
    install(tmp_path / "later", "acme", "2.0", AUDIT)
    install(tmp_path / "plain", "x", "2.0", AUDIT, folder="EGG-INFO")
    assert brought(egg, tmp_path / "later", tmp_path / "plain") == [("audit", "acme 1.0")]


def test_egg_info_files_bring_nothing(tmp_path):
    """Very old installs have a file instead of a directory; it has no entry points."""
    (tmp_path / "acme-1.0.egg-info").write_text("Name: acme\n")
    assert scan([str(tmp_path)]) == Scan()


def test_path_entries(tmp_path, monkeypatch):
    """The empty entry is the working directory; missing ones, repeated ones and things that aren't paths do no harm."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.chdir(tmp_path)
    (found,) = find(["", str(tmp_path / "missing"), str(tmp_path), str(tmp_path), None, b"/", "."])
    assert found.path == str(tmp_path / "acme-1.0.dist-info")
    assert find([tmp_path]) == (found,)


def test_a_working_directory_that_was_removed(tmp_path, monkeypatch):
    """A process whose working directory is gone still finds what is installed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert [found.name for found in find(["", str(tmp_path)])] == ["audit"]


def test_sys_path_is_the_default(tmp_path, monkeypatch):
    """Without a path, the one of imports is searched, as it is at the time."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [found.name for found in find()] == ["audit"]


def test_the_installed_kernel_brings_no_parts():
    """The kernel has entry points, but none in its own groups: it has no private door."""
    assert importlib.metadata.distribution("bandmaster").entry_points
    assert "bandmaster" not in {found.distribution for found in find()}


def test_an_unreadable_directory_is_a_warning(tmp_path):
    """Imports pass over a directory that can't be read, so it is no error, but it is said."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    seen = scan([str(loop)])
    assert seen.warnings == (f"{loop} is on sys.path and can't be read: Too many levels of symbolic links",)


def test_an_unreadable_working_directory_is_called_so(monkeypatch):
    """The empty entry has a name in messages."""

    def refuse(directory):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert scan([""]).warnings == ("the working directory is on sys.path and can't be read: Permission denied",)


def test_an_unreadable_file_is_a_problem(tmp_path):
    """What can't be read may be the part that guards the door, so it isn't passed over."""
    info = install(tmp_path, "acme")
    (info / "entry_points.txt").mkdir()
    with pytest.raises(DiscoveryError) as caught:
        find([str(tmp_path)])
    assert str(caught.value) == (
        "1 problem with the installed parts:\n"
        f"  - It can't be told what {info} brings: its entry_points.txt can't be read: Is a directory. "
        "Reinstall or remove it, or mend the file's permissions."
    )


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path):
    """An error on opening is told like one on reading."""
    info = install(tmp_path, "acme")
    (info / "entry_points.txt").symlink_to("entry_points.txt")
    (problem,) = scan([str(tmp_path)]).problems
    assert "can't be read: Too many levels of symbolic links." in problem.message


def test_bytes_that_are_no_utf8_are_a_problem(tmp_path):
    """A file in another encoding is reported with the place."""
    info = install(tmp_path, "acme")
    (info / "entry_points.txt").write_bytes(b"[bandmaster.lifespan]\n\xff = m:a\n")
    (problem,) = scan([str(tmp_path)]).problems
    assert "can't be read: byte 22 isn't UTF-8." in problem.message


def test_a_byte_order_mark_is_ignored(tmp_path):
    """Editors that put a mark at the beginning of a file do no harm."""
    info = install(tmp_path, "acme", entry_points="", metadata=None)
    (info / "entry_points.txt").write_bytes(b"\xef\xbb\xbf" + AUDIT.encode())
    (info / "METADATA").write_bytes(b"\xef\xbb\xbfName: acme\r\nVersion: 1.0\r\n\r\n")
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_files_of_any_length_are_read_whole(tmp_path):
    """Entries behind the first block count, as do a name and version behind long headers."""
    filler = "".join(f"script{number} = module:function{number}\n" for number in range(4000))
    info = install(tmp_path, "acme", entry_points=f"[console_scripts]\n{filler}{AUDIT}", metadata=None)
    (info / "METADATA").write_text("Name: acme\n" + "Classifier: x\n" * 34 + "Version: 1.0.post1\n")
    assert (info / "entry_points.txt").stat().st_size > 65536
    assert brought(tmp_path) == [("audit", "acme 1.0.post1")]


def test_a_version_is_never_cut(tmp_path):
    """A version behind a long summary is read whole."""
    info = install(tmp_path, "acme", entry_points=AUDIT, metadata=None)
    head = "Name: acme\nSummary: {}\nVersion: 1.0"
    filler = "x" * (512 - len(head.format("")))
    (info / "METADATA").write_text(f"{head.format(filler)}.post1\n\n")
    assert brought(tmp_path) == [("audit", "acme 1.0.post1")]


@pytest.mark.parametrize("headers", ["", "Name: acme\n\nVersion: 1.0\n", "Version: 1.0\n"])
def test_parts_of_a_half_installed_distribution_are_a_problem(tmp_path, headers):
    """Parts need a name and a version to be trusted, switched off or locked by."""
    info = install(tmp_path, "acme", entry_points=AUDIT, metadata=None)
    (info / "METADATA").write_text(headers)
    (problem,) = scan([str(tmp_path)]).problems
    assert str(problem) == (
        f"{info} brings parts, but its metadata names no distribution and version: it is half installed. "
        "Reinstall or remove it."
    )


def test_metadata_that_cannot_be_read_counts_as_missing(tmp_path):
    """A METADATA that is none doesn't hide what PKG-INFO says."""
    info = install(tmp_path, "acme", entry_points=AUDIT, metadata="PKG-INFO")
    (info / "METADATA").mkdir()
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_two_versions_in_one_directory_are_a_problem(tmp_path):
    """Which of them would be imported can't be told, so nobody guesses."""
    install(tmp_path, "acme", "1.0")
    install(tmp_path, "acme", "1.1", AUDIT)
    (problem,) = scan([str(tmp_path)]).problems
    assert str(problem) == (
        f"One distribution is installed several times in {tmp_path}: acme-1.0.dist-info and acme-1.1.dist-info. "
        "An installation was interrupted: uninstall until it is gone, then reinstall."
    )


def test_two_versions_in_one_directory_that_cannot_be_read_are_a_problem(tmp_path):
    """What can't be read is taken for the worse case."""
    install(tmp_path, "acme", "1.0")
    (install(tmp_path, "acme", "1.1") / "entry_points.txt").mkdir()
    assert any("several times" in problem.message for problem in scan([str(tmp_path)]).problems)


def test_two_versions_of_what_brings_nothing_are_none_of_ours(tmp_path):
    """Other people's broken installs don't stop an application."""
    install(tmp_path, "other", "1.0")
    install(tmp_path, "other", "1.1", "[console_scripts]\nx = y:z\n")
    assert scan([str(tmp_path)]) == Scan()


def test_dist_info_goes_before_egg_info(tmp_path):
    """Beside a dist-info, an egg-info of the same distribution is what the build left there."""
    install(tmp_path, "acme", "0.9", AUDIT, folder="acme.egg-info", metadata="PKG-INFO")
    install(tmp_path, "acme", "1.0", AUDIT)
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_only_left_overs(tmp_path):
    """Where no directory of a name is whole, its parts are a problem rather than gone."""
    install(tmp_path / "a", "acme", "1.0", AUDIT, metadata=None)
    install(tmp_path / "b", "acme", "1.0", AUDIT, metadata=None)
    (problem,) = scan([str(tmp_path / "a"), str(tmp_path / "b")]).problems
    assert "half installed" in problem.message


def test_a_malformed_entry_keeps_its_name(tmp_path):
    """A bad value is the problem of one part, so that the part can be switched off."""
    info = install(tmp_path, "acme", "1.0", "[bandmaster.lifespan]\naudit = not a module!\n")
    (found,) = find([str(tmp_path)])
    assert str(found.problem) == (
        "lifespan 'audit' (acme 1.0) is malformed: 'not a module!' isn't of the form module:attribute "
        f"({info}, entry_points.txt line 2). Mend it in the distribution's source and reinstall it, or switch it off "
        "with BANDMASTER_DISABLE=audit or disable={'audit'}."
    )


def test_a_malformed_file_is_a_problem(tmp_path):
    """A fault without a name is reported with distribution, file and line."""
    info = install(tmp_path, "acme", "1.0", "[bandmaster.lifespan\naudit = acme:audit\n")
    (problem,) = scan([str(tmp_path)]).problems
    assert str(problem) == (
        "entry_points.txt of acme 1.0, line 1: '[bandmaster.lifespan' isn't a group in brackets "
        f"({info}). Mend it in the distribution's source, then reinstall it."
    )


def test_a_misspelt_group_is_a_warning(tmp_path):
    """A group that nothing reads is told if it looks like a slip; groups that contribs define aren't."""
    text = "[bandmaster.lifespans]\naudit = acme:audit\n[bandmaster.projections]\nx = acme:x\n"
    install(tmp_path, "acme", "1.0", text)
    assert scan([str(tmp_path)]) == Scan(
        warnings=(
            "acme 1.0 has 'audit' in group 'bandmaster.lifespans', which nothing reads. Did you mean 'lifespan'?",
        )
    )


def archive(path, name, version="1.0", entry_points=AUDIT):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
        file.writestr(f"{name}-{version}.dist-info/entry_points.txt", entry_points)
    return path


def test_archives_on_the_path(tmp_path):
    """A wheel or zip on the path is searched too, in its place on the path."""
    zipped = archive(tmp_path / "acme.zip", "acme", "1.0")
    install(tmp_path / "site", "acme", "2.0", AUDIT)
    (found,) = find([str(zipped), str(tmp_path / "site")])
    assert (str(found.provenance), found.path) == ("acme 1.0", str(zipped))
    assert found.read("METADATA") == "Name: acme\nVersion: 1.0\n"
    assert found.read("RECORD") is None
    assert brought(tmp_path / "site", zipped) == [("audit", "acme 2.0")]


def test_files_on_the_path_that_are_no_archives(tmp_path):
    """Any file may stand on the path; imports pass over it as well."""
    (tmp_path / "file").write_text("text")
    assert scan([str(tmp_path / "file")]) == Scan()


class Distribution(importlib.metadata.Distribution):
    """A distribution out of nowhere."""

    def __init__(self, files):
        self.files_by_name = files

    def read_text(self, filename):
        text = self.files_by_name.get(filename)
        if isinstance(text, Exception):
            raise text
        return text

    def locate_file(self, path):
        raise NotImplementedError


class Finder:
    """A finder that keeps distributions elsewhere than in files."""

    def __init__(self, *distributions):
        self.distributions = distributions

    def find_spec(self, name, path=None, target=None):
        return None

    def find_distributions(self, context):
        yield from self.distributions
        if not self.distributions:
            raise RuntimeError("no connection")


def remote(name="acme", version="9", entry_points=AUDIT):
    return Distribution({"METADATA": f"Name: {name}\nVersion: {version}\n", "entry_points.txt": entry_points})


def test_unusual_finders(tmp_path, monkeypatch):
    """Who installs distributions elsewhere by a finder of their own is asked, in the order of sys.meta_path."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(remote())])
    assert brought(tmp_path) == [("audit", "acme 1.0")]
    monkeypatch.setattr(sys, "meta_path", [Finder(remote()), *sys.meta_path])
    assert brought(tmp_path) == [("audit", "acme 9")]
    (found,) = find([str(tmp_path)])
    assert found.path.endswith("Finder")


def test_without_the_finder_of_the_path(tmp_path, monkeypatch):
    """The path is searched even where sys.meta_path has lost its finder."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "meta_path", [importlib.metadata.MetadataPathFinder()])
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_a_finder_that_fails_is_a_problem(monkeypatch):
    """What a finder can't tell may be needed, so its failure isn't passed over."""
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    (problem,) = scan([]).problems
    assert "Finder can't say which distributions it has: RuntimeError: no connection." in problem.message


def test_distributions_without_a_name_are_a_problem(monkeypatch):
    """A finder's distribution that brings parts without metadata is half installed."""
    nameless = [Distribution({"entry_points.txt": AUDIT}) for _ in range(2)]
    monkeypatch.setattr(sys, "meta_path", [Finder(*nameless)])
    assert ["half installed" in problem.message for problem in scan([]).problems] == [True, True]


def test_a_finder_whose_files_fail_is_a_problem(monkeypatch):
    """Errors of foreign readers are reported like errors of the disk."""
    monkeypatch.setattr(sys, "meta_path", [Finder(remote(entry_points=OSError("gone")))])
    (problem,) = scan([]).problems
    assert "can't be read: OSError: gone." in problem.message


def test_metadata_files_that_cannot_be_read(tmp_path):
    """Reading a further metadata file says which, and of which distribution."""
    info = install(tmp_path, "acme", "1.0", AUDIT)
    (info / "RECORD").mkdir()
    (found,) = find([str(tmp_path)])
    with pytest.raises(DiscoveryError, match=r"RECORD of acme 1\.0 can't be read: Is a directory"):
        found.read("RECORD")


def test_importing_it_imports_little():
    """Discovery costs nothing before it is asked: no metadata library, no parsers, no frameworks."""
    heavy = ["importlib.metadata", "importlib_metadata", "email", "configparser", "json", "hashlib", "zipfile"]
    heavy += ["starlette", "anyio", "pydantic", "structlog", "typer"]
    code = (
        "import sys; known = set(sys.modules); import bandmaster.kernel.discovery.discover as d; d.find();"
        f"print(sorted(set({heavy}) & (set(sys.modules) - known)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


_sites = st.lists(
    st.dictionaries(
        st.sampled_from(["acme", "Acme_Audit", "other.name"]),
        st.sets(st.sampled_from(["a", "b", "c"])),
        max_size=3,
    ),
    max_size=3,
)


@given(_sites, st.randoms())
def test_the_order_of_files_does_not_matter(tmp_path_factory, sites, rng):
    """Whatever order a directory lists its files in, the first on the path wins and the result is the same."""
    path = []
    for number, site in enumerate(sites):
        path.append(str(tmp_path_factory.mktemp("site")))
        for name, entries in site.items():
            text = "[bandmaster.lifespan]\n" + "".join(f"{entry} = m:{entry}\n" for entry in entries)
            install(path[-1], name, f"{number}.0", text)
    winners = {}
    for number, site in enumerate(sites):
        for name, entries in site.items():
            winners.setdefault(name, [(entry, name, f"{number}.0") for entry in entries])
    real = os.listdir

    def shuffled(directory):
        names = real(directory)
        rng.shuffle(names)
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "listdir", shuffled)
        found = find(path)
    expected = sorted(entry for entries in winners.values() for entry in entries)
    assert [(part.name, part.provenance.distribution, part.provenance.version) for part in found] == expected
    assert find(path) == found


def test_agrees_with_importlib_metadata(tmp_path):
    """Over a mixed path, the standard library sees the same entry points."""
    for number in range(12):
        site = tmp_path / f"site{number % 3}"
        text = None if number % 4 == 0 else f"[bandmaster.lifespan]\npart{number} = m:a\n[x]\ny = z\n"
        install(site, f"dist{number % 8}", f"{number}.0", text)
    path = [str(tmp_path / f"site{number}") for number in range(3)]
    random.Random(7).shuffle(path)
    seen = set()
    expected = set()
    for distribution in importlib.metadata.distributions(path=path):
        if distribution.name not in seen:
            seen.add(distribution.name)
            expected |= {
                (entry.name, entry.value, distribution.version)
                for entry in distribution.entry_points.select(group="bandmaster.lifespan")
            }
    assert {(found.name, found.value, found.provenance.version) for found in find(path)} == expected
