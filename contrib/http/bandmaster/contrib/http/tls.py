"""The TLS context of a client."""

from __future__ import annotations

import ssl

import httpx2

from bandmaster.contrib.http.errors import HttpRefusedError
from bandmaster.contrib.http.settings import HttpSettings


def build_tls(settings: HttpSettings) -> ssl.SSLContext:
    """The context of TLS connections, with the certificates that the settings name.

    Without an authority of its own a client trusts those of the system, or of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.

    Raises:
        HttpRefusedError: a certificate can't be read.
    """
    fields = {"tls_ca_file": settings.tls_ca_file, "tls_cert_file": settings.tls_cert_file}
    fields["tls_key_file"] = settings.tls_key_file
    named = ", ".join(f"{settings.variable(name)}={path}" for name, path in fields.items() if path is not None)
    try:
        if settings.tls_ca_file is None:
            tls = httpx2.create_ssl_context()
        else:
            tls = ssl.create_default_context(cafile=settings.tls_ca_file)
        if settings.tls_cert_file is not None:
            tls.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except OSError as error:
        raise HttpRefusedError(f"certificates for HTTP calls can't be read ({named}): {error}") from error
    return tls
