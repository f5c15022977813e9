"""Parse lists of ``name=value`` in the form of OpenTelemetry's variables. Pure."""

from __future__ import annotations

from urllib.parse import unquote


def parse_key_values(text: str) -> dict[str, str]:
    """The values by name of a text such as ``api-key=s3cret,team=web``. Values are percent-decoded.

    This is the form of ``OTEL_EXPORTER_OTLP_HEADERS`` and ``OTEL_RESOURCE_ATTRIBUTES``: the list of W3C Baggage
    (section 3.3) without properties. Of several values of one name the last one counts.

    >>> parse_key_values("team=web, note=a%2Cb")
    {'team': 'web', 'note': 'a,b'}

    Raises:
        ValueError: an entry has another form. The message doesn't quote the text, which may have secrets.
    """
    found: dict[str, str] = {}
    for number, entry in enumerate((part for part in text.split(",") if part.strip()), start=1):
        name, sign, value = entry.partition("=")
        if not (sign and name.strip()):
            raise ValueError(f"expected name=value with commas in between; entry {number} has another form")
        found[name.strip()] = unquote(value.strip())
    return found
