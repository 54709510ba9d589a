"""TLS trust of both adapters: the system's authorities plus the tenant's own bundle, and no switch to turn it off.

Environment variables that replace trust (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`) are not
consulted: a stray variable must not decide whom a service account's password is sent to. A proxy may be named there:
it passes on what TLS has sealed from end to end, and sees no more of it than the name of the host.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import certifi
from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.utils import should_bypass_proxies

from connectors.lines import Lines

_PROXY_SCHEMES: Final = frozenset({"http", "https"})


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


def proxy_from_environment(origin: str) -> str:
    """The proxy that `HTTPS_PROXY` names for an `https://` origin; empty where `NO_PROXY` exempts it, or none is named.

    Raises:
        ValueError: What is named is no `http://` or `https://` address. The message does not hold it.
    """
    named = getproxies_environment().get("https", "")
    if not named or should_bypass_proxies(origin, no_proxy=None):
        return ""
    url = named if "://" in named else f"http://{named}"
    try:
        parts = urlsplit(url)
        is_proxy = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy:
        raise ValueError("not a proxy like http://proxy.example.com:3128")
    return url


class TrustAdapter(HTTPAdapter):
    """A requests transport that verifies against one context, whatever session settings or environment say.

    Args:
        context: Whom it trusts.
        lines: What its connections belong to.
        options: Of requests' own.
    """

    def __init__(self, context: ssl.SSLContext, lines: Lines | None = None, **options: Any) -> None:
        self._context = context
        self._lines = lines or Lines()
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Makes every connection with the context."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = self._lines.pools()

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Verifies a proxy that itself speaks TLS against the context too."""
        return super().proxy_manager_for(proxy, **kwargs, proxy_ssl_context=self._context)

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


class StayingSession(Session):
    """Stays where it is: told not to follow, requests would still read a redirect's whole body."""

    def get_redirect_target(self, resp: Response) -> None:
        """Nowhere."""
