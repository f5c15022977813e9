"""Save the timeline of the last start for later commands, and load it."""

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
    """The directory of files that outlive a run, by the XDG Base Directory Specification."""

    model_config = SettingsConfigDict(env_prefix="XDG_", extra="ignore", hide_input_in_errors=True)

    state_home: str = Field(
        default="", description="Directory of files that outlive a run; if unset or relative, ~/.local/state."
    )


@dataclass(frozen=True, slots=True)
class SavedTimeline:
    """A record of a start, with the time at which it was saved."""

    record: Record
    at: datetime


def timeline_path(target: str | None) -> Path:
    """Return the file for the timeline of a target's last start.

    The name also depends on the working directory, since ``module:attribute`` means another target elsewhere.
    """
    home = StateSettings().state_home
    # The specification says that relative paths are ignored.
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()  # noqa: PTH117
    name = hashlib.sha256(os.fsencode(f"{Path.cwd()}\0{target or ''}")).hexdigest()[:16]
    return base / "bandmaster" / f"timeline-{name}.json"


def save_timeline(target: str | None, record: Record) -> bool:
    """Save the timeline of a start, and return whether that succeeded.

    The file is replaced as a whole or not at all. A failure isn't raised: a start mustn't fail for its measurements.
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
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return False
    return True


def load_timeline(target: str | None) -> SavedTimeline | None:
    """Load the timeline of a target's last start; None if no readable one was saved."""
    try:
        path = timeline_path(target)
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return SavedTimeline(Record.from_json(path.read_text(encoding="utf-8")), at)
    except (OSError, RuntimeError, ValueError):
        return None
