"""Tests of bandmaster.kernel.listeners.timeline_store."""

import stat
from pathlib import Path

import pytest

from bandmaster.kernel.listeners.timeline import Record, Span
from bandmaster.kernel.listeners.timeline_store import SavedTimeline, load_timeline, save_timeline, timeline_path

RECORD = Record(1.5, (Span("a", 0.0, 1.0), Span("b", 1.0, 0.5)), (("a", "b"),), {"a": (), "b": ("a",)})


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_saved_record_is_loaded_again(home):
    """A record comes back unchanged, with the time of its saving, for the same target only."""
    assert save_timeline("shop:app", RECORD)
    saved = load_timeline("shop:app")
    assert isinstance(saved, SavedTimeline)
    assert (RECORD, "UTC") == (saved.record, saved.at.tzname())
    assert load_timeline("shop:other") is None
    assert load_timeline(None) is None


def test_only_the_owner_may_look(home):
    """Other users can't open the directory, which holds no file but the record."""
    save_timeline(None, RECORD)
    directory = home / "state" / "bandmaster"
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert [timeline_path(None)] == list(directory.iterdir())


def test_each_working_directory_has_records_of_its_own(home, monkeypatch):
    """The same target means another application in another directory."""
    here = timeline_path("shop:app")
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")
    assert here != timeline_path("shop:app")
    assert here.parent == timeline_path("shop:app").parent


@pytest.mark.parametrize("unset", ["", "relative/state"])
def test_without_a_state_home_it_is_below_the_home_directory(home, monkeypatch, unset):
    """The default of the specification holds, also for a relative path."""
    monkeypatch.setenv("XDG_STATE_HOME", unset)
    monkeypatch.setenv("HOME", str(home))
    assert home / ".local" / "state" / "bandmaster" == timeline_path(None).parent


def test_a_directory_that_cannot_be_written_is_no_error(home, monkeypatch):
    """A start doesn't fail because its timeline can't be saved."""
    (home / "state").write_text("in the way")
    assert not save_timeline(None, RECORD)
    assert load_timeline(None) is None

    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert not save_timeline(None, RECORD)
    assert load_timeline(None) is None


def test_a_failed_write_leaves_the_earlier_record(home, monkeypatch):
    """A record is replaced as a whole or not at all, and no draft stays behind."""
    save_timeline(None, RECORD)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert not save_timeline(None, Record(None, (), (), {}))
    assert load_timeline(None).record == RECORD
    assert [timeline_path(None)] == list((home / "state" / "bandmaster").iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"took": 1}'])
def test_a_damaged_file_counts_as_none(home, text):
    """A file that can't be parsed is no record."""
    save_timeline(None, RECORD)
    timeline_path(None).write_text(text)
    assert load_timeline(None) is None
