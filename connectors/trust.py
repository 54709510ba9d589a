"""TLS trust shared by both adapters: the system's authorities plus the tenant's own bundle, and no switch to turn it off.

Environment variables that replace trust (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`) are not
consulted: a stray variable must not decide whom a service account's password is sent to.
"""

from __future__ import annotations

import os
import ssl
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
    paths = (
        ssl.get_default_verify_paths()
    )  # the openssl_* members are OpenSSL's built-in places, whatever the environment says
    cafile = paths.openssl_cafile if os.path.isfile(paths.openssl_cafile) else None
    capath = paths.openssl_capath if os.path.isdir(paths.openssl_capath) and os.listdir(paths.openssl_capath) else None
    if cafile is None and capath is None:
        cafile = certifi.where()
    context.load_verify_locations(cafile=cafile, capath=capath)


class TrustAdapter(HTTPAdapter):
    """A requests transport that verifies against one context, whatever session settings or environment say."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves trust to the context; requests would add its own bundle here, or drop verification."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = None
        conn.ca_cert_dir = None

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        host, pool = super().build_connection_pool_key_attributes(request, True, None)
        pool.pop("ca_certs", None)
        pool["cert_reqs"] = "CERT_REQUIRED"
        pool["ssl_context"] = self._context
        return host, pool
