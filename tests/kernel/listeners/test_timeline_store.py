"""Tests of bandmaster.kernel.listeners.timeline_store."""

import stat
from pathlib import Path

import pytest

from bandmaster.kernel.listeners.timeline import Record, Span
from bandmaster.kernel.listeners.timeline_store import Kept, load_timeline, save_timeline, timeline_path

RECORD = Record(1.5, (Span("a", 0.0, 1.0), Span("b", 1.0, 0.5)), (("a", "b"),), {"a": (), "b": ("a",)})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_kept_is_found_again(home):
    """A record comes back as it was, with when it was kept, for the same target only."""
    assert save_timeline("shop:app", RECORD)
    kept = load_timeline("shop:app")
    assert isinstance(kept, Kept)
    assert (RECORD, "UTC") == (kept.record, kept.at.tzname())
    assert load_timeline("shop:other") is None
    assert load_timeline(None) is None


def test_only_the_owner_may_look(home):
    """The directory is closed to others, and nothing but the record stays in it."""
    save_timeline(None, RECORD)
    directory = home / "state" / "bandmaster"
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert [timeline_path(None)] == list(directory.iterdir())


def test_a_target_means_another_thing_elsewhere(home, monkeypatch):
    """Each directory has records of its own."""
    here = timeline_path("shop:app")
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert here != timeline_path("shop:app")
    assert here.parent == timeline_path("shop:app").parent


@pytest.mark.parametrize("unset", ["", "relative/state"])
def test_without_a_state_home_it_is_below_the_home_directory(home, monkeypatch, unset):
    """The specification's default; relative paths are ignored, as it says."""
    monkeypatch.setenv("XDG_STATE_HOME", unset)
    monkeypatch.setenv("HOME", str(home))
    assert home / ".local" / "state" / "bandmaster" == timeline_path(None).parent


def test_no_place_to_write_is_no_error(home, monkeypatch):
    """A start doesn't fail for that nobody can look at it afterwards."""
    (home / "state").write_text("in the way")
    assert not save_timeline(None, RECORD)
    assert load_timeline(None) is None

    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert not save_timeline(None, RECORD)
    assert load_timeline(None) is None


def test_a_failed_write_leaves_what_was_there(home, monkeypatch):
    """Whole or not at all; no draft stays behind."""
    save_timeline(None, RECORD)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert not save_timeline(None, Record(None, (), (), {}))
    assert load_timeline(None).record == RECORD
    assert [timeline_path(None)] == list((home / "state" / "bandmaster").iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"took": 1}'])
def test_what_is_no_record_is_none(home, text):
    """A damaged file counts as none."""
    save_timeline(None, RECORD)
    timeline_path(None).write_text(text)
    assert load_timeline(None) is None
