"""Self-signed certificates for tests."""

import shutil
import subprocess
from dataclasses import dataclass

from bandmaster.kernel.testing import ServerUnavailable


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and its key."""

    cert: str
    key: str


def certificate(folder, name, address="127.0.0.1"):
    """A certificate for an address of this machine."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ServerUnavailable("there is no openssl to make certificates with")
    made = Certificate(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", made.key, "-out", made.cert, "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:{address}"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made
