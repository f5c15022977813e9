"""Translate names and units of OpenTelemetry to those of Prometheus. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["Kind", "make_label_name", "make_metric_name", "make_sample_names", "make_unit"]

Kind = Literal["counter", "gauge", "histogram"]

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_:]+")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]+")
_UNDERSCORES = re.compile(r"__+")
_UNITS: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "m": "meters",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
"""The words for units (OpenTelemetry, "Prometheus and OpenMetrics Compatibility")."""
_PER: Final = {
    "s": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}


def make_metric_name(name: str, unit: str, kind: Kind) -> str:
    """The name of a metric's family in Prometheus, with its unit and without ``_total``.

    >>> make_metric_name("http.server.request.duration", "s", "histogram")
    'http_server_request_duration_seconds'
    """
    text = _UNDERSCORES.sub("_", _NOT_IN_NAMES.sub("_", name)).strip("_")
    if kind == "counter":
        text = text.removesuffix("_total")
    if not text or text[0].isdigit():
        text = f"_{text}"
    word = make_unit(unit, kind)
    return text if not word or text.endswith(f"_{word}") else f"{text}_{word}"


def make_unit(unit: str, kind: Kind) -> str:
    """The word for a unit at the end of a name; empty for a bare number, and for an annotation such as ``{request}``.

    >>> make_unit("By/s", "gauge")
    'bytes_per_second'
    """
    unit = re.sub(r"\{[^}]*\}", "", unit).strip()
    if unit == "1":
        return "ratio" if kind == "gauge" else ""
    amount, _, per = unit.partition("/")
    word = _make_word(_UNITS.get(amount, amount))
    if per:
        word = _make_word(f"{word}_per_{_PER.get(per, per)}")
    return word


def make_sample_names(name: str, unit: str, kind: Kind) -> tuple[str, ...]:
    """The names of a metric's samples, as queries name them.

    >>> make_sample_names("bandmaster.task.sent", "{task}", "counter")
    ('bandmaster_task_sent_total',)
    """
    family = make_metric_name(name, unit, kind)
    if kind == "counter":
        return (f"{family}_total",)
    if kind == "histogram":
        return (f"{family}_bucket", f"{family}_count", f"{family}_sum")
    return (family,)


def make_label_name(name: str) -> str:
    """The name of a label for an attribute.

    >>> make_label_name("http.request.method")
    'http_request_method'
    """
    text = _NOT_IN_LABELS.sub("_", name)
    if not text or text[0].isdigit():
        text = f"_{text}"
    # Prometheus keeps names that begin with two underscores for itself.
    return re.sub(r"^__+", "_", text)


def _make_word(text: str) -> str:
    return _UNDERSCORES.sub("_", _NOT_IN_LABELS.sub("_", text)).strip("_")
