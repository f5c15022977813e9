"""What one run leaves for the commands that come after it: the timeline of the last start."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel.listeners.timeline import Record


class StateSettings(BaseSettings):
    """Where state goes, by the XDG Base Directory Specification."""

    model_config = SettingsConfigDict(env_prefix="XDG_", extra="ignore", hide_input_in_errors=True)

    state_home: str = Field(
        default="", description="Directory of what outlives a run; unset or relative: ~/.local/state at home."
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A record, and when it was kept."""

    record: Record
    at: datetime


def timeline_path(target: str | None) -> Path:
    """Where the timeline of a target's last start is kept; a target means another thing in each directory."""
    home = StateSettings().state_home
    # The specification has relative paths ignored.
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()  # noqa: PTH117
    name = hashlib.sha256(os.fsencode(f"{Path.cwd()}\0{target or ''}")).hexdigest()[:16]
    return base / "bandmaster" / f"timeline-{name}.json"


def save_timeline(target: str | None, record: Record) -> bool:
    """Keep the timeline of a start, whole or not at all; whether that went well.

    It never raises: that nobody will be able to look at it is no reason for a start to fail.
    """
    try:
        path = timeline_path(target)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(record.to_json(), encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, RuntimeError):  # no home directory is a RuntimeError
        return False
    return True


def load_timeline(target: str | None) -> Kept | None:
    """The timeline of a target's last start, if one was kept and can be read."""
    try:
        path = timeline_path(target)
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return Kept(Record.from_json(path.read_text(encoding="utf-8")), at)
    except (OSError, RuntimeError, ValueError):
        return None
