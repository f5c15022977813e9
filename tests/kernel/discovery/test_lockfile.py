"""Tests of bandmaster.kernel.discovery.lockfile."""

import base64
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.kernel.contributions.model import Provenance
from bandmaster.kernel.discovery.lockfile import Lock
from bandmaster.kernel.discovery.metadata import Found, find
from bandmaster.kernel.discovery.pins import Pin, verify_files
from bandmaster.kernel.errors import DiscoveryError

AUDIT = "[bandmaster.lifespan]\naudit = acme_audit:audit\n"


def digest(data, algorithm="sha256"):
    return f"{algorithm}={base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b'=').decode()}"


def install(site, *, name="acme_audit", version="1.0", entry_points=AUDIT, files=None, info_files=None, record=True):
    """A distribution as an installer leaves it: code, metadata and a RECORD with hashes."""
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}/__init__.py": "audit = 1\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/entry_points.txt": entry_points,
        **{f"{info}/{key}": text for key, text in (info_files or {}).items()},
    }
    rows = []
    for path, text in content.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        rows.append(f"{path},{digest(text.encode())},{len(text)}")
    if record:
        (site / info / "RECORD").write_text("\n".join([*rows, "", f"{info}/RECORD,,", ""]))
    return site / info


def pin(site):
    (only,) = Lock.of(find([str(site)])).distributions.values()
    return only


def test_a_lock_of_what_is_installed(tmp_path):
    """A lock names distribution, version, parts and order; the keys are normalised names."""
    install(tmp_path, entry_points=f"{AUDIT}[bandmaster.commands]\nshow = acme_audit:show\n")
    lock = Lock.of(find([str(tmp_path)]), {"middleware": [], "lifespan": ["b", "a"]})
    assert list(lock.distributions) == ["acme-audit"]
    only = lock.distributions["acme-audit"]
    assert (only.version, only.covers, only.editable) == ("1.0", "files", False)
    assert only.parts == ("commands:show", "lifespan:audit")
    assert lock.order == {"lifespan": ("b", "a"), "middleware": ()}
    assert len(only.sha256) == 64


def test_files_of_one_machine_are_not_hashed(tmp_path):
    """The installer's files, scripts, byte code and the order of RECORD don't change the hash."""
    install(tmp_path / "a")
    info = install(
        tmp_path / "b",
        files={
            "../bin/script": "#!/b/python\n",
            "acme_audit/__pycache__/x.cpython-311.pyc": "code",
            "acme_audit/y.pyc": "code",
        },
        info_files={"INSTALLER": "uv", "REQUESTED": "", "direct_url.json": '{"url": "file:///b"}', "RECORD.jws": "x"},
    )
    record = info / "RECORD"
    lines = [*record.read_text().splitlines(), "/usr/share/x,sha256=x,1", "C:\\bin\\x.exe,sha256=x,1", "short"]
    record.write_text("\n".join(reversed(lines)))
    assert pin(tmp_path / "a") == pin(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"acme_audit/__init__.py": "audit = 2\n"}},
        {"files": {"acme_audit/more.py": ""}},
        {"files": {"acme.pth": "import os"}},
        {"info_files": {"licenses/LICENSE": "MIT"}},
        {"entry_points": AUDIT.replace(":audit", ":other")},
    ],
)
def test_installed_files_are_hashed(tmp_path, change):
    """A changed or added file of the distribution changes the hash."""
    install(tmp_path / "a")
    install(tmp_path / "b", **change)
    assert pin(tmp_path / "a").sha256 != pin(tmp_path / "b").sha256


def test_entry_points_are_hashed_as_they_stand(tmp_path):
    """An entry point that was changed after the installation changes the hash, though RECORD is the same."""
    info = install(tmp_path)
    before = pin(tmp_path)
    (info / "entry_points.txt").write_text(AUDIT.replace(":audit", ":evil"))
    assert pin(tmp_path).sha256 != before.sha256


def test_editable_installs_are_locked_by_their_metadata(tmp_path):
    """The lock of an editable install covers the metadata, and says so."""
    info = install(tmp_path, info_files={"direct_url.json": '{"dir_info": {"editable": true}, "url": "file:///x"}'})
    editable = pin(tmp_path)
    assert (editable.covers, editable.editable) == ("metadata", True)
    (info / "RECORD").write_text("anything")
    assert pin(tmp_path) == editable
    with (info / "METADATA").open("a") as file:
        file.write("Requires-Dist: evil\n")
    assert pin(tmp_path).sha256 != editable.sha256


