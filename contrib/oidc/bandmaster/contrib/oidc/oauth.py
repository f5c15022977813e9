"""Read and write what requests to OAuth endpoints have in common (RFC 6749). Pure."""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from urllib.parse import quote_plus

from bandmaster.kernel import BandmasterError

ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""An error code. RFC 6749, section 5.2, allows more characters; no provider has an error code with them."""


def make_basic(client_id: str, secret: str) -> str:
    """The value of ``Authorization`` by which a client authenticates (RFC 6749, section 2.3.1).

    Both are encoded as in a form first: either may have a colon.
    """
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def describe_call_error(error: Exception) -> str:
    """The reason for which a call failed. Errors of other libraries, which may repeat a secret, have only their type.

    Errors of bandmaster-http have the method and the host of the call, and the variable that mends it.
    """
    return str(error) if isinstance(error, BandmasterError) and str(error) else type(error).__name__


def read_seconds(value: object) -> float | None:
    """The seconds of ``expires_in``, which some providers send as a text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return float(value)
    # The bound is one of floats: an integer may be too large for a float.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max:
        return float(value)
    return None
