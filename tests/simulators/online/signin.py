"""Entra's sign-in: discovery and the token endpoint for client credentials.

Sources: "Microsoft identity platform application authentication certificate credentials", "Microsoft Entra
authentication and authorization error codes" (Microsoft Learn).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import jwt

from tests.simulators.online.registration import Application
from tests.simulators.online.tokens import TokenIssuer, unpadded
from tests.simulators.serving import Answer, Request

_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DIRECTORY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9-]+(\.[a-z0-9-]+)+", re.IGNORECASE)
_SKEW = 300  # seconds


class SignInError(Exception):
    """A refusal with its AADSTS number."""

    def __init__(self, status: int, error: str, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.error = error
        self.number = number
        self.sentence = sentence


class SignIn:
    """The sign-in endpoints of one directory and the applications registered in it."""

    def __init__(
        self,
        directory_id: str,
        applications: list[Application],
        issuer: TokenIssuer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory_id = directory_id
        self.applications = {application.client_id.lower(): application for application in applications}
        self.domains: set[str] = set()  # verified domains that name the directory as well as its ID
        self._issuer = issuer
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer | None:
        """The answer to a sign-in request; None for a path that is none of ours."""
        directory, *rest = request.segments
        routes: dict[str, Callable[[Request], dict[str, Any]]] = {
            "v2.0/.well-known/openid-configuration": self._discovery,
            "oauth2/v2.0/token": self._token,
            "discovery/v2.0/keys": lambda _: self._issuer.key_set(),
        }
        route = routes.get("/".join(rest))
        if route is None:
            return None
        try:
            self._check_directory(directory)
            return _json(200, route(request))
        except SignInError as refusal:
            return _json(refusal.status, self._refusal(refusal, request))

    def _check_directory(self, directory: str) -> None:
        if not _DIRECTORY.fullmatch(directory):
            sentence = (
                f"Specified tenant identifier '{directory}' is neither a valid DNS name, nor a valid external domain."
            )
            raise SignInError(400, "invalid_request", 900023, sentence)
        if directory.lower() not in {self.directory_id, *self.domains}:
            sentence = (
                f"Tenant '{directory}' not found. Check to make sure you have the correct tenant ID "
                "and are signing into the correct cloud."
            )
            raise SignInError(400, "invalid_request", 90002, sentence)

    def _discovery(self, request: Request) -> dict[str, Any]:
        base = f"{request.origin}/{request.segments[0]}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{request.origin}/{self.directory_id}/v2.0",
            "request_uri_parameter_supported": False,
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "http_logout_supported": True,
            "frontchannel_logout_supported": True,
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "tid", "ver"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }

    def _token(self, request: Request) -> dict[str, Any]:
        if request.method != "POST":
            raise SignInError(405, "invalid_request", 900561, "The endpoint only accepts POST requests.")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        _read_basic(request, form)
        if form.get("grant_type") != "client_credentials":
            sentence = f"The app requested an unsupported grant type '{form.get('grant_type', '')}'."
            raise SignInError(400, "unsupported_grant_type", 70003, sentence)
        audience = _audience(form.get("scope", ""), request.origin)
        application = self._application(form.get("client_id", ""))
        if "client_assertion" in form:
            self._check_assertion(application, form, request)
        elif "client_secret" in form:
            self._check_secret(application, form["client_secret"])
        else:
            sentence = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise SignInError(401, "invalid_client", 7000218, sentence)
        issuer = f"{request.origin}/{self.directory_id}/"
        lifetime = self._issuer.lifetime
        token = self._issuer.issue(application, audience, issuer)
        return {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}

    def _application(self, client_id: str) -> Application:
        if not client_id:
            raise SignInError(
                400, "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'."
            )
        application = self.applications.get(client_id.lower())
        if application is None:
            sentence = (
                f"Application with identifier '{client_id}' was not found in the directory '{self.directory_id}'. "
                "This can happen if the application has not been installed by the administrator of the tenant."
            )
            raise SignInError(400, "unauthorized_client", 700016, sentence)
        return application

    def _check_secret(self, application: Application, secret: str) -> None:
        for known, ends in application.secrets.items():
            if hmac.compare_digest(known.encode(), secret.encode()):
                if ends.timestamp() > self._clock():
                    return
                sentence = f"The provided client secret keys for app '{application.client_id}' are expired."
                raise SignInError(401, "invalid_client", 7000222, sentence)
        sentence = (
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{application.client_id}'."
        )
        raise SignInError(401, "invalid_client", 7000215, sentence)

    def _check_assertion(self, application: Application, form: dict[str, str], request: Request) -> None:
        if form.get("client_assertion_type") != _JWT_BEARER:
            raise SignInError(400, "invalid_request", 900144, "The request body must contain 'client_assertion_type'.")
        assertion = form["client_assertion"]
        if _is_of_a_workload(assertion):
            self._check_times(_trusted_claims(application, assertion))
            return
        claims = _verified_claims(application, assertion)
        endpoints = {request.url.split("?")[0], f"{request.origin}/{self.directory_id}/v2.0"}
        if claims.get("aud") not in endpoints:
            sentence = f"Client assertion audience claim does not match Realm issuer. Audience '{claims.get('aud')}'."
            raise SignInError(401, "invalid_client", 700023, sentence)
        for name in ("iss", "sub"):
            if str(claims.get(name)).lower() != application.client_id.lower():
                sentence = f"Client assertion contains an invalid '{name}' claim."
                raise SignInError(401, "invalid_client", 700021 if name == "iss" else 700030, sentence)
        self._check_times(claims)
        self._check_replay(claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now, expires = self._clock(), claims.get("exp")
        begins = claims.get("nbf", claims.get("iat", now))
        if not isinstance(expires, int | float) or expires < now - _SKEW or begins > now + _SKEW:
            sentence = "Client assertion is not within its valid time range."
            raise SignInError(401, "invalid_client", 700024, sentence)

    def _check_replay(self, claims: dict[str, Any]) -> None:
        identifier = claims.get("jti")
        with self._lock:
            if not identifier or identifier in self._seen:
                sentence = "JWT token is invalid or malformed: its 'jti' is missing or was used before."
                raise SignInError(401, "invalid_client", 50027, sentence)
            self._seen[identifier] = claims["exp"]

    def _refusal(self, refusal: SignInError, request: Request) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        trace, correlation = str(uuid.uuid4()), request.headers.get("client-request-id") or str(uuid.uuid4())
        traces = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
        return {
            "error": refusal.error,
            "error_description": f"AADSTS{refusal.number}: {refusal.sentence} {traces}",
            "error_codes": [refusal.number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"{request.origin}/error?code={refusal.number}",
        }


def _is_of_a_workload(assertion: str) -> bool:
    """Whether somebody else than the application itself says who it is: issuers outside are https addresses."""
    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return False
    return str(claims.get("iss")).startswith("https://")


def _trusted_claims(application: Application, assertion: str) -> dict[str, Any]:
    """Source: "Workload identity federation" (Microsoft Learn), and the messages of Entra."""
    if not application.trusts:
        sentence = f"The client '{application.client_id}' has no configured federated identity credentials."
        raise SignInError(401, "invalid_client", 70025, sentence)
    said = jwt.decode(assertion, options={"verify_signature": False})
    left = application.trusts
    for claim, number, name in (("iss", 700211, "issuer"), ("aud", 700212, "audience"), ("sub", 700213, "subject")):
        left = [trust for trust in left if getattr(trust, name) == said.get(claim)]
        if not left:
            sentence = (
                f"No matching federated identity record found for presented assertion {name} '{said.get(claim)}'."
            )
            raise SignInError(401, "invalid_client", number, sentence)
    checks = {f"verify_{name}": False for name in ("aud", "exp", "nbf", "iat", "iss", "sub", "jti")}
    try:
        return dict(jwt.decode(assertion, left[0].key, algorithms=["RS256"], options=checks))
    except jwt.InvalidTokenError as error:
        raise SignInError(401, "invalid_client", 50027, "JWT token is invalid or malformed.") from error


def _verified_claims(application: Application, assertion: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(assertion)
        modern, thumbprint = "x5t#S256" in header, unpadded(header.get("x5t#S256") or header.get("x5t") or "")
    except (jwt.InvalidTokenError, binascii.Error, ValueError) as error:
        raise SignInError(401, "invalid_client", 50027, "JWT token is invalid or malformed.") from error
    certificate = (
        application.certificate_by_thumbprint(thumbprint) if len(thumbprint) == (32 if modern else 20) else None
    )
    if certificate is None:
        sentence = (
            "The certificate with identifier used to sign the client assertion is not registered on application. "
            f"[Reason - The key was not found., Thumbprint of key used by client: '{thumbprint.hex().upper()}']"
        )
        raise SignInError(401, "invalid_client", 700027, sentence)
    if certificate.not_valid_after_utc < datetime.now(UTC):
        sentence = "Client assertion failed signature validation. [Reason - The key used is expired.]"
        raise SignInError(401, "invalid_client", 700027, sentence)
    checks = {f"verify_{name}": False for name in ("aud", "exp", "nbf", "iat", "iss", "sub", "jti")}
    try:
        return dict(jwt.decode(assertion, certificate.public_key(), algorithms=["PS256", "RS256"], options=checks))
    except jwt.InvalidTokenError as error:
        sentence = "Client assertion failed signature validation. [Reason - The key did not verify it.]"
        raise SignInError(401, "invalid_client", 700027, sentence) from error


def _audience(scope: str, origin: str) -> str:
    resource, separator, permission = scope.partition("/.default")
    if not separator or permission:
        sentence = f"The scope '{scope}' is not valid. It has to be of the form 'resource/.default'."
        raise SignInError(400, "invalid_scope", 70011, sentence)
    if resource != origin and resource.rstrip("/") != "https://graph.microsoft.com":
        sentence = f"The resource principal named {resource} was not found in the tenant."
        raise SignInError(400, "invalid_resource", 500011, sentence)
    return resource.rstrip("/")


def _read_basic(request: Request, form: dict[str, str]) -> None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, secret = base64.b64decode(value).decode().partition(":")
        form.setdefault("client_id", unquote(name))
        form.setdefault("client_secret", unquote(secret))


def _json(status: int, content: dict[str, Any]) -> Answer:
    headers = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store, no-cache"}
    return Answer(status, headers, json.dumps(content).encode())