def test_the_installed_kernel():
    """The kernel's own installation is pinned as the installer's record says."""
    distribution = importlib.metadata.distribution("bandmaster")
    path = next(Path(str(file.locate())) for file in distribution.files if file.name == "RECORD").parent
    found = Found("bandmaster.lifespan", "x", "m:x", Provenance("bandmaster", distribution.version), str(path))
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    only = Lock.of([found]).distributions["bandmaster"]
    assert (only.version, only.editable) == (distribution.version, editable)
    assert verify_files(found) == []


@pytest.mark.parametrize(("folder", "editable"), [("acme.egg-info", True), ("acme-1.0-py3.11.egg-info", False)])
def test_egg_info(tmp_path, folder, editable):
    """An egg has no RECORD, and one without a version in its name is editable."""
    info = tmp_path / folder
    info.mkdir()
    (info / "PKG-INFO").write_text("Name: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(AUDIT)
    assert (pin(tmp_path).covers, pin(tmp_path).editable) == ("metadata", editable)


def test_a_warning_for_code_that_is_not_hashed(tmp_path):
    """Each distribution that is locked without code has a warning with the reason."""
    install(tmp_path, name="a", record=False)
    install(tmp_path, name="b", info_files={"direct_url.json": '{"dir_info": {"editable": true}}'})
    install(tmp_path, name="c")
    assert Lock.of(find([str(tmp_path)])).loose() == [
        "a 1.0 is locked by its metadata alone: it has no RECORD of its files",
        "b 1.0 is locked by its metadata alone: it is an editable install",
    ]


@pytest.mark.parametrize("text", ["[", "[]", '{"dir_info": 3}'])
def test_a_malformed_direct_url(tmp_path, text):
    """A direct_url.json that violates PEP 610 is an error."""
    install(tmp_path, info_files={"direct_url.json": text})
    with pytest.raises(DiscoveryError, match=r"direct_url\.json of acme-audit 1\.0 isn't what PEP 610 says"):
        pin(tmp_path)


def test_a_malformed_record(tmp_path):
    """A RECORD that isn't CSV is reported with the distribution."""
    (install(tmp_path) / "RECORD").write_text("x" * 200_000)
    with pytest.raises(DiscoveryError, match=r"RECORD of acme-audit 1\.0 is malformed: field larger"):
        pin(tmp_path)


def wheel(folder, *, version="1.0"):
    """A wheel as a build leaves it."""
    info = f"acme_audit-{version}.dist-info"
    content = {
        "acme_audit.py": "def main(): ...\naudit = main\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: acme-audit\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\nacme = acme_audit:main\n\n{AUDIT}",
    }
    record = [f"{path},{digest(text.encode())},{len(text)}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    folder.mkdir()
    path = folder / f"acme_audit-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    return path


def test_one_wheel_installed_twice(tmp_path):
    """A wheel that pip installs in two places from two places has one hash, and its files are verified."""
    for place in ("a", "b"):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        command += ["--disable-pip-version-check", "--target", str(tmp_path / place)]
        command += ["--compile" if place == "a" else "--no-compile", str(wheel(tmp_path / f"from-{place}"))]
        subprocess.run(command, check=True, capture_output=True)
    first, second = (find([str(tmp_path / place)]) for place in ("a", "b"))
    assert Lock.of(first) == Lock.of(second)
    assert Lock.of(first).distributions["acme-audit"].covers == "files"
    assert verify_files(second[0]) == []


def test_a_wheel_on_the_path(tmp_path):
    """An archive on the path is locked by the RECORD; the files can't be verified."""
    path = wheel(tmp_path / "dist")
    (found,) = find([str(path)])
    assert Lock.of([found]).distributions["acme-audit"].covers == "files"
    assert verify_files(found) == [f"acme-audit 1.0: it lies in {path}; only files in a directory can be verified"]


def test_files_are_verified(tmp_path):
    """Each file that was changed or removed after the installation is named; files without a hash aren't."""
    info = install(tmp_path, files={"acme_audit/a.py": "a", "acme_audit/b.py": "b", "acme_audit/c.py": "c"})
    (found,) = find([str(tmp_path)])
    with (info / "RECORD").open("a") as record:
        record.write(f"acme_audit/d.py,{digest(b'd', 'sha512')}=,1\nacme_audit/e.py,md5=x,1\nacme_audit,sha256=x,1\n")
    (tmp_path / "acme_audit/d.py").write_text("d")
    assert len(verify_files(found)) == 2
    (tmp_path / "acme_audit/a.py").write_text("evil")
    (tmp_path / "acme_audit/b.py").unlink()
    assert verify_files(found) == [
        "acme-audit 1.0: acme_audit can't be read: Is a directory",
        "acme-audit 1.0: acme_audit/a.py was changed after it was installed",
        "acme-audit 1.0: acme_audit/b.py is missing",
        "acme-audit 1.0: acme_audit/e.py can't be verified: its hash is 'md5'",
    ]


def test_without_a_record_nothing_is_verified(tmp_path):
    """A distribution without a RECORD can't be verified, which is reported."""
    install(tmp_path, record=False)
    assert verify_files(find([str(tmp_path)])[0]) == ["acme-audit 1.0: there is no RECORD of its files"]


def test_a_lock_file_is_made_for_diffs(tmp_path):
    """One fact per line, sorted, with a format version and a newline at the end."""
    lock = Lock({"b": Pin("2", "bb"), "a": Pin("1", "aa", "metadata", True, ("lifespan:x",))}, {"lifespan": ("x",)})
    lock.write(tmp_path / "bandmaster.lock")
    assert (tmp_path / "bandmaster.lock").read_text() == (
        '{\n  "format": 1,\n  "distributions": {\n'
        '    "a": {\n      "version": "1",\n      "sha256": "aa",\n      "covers": "metadata",\n'
        '      "editable": true,\n      "parts": [\n        "lifespan:x"\n      ]\n    },\n'
        '    "b": {\n      "version": "2",\n      "sha256": "bb",\n      "covers": "files",\n'
        '      "editable": false,\n      "parts": []\n    }\n  },\n'
        '  "order": {\n    "lifespan": [\n      "x"\n    ]\n  }\n}\n'
    )


def test_a_lock_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A failed write leaves the former file and no draft; a symbolic link stays a link."""
    target = tmp_path / "real.lock"
    link = tmp_path / "bandmaster.lock"
    link.symlink_to(target)
    Lock({"a": Pin("1", "aa")}).write(link)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Lock().write(link)
    assert Lock.read(link) == Lock({"a": Pin("1", "aa")})
    assert link.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bandmaster.lock", "real.lock"]


_texts = st.text(st.characters(codec="utf-8"), max_size=5)
_pins = st.builds(
    Pin, _texts, _texts, st.sampled_from(["files", "metadata"]), st.booleans(), st.lists(_texts).map(tuple)
)
_locks = st.builds(
    Lock,
    st.dictionaries(_texts, _pins, max_size=3),
    st.dictionaries(_texts, st.lists(_texts).map(tuple), max_size=2),
    st.dictionaries(_texts, _texts, max_size=2),
)


@given(_locks)
def test_round_trip(lock):
    """A lock that is written and parsed is equal, with the same text and no drift."""
    again = Lock.parse(lock.text())
    assert (again, again.text(), again.drift(lock)) == (lock, lock.text(), [])


@given(_locks, _locks)
def test_drift_is_empty_for_equal_locks_only(one, other):
    """Two locks have a drift, in both directions, exactly if their distributions differ."""
    one, other = Lock(one.distributions), Lock(other.distributions)
    changed = {name: (p.version, p.sha256, p.covers, p.editable, {*p.parts}) for name, p in one.distributions.items()}
    others = {name: (p.version, p.sha256, p.covers, p.editable, {*p.parts}) for name, p in other.distributions.items()}
    assert bool(one.drift(other)) == bool(other.drift(one)) == (changed != others)


def test_drift():
    """Each difference is a line with the distribution and the kind of the difference."""
    mine = Lock(
        {
            "content": Pin("1.0", "a" * 64),
            "editable": Pin("1.0", "a"),
            "gone": Pin("1.0", "a"),
            "parts": Pin("1.0", "a", parts=("lifespan:x", "lifespan:y")),
            "record": Pin("1.0", "a", "metadata"),
            "version": Pin("1.0", "a"),
        }
    )
    other = Lock(
        {
            "content": Pin("1.0", "b" * 64),
            "editable": Pin("1.0", "b", "metadata", editable=True),
            "new": Pin("1.0", "a"),
            "parts": Pin("1.0", "a", parts=("lifespan:x", "routes:z")),
            "record": Pin("1.0", "a"),
            "version": Pin("1.1", "b"),
        }
    )
    assert mine.drift(other) == [
        "~ content 1.0: other content under the same version, aaaaaaaaaaaa… → bbbbbbbbbbbb…",
        "~ editable 1.0: with RECORD → editable install",
        "- gone 1.0 is in the lock, but isn't installed",
        "+ new 1.0 is installed, but isn't in the lock",
        "~ parts: no longer brings lifespan:y",
        "~ parts: now brings routes:z",
        "~ record 1.0: without RECORD → with RECORD",
        "~ version 1.0 → 1.1",
    ]


def test_drift_of_policies():
    """A component that reacts otherwise to a failed start is a line; a lock without a plan has no policies."""
    mine = Lock(order={"lifespan": ("a",)}, on_start_failure={"a": "degrade", "b": "retry", "d": "retry"})
    other = Lock(order={"lifespan": ("a",)}, on_start_failure={"a": "retry", "c": "degrade", "d": "retry"})
    assert [
        "~ a: on_start_failure degrade → retry",
        "~ b: on_start_failure retry → stop",
        "~ c: on_start_failure stop → degrade",
    ] == mine.drift(other)
    assert [] == mine.drift(Lock())


def test_drift_of_orders():
    """A moved part is shown between its neighbours; groups that only one lock has are passed over."""
    mine = Lock(order={"lifespan": ("a", "b", "c", "d", "e", "f"), "middleware": ("x",), "routes": ("r",)})
    other = Lock(order={"lifespan": ("b", "a", "c", "d", "e", "g"), "routes": ("r",)})
    assert mine.drift(other) == [
        "~ order of lifespan:",
        "    …",
        "    +b",
        "     a",
        "    -b",
        "     c",
        "    …",
        "     e",
        "    -f",
        "    +g",
    ]


def problem_of(path):
    with pytest.raises(DiscoveryError) as caught:
        Lock.read(path)
    return str(caught.value.problems[0])


def test_a_missing_lock_file(tmp_path):
    """Without a lock file, the error says how to make one."""
    assert problem_of(tmp_path / "x.lock") == (
        f"There is no lock file {tmp_path / 'x.lock'}. Make one with: bandmaster lock"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n<<<<<<< HEAD\n", "line 2, column 1: Expecting property name enclosed in double quotes"),
        ("[]", "the file: expected an object, got []"),
        ("{}", "format: this bandmaster reads 1, got None"),
        ('{"format": 2}', "format: this bandmaster reads 1, got 2"),
        ('{"format": 1}', "distributions: expected an object, got None"),
        ('{"format": 1, "distributions": {}, "order": []}', "order: expected an object, got []"),
        ('{"format": 1, "distributions": {}, "order": {"a": 3}}', "order.a: expected a list of names, got 3"),
        ('{"format": 1, "distributions": {}, "order": {"a": [3]}}', "order.a: expected a list of names, got [3]"),
        ('{"format": 1, "distributions": {"a": 3}, "order": {}}', "distributions.a: expected an object, got 3"),
        (
            '{"format": 1, "distributions": {}, "order": {}, "on_start_failure": {"a": 3}}',
            "on_start_failure.a: expected text, got 3",
        ),
    ],
)
def test_a_malformed_lock_file(tmp_path, text, said):
    """A malformed lock file is reported with the file, the place and a remedy."""
    path = tmp_path / "bandmaster.lock"
    path.write_text(text)
    assert problem_of(path) == (
        f"The lock file {path} can't be read: {said}. Restore it, make it anew with: bandmaster lock, "
        "or set BANDMASTER_LOCK_FILE to another."
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("version", None, "distributions.a.version: expected text, got None"),
        ("sha256", 3, "distributions.a.sha256: expected text, got 3"),
        ("covers", "all", "distributions.a.covers: expected 'files' or 'metadata', got 'all'"),
        ("editable", "no", "distributions.a.editable: expected true or false, got 'no'"),
        ("parts", "x", "distributions.a.parts: expected a list of names, got 'x'"),
    ],
)
def test_a_malformed_pin(field, value, said):
    """A field of a pin with a wrong type is named with the distribution."""
    data = json.loads(Lock({"a": Pin("1", "aa")}).text())
    data["distributions"]["a"][field] = value
    with pytest.raises(ValueError, match=said):
        Lock.parse(json.dumps(data))


def test_a_lock_file_that_cannot_be_opened(tmp_path):
    """An error of the disk, and bytes that aren't UTF-8, are reported."""
    assert "can't be read: Is a directory. Restore it" in problem_of(tmp_path)
    (tmp_path / "x.lock").write_bytes(b"\xff")
    assert "can't decode byte 0xff" in problem_of(tmp_path / "x.lock")
