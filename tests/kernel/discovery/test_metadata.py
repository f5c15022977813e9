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
    """An entry point has a distribution and the place of the metadata; the module isn't imported."""
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


def test_kinds_of_parts():
    """The kind of a part is its group in the singular."""
    groups = ["bandmaster.lifespan", "bandmaster.routes", "bandmaster.error_handlers", "bandmaster.commands"]
    kinds = [Found(group, "x", "m:x", Provenance()).kind for group in groups]
    assert kinds == ["lifespan", "route", "error handler", "command"]


def test_all_groups_in_one_pass(tmp_path, monkeypatch):
    """Each file is read once for all groups, and entry points are sorted by group and name."""
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
    """Of a distribution that is installed twice, the one that is imported counts."""
    install(tmp_path / "a", "acme", "1.0", AUDIT)
    install(tmp_path / "b", "acme", "2.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == [("audit", "acme 1.0")]
    assert brought(tmp_path / "b", tmp_path / "a") == [("audit", "acme 2.0")]


def test_one_without_parts_hides_one_with_parts(tmp_path):
    """The first on the path counts, even if only the later one has parts."""
    install(tmp_path / "a", "acme", "2.0")
    install(tmp_path / "b", "acme", "1.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == []


def test_a_left_over_directory_hides_nothing(tmp_path):
    """A directory without METADATA, which an interrupted uninstall leaves, is no distribution."""
    install(tmp_path / "a", "acme", "2.0", metadata=None)
    install(tmp_path / "b", "acme", "1.0", AUDIT)
    assert brought(tmp_path / "a", tmp_path / "b") == [("audit", "acme 1.0")]


def test_directories_that_pip_moved_aside(tmp_path):
    """The directory ``~name``, which pip leaves when an uninstall crashes, is no distribution."""
    install(tmp_path, "~cme_audit", "1.0", AUDIT)
    assert brought(tmp_path) == []


def test_development_eggs(tmp_path):
    """An egg-info directory beside the source is a distribution."""
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
    """The empty entry is the working directory; missing, repeated and wrong entries are passed over."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.chdir(tmp_path)
    (found,) = find(["", str(tmp_path / "missing"), str(tmp_path), str(tmp_path), None, b"/", "."])
    assert found.path == str(tmp_path / "acme-1.0.dist-info")
    assert find([tmp_path]) == (found,)


def test_a_working_directory_that_was_removed(tmp_path, monkeypatch):
    """A process whose working directory was removed still finds installed parts."""
    gone = tmp_path / "gone"
    gone.mkdir()
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert [found.name for found in find(["", str(tmp_path)])] == ["audit"]


def test_sys_path_is_the_default(tmp_path, monkeypatch):
    """Without a path, the present ``sys.path`` is searched."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [found.name for found in find()] == ["audit"]


def test_the_installed_kernel_brings_no_parts():
    """The kernel has entry points, and none in its own groups: it has no private door."""
    assert importlib.metadata.distribution("bandmaster").entry_points
    assert "bandmaster" not in {found.distribution for found in find()}


def test_an_unreadable_directory_is_a_warning(tmp_path):
    """A directory that can't be read is a warning rather than an error, since imports pass over it."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    seen = scan([str(loop)])
    assert seen.warnings == (f"{loop} is on sys.path and can't be read: Too many levels of symbolic links",)


def test_an_unreadable_working_directory_is_called_so(monkeypatch):
    """Messages name the empty entry as the working directory."""

    def refuse(directory):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert scan([""]).warnings == ("the working directory is on sys.path and can't be read: Permission denied",)


def test_an_unreadable_file_is_a_problem(tmp_path):
    """A file that can't be read may name the part that guards the door, so it is a problem."""
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
    """An error on opening a file is reported like one on reading."""
    info = install(tmp_path, "acme")
    (info / "entry_points.txt").symlink_to("entry_points.txt")
    (problem,) = scan([str(tmp_path)]).problems
    assert "can't be read: Too many levels of symbolic links." in problem.message


def test_bytes_that_are_no_utf8_are_a_problem(tmp_path):
    """A file in another encoding is reported with the position of the byte."""
    info = install(tmp_path, "acme")
    (info / "entry_points.txt").write_bytes(b"[bandmaster.lifespan]\n\xff = m:a\n")
    (problem,) = scan([str(tmp_path)]).problems
    assert "can't be read: byte 22 isn't UTF-8." in problem.message


def test_a_byte_order_mark_is_ignored(tmp_path):
    """A byte order mark, which some editors write, is no part of the text."""
    info = install(tmp_path, "acme", entry_points="", metadata=None)
    (info / "entry_points.txt").write_bytes(b"\xef\xbb\xbf" + AUDIT.encode())
    (info / "METADATA").write_bytes(b"\xef\xbb\xbfName: acme\r\nVersion: 1.0\r\n\r\n")
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_files_of_any_length_are_read_whole(tmp_path):
    """Entries at the end of a long file are read, as is a version behind long headers."""
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
    """Parts without a name and a version of their distribution are a problem: trust and the lock need both."""
    info = install(tmp_path, "acme", entry_points=AUDIT, metadata=None)
    (info / "METADATA").write_text(headers)
    (problem,) = scan([str(tmp_path)]).problems
    assert str(problem) == (
        f"{info} brings parts, but its metadata names no distribution and version: it is half installed. "
        "Reinstall or remove it."
    )


def test_metadata_that_cannot_be_read_counts_as_missing(tmp_path):
    """PKG-INFO is read where METADATA can't be read."""
    info = install(tmp_path, "acme", entry_points=AUDIT, metadata="PKG-INFO")
    (info / "METADATA").mkdir()
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_two_versions_in_one_directory_are_a_problem(tmp_path):
    """Two versions in one directory are a problem, because either may be the one that is imported."""
    install(tmp_path, "acme", "1.0")
    install(tmp_path, "acme", "1.1", AUDIT)
    (problem,) = scan([str(tmp_path)]).problems
    assert str(problem) == (
        f"One distribution is installed several times in {tmp_path}: acme-1.0.dist-info and acme-1.1.dist-info. "
        "An installation was interrupted: uninstall until it is gone, then reinstall."
    )


def test_two_versions_in_one_directory_that_cannot_be_read_are_a_problem(tmp_path):
    """A version that can't be read counts as one with parts."""
    install(tmp_path, "acme", "1.0")
    (install(tmp_path, "acme", "1.1") / "entry_points.txt").mkdir()
    assert any("several times" in problem.message for problem in scan([str(tmp_path)]).problems)


def test_two_versions_without_parts_are_no_problem(tmp_path):
    """A broken installation of a distribution without parts doesn't stop an application."""
    install(tmp_path, "other", "1.0")
    install(tmp_path, "other", "1.1", "[console_scripts]\nx = y:z\n")
    assert scan([str(tmp_path)]) == Scan()


def test_dist_info_goes_before_egg_info(tmp_path):
    """Beside a dist-info, an egg-info of the same distribution, which a build leaves, is passed over."""
    install(tmp_path, "acme", "0.9", AUDIT, folder="acme.egg-info", metadata="PKG-INFO")
    install(tmp_path, "acme", "1.0", AUDIT)
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_only_left_overs(tmp_path):
    """Parts of a distribution without any whole directory are a problem."""
    install(tmp_path / "a", "acme", "1.0", AUDIT, metadata=None)
    install(tmp_path / "b", "acme", "1.0", AUDIT, metadata=None)
    (problem,) = scan([str(tmp_path / "a"), str(tmp_path / "b")]).problems
    assert "half installed" in problem.message


def test_a_malformed_entry_keeps_its_name(tmp_path):
    """A bad value is a problem of one part, which can be disabled by its name."""
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
    """A group that looks misspelt is a warning; other unknown groups may belong to contribs."""
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
    """A wheel or zip file on the path is searched in the order of the path."""
    zipped = archive(tmp_path / "acme.zip", "acme", "1.0")
    install(tmp_path / "site", "acme", "2.0", AUDIT)
    (found,) = find([str(zipped), str(tmp_path / "site")])
    assert (str(found.provenance), found.path) == ("acme 1.0", str(zipped))
    assert found.read("METADATA") == "Name: acme\nVersion: 1.0\n"
    assert found.read("RECORD") is None
    assert brought(tmp_path / "site", zipped) == [("audit", "acme 2.0")]


def test_files_on_the_path_that_are_no_archives(tmp_path):
    """A file on the path that is no archive is passed over, as imports do."""
    (tmp_path / "file").write_text("text")
    assert scan([str(tmp_path / "file")]) == Scan()


class Distribution(importlib.metadata.Distribution):
    """A distribution without files on the disk."""

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
    """A finder of distributions that aren't on the path."""

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
    """Finders of other packages are asked for distributions, in the order of sys.meta_path."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(remote())])
    assert brought(tmp_path) == [("audit", "acme 1.0")]
    monkeypatch.setattr(sys, "meta_path", [Finder(remote()), *sys.meta_path])
    assert brought(tmp_path) == [("audit", "acme 9")]
    (found,) = find([str(tmp_path)])
    assert found.path.endswith("Finder")


def test_without_the_finder_of_the_path(tmp_path, monkeypatch):
    """The path is searched even if the path finder is missing from sys.meta_path."""
    install(tmp_path, "acme", "1.0", AUDIT)
    monkeypatch.setattr(sys, "meta_path", [importlib.metadata.MetadataPathFinder()])
    assert brought(tmp_path) == [("audit", "acme 1.0")]


def test_a_finder_that_fails_is_a_problem(monkeypatch):
    """The failure of a finder is a problem, because parts may be missing."""
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
    """An error on reading a further metadata file names the file and the distribution."""
    info = install(tmp_path, "acme", "1.0", AUDIT)
    (info / "RECORD").mkdir()
    (found,) = find([str(tmp_path)])
    with pytest.raises(DiscoveryError, match=r"RECORD of acme 1\.0 can't be read: Is a directory"):
        found.read("RECORD")


def test_importing_it_imports_little():
    """Discovery imports no metadata library, no parser and no framework."""
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
    """In any order of the files in a directory, the first on the path wins and the result is the same."""
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
    """Over a path of several directories, the standard library finds the same entry points."""
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
