"""TLS trust of both adapters: the system's authorities plus the tenant's own bundle, and no switch to turn it off.

Environment variables that replace trust (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`) are not
consulted: a stray variable must not decide whom a service account's password is sent to.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import certifi
from requests.adapters import HTTPAdapter


def tls_context(ca_pem: str = "") -> ssl.SSLContext:
    """A verifying client context.

    Args:
        ca_pem: Certificates in PEM form, trusted in addition to the system's.

    Raises:
        ssl.SSLError: `ca_pem` holds no usable certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_system_trust(context)
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    return context


def _load_system_trust(context: ssl.SSLContext) -> None:
    # The openssl_* members are OpenSSL's built-in places; the others follow the environment.
    paths = ssl.get_default_verify_paths()
    bundle, directory = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    has_bundle, has_directory = bundle.is_file(), directory.is_dir() and any(directory.iterdir())
    if has_bundle:
        context.load_verify_locations(cafile=bundle)
    if has_directory:
        context.load_verify_locations(capath=directory)
    if not has_bundle and not has_directory:
        context.load_verify_locations(cafile=certifi.where())


class TrustAdapter(HTTPAdapter):
    """A requests transport that verifies against one context, whatever session settings or environment say."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Makes every connection with the context."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves trust to the context; requests would add its own bundle here, or drop verification."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = None
        conn.ca_cert_dir = None

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Keys the pool by our context, not by what the session says of verification."""
        host, pool = super().build_connection_pool_key_attributes(request, True, None)
        pool.pop("ca_certs", None)
        return host, {**pool, "cert_reqs": "CERT_REQUIRED", "ssl_context": self._context}
