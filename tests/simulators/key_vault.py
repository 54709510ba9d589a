"""A small stub of Azure Key Vault, of which there is no emulator: the key operations that root keys need, over TLS.

Written from Microsoft's reference (Key Vault REST API: Create Key, Get Key, Wrap Key, Unwrap Key, Delete Key, Get
Deleted Key, Purge Deleted Key; "Authentication, requests and responses"; "Azure Key Vault soft-delete overview"). It
shows that syncvault speaks that protocol, not that Azure keeps to it. It also plays the endpoint from which a managed
identity gets its token.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import trustme
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256

from tests.simulators.serving import Answer, HttpsServer, Request

TOKEN = "token-of-the-right-identity"
IDENTITY_HEADER = "header-of-the-managed-identity"
RETENTION_SECONDS = 90 * 24 * 3600
_BITS = 2048  # what is asked for counts in the answer's length only, and small keys are made faster


@dataclass
class StoredKey:
    """One version of a key."""

    name: str
    kind: str
    operations: list[str]
    private: rsa.RSAPrivateKey | None
    secret: bytes
    version: str = field(default_factory=lambda: uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    enabled: bool = True


class Fault(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, inner: str = "", message: str = "no") -> None:
        super().__init__(code)
        self.status = status
        error: dict[str, Any] = {"code": code, "message": message}
        if inner:
            error["innererror"] = {"code": inner}
        self.body = json.dumps({"error": error}).encode()


class KeyVaultStub:
    """One vault with soft-delete, and purge protection if wanted."""

    def __init__(self, authority: trustme.CA) -> None:
        self._server = HttpsServer(self._respond, authority)
        self._lock = threading.RLock()
        self.keys: dict[str, dict[str, StoredKey]] = {}
        self.deleted: dict[str, tuple[dict[str, StoredKey], int]] = {}
        self.purge_protection = False
        self.limbo = 0  # for how many looks a key just deleted is neither here nor deleted
        self._in_limbo: dict[str, int] = {}
        self.faults: dict[str, list[Answer | Fault]] = {}
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        """The vault's address."""
        return self._server.origin

    @property
    def environment(self) -> dict[str, str]:
        """What a machine with a managed identity has in its environment."""
        return {
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": IDENTITY_HEADER,
        }

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self) -> None:
        """Stops answering."""
        self._server.stop()

    def _respond(self, request: Request) -> Answer:
        with self._lock:
            try:
                return self._answered(request)
            except Fault as fault:
                return Answer(fault.status, {"Content-Type": "application/json"}, fault.body)

    def _answered(self, request: Request) -> Answer:
        if request.segments == ["msi", "token"]:
            return self._token(request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            # The resource has to be a parent domain of the vault's host. The stub's host is an address, so that what
            # stands for one is its end.
            parent = urlsplit(self.url).netloc.partition(".")[2]
            challenge = f'Bearer authorization="https://login.example/tenant", resource="https://{parent}"'
            return Answer(401, {"WWW-Authenticate": challenge}, Fault(401, "Unauthorized").body)
        action, name, version = _action(request)
        self.seen.append(action)
        if self.faults.get(action):
            fault = self.faults[action].pop(0)
            if isinstance(fault, Fault):
                raise fault
            return fault
        content: dict[str, Any] = json.loads(request.body or b"{}")
        result = getattr(self, f"_{action}")(name, version, content)
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(result).encode()) if result else Answer(204)

    def _token(self, request: Request) -> Answer:
        if request.headers.get("X-IDENTITY-HEADER") != IDENTITY_HEADER:
            return Answer(401)
        body = {"access_token": TOKEN, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        body["resource"] = request.query.get("resource", "")
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _create(self, name: str, _version: str, content: dict[str, Any]) -> dict[str, Any]:
        if name in self.deleted or name in self._in_limbo:
            raise Fault(409, "Conflict", "ObjectIsDeletedButRecoverable")
        kind = content["kty"]
        private = rsa.generate_private_key(65537, _BITS) if kind.startswith("RSA") else None
        key = StoredKey(name, kind, content.get("key_ops") or [], private, os.urandom(32))
        self.keys.setdefault(name, {})[key.version] = key
        return self._bundle(key)

    def _get(self, name: str, version: str, _content: object) -> dict[str, Any]:
        return self._bundle(self._found(name, version))

    def _wrapkey(self, name: str, version: str, content: dict[str, Any]) -> dict[str, Any]:
        key, value = self._usable(name, version, "wrapKey"), _decoded(content["value"])
        if content["alg"] == "A256KW":
            return {"kid": self._id(key), "value": _encoded(keywrap.aes_key_wrap(key.secret, value))}
        assert key.private is not None
        return {"kid": self._id(key), "value": _encoded(key.private.public_key().encrypt(value, _padding()))}

    def _unwrapkey(self, name: str, version: str, content: dict[str, Any]) -> dict[str, Any]:
        key, value = self._usable(name, version, "unwrapKey"), _decoded(content["value"])
        try:
            if content["alg"] == "A256KW":
                opened = keywrap.aes_key_unwrap(key.secret, value)
            else:
                assert key.private is not None
                opened = key.private.decrypt(value, _padding())
        except (ValueError, keywrap.InvalidUnwrap):
            raise Fault(400, "BadParameter") from None
        return {"kid": self._id(key), "value": _encoded(opened)}

    def _delete(self, name: str, _version: str, _content: object) -> dict[str, Any]:
        self._found(name, "")
        self.deleted[name] = (self.keys.pop(name), int(time.time()))
        if self.limbo:
            self._in_limbo[name] = self.limbo
        return self._deleted_bundle(name)

    def _get_deleted(self, name: str, _version: str, _content: object) -> dict[str, Any]:
        left = self._in_limbo.pop(name, 0)
        if left > 1:
            self._in_limbo[name] = left - 1
        if left or name not in self.deleted:
            raise Fault(404, "KeyNotFound")
        return self._deleted_bundle(name)

    def _purge(self, name: str, _version: str, _content: object) -> None:
        if name not in self.deleted:
            raise Fault(404, "KeyNotFound")
        if self.purge_protection:
            raise Fault(403, "Forbidden", "ForbiddenByPolicy")
        del self.deleted[name]

    def _found(self, name: str, version: str) -> StoredKey:
        versions = self.keys.get(name, {})
        if not versions or (version and version not in versions):
            raise Fault(404, "KeyNotFound")
        return versions[version] if version else list(versions.values())[-1]

    def _usable(self, name: str, version: str, operation: str) -> StoredKey:
        key = self._found(name, version)
        if not key.enabled:
            raise Fault(403, "Forbidden", "KeyDisabled")
        if operation not in key.operations:
            raise Fault(403, "Forbidden", "KeyOperationForbidden")
        return key

    def _id(self, key: StoredKey) -> str:
        return f"{self.url}/keys/{key.name}/{key.version}"

    def _bundle(self, key: StoredKey) -> dict[str, Any]:
        jwk: dict[str, Any] = {"kid": self._id(key), "kty": key.kind, "key_ops": key.operations}
        if key.private is not None:
            numbers = key.private.public_key().public_numbers()
            jwk |= {"n": _encoded(numbers.n.to_bytes(_BITS // 8)), "e": _encoded(b"\1\0\1")}
        level = "Recoverable" if self.purge_protection else "Recoverable+Purgeable"
        attributes = {"enabled": key.enabled, "created": key.created, "updated": key.created, "recoveryLevel": level}
        return {"key": jwk, "attributes": attributes | {"recoverableDays": 90, "exportable": False}}

    def _deleted_bundle(self, name: str) -> dict[str, Any]:
        versions, at = self.deleted[name]
        bundle = self._bundle(list(versions.values())[-1])
        dates = {"deletedDate": at, "scheduledPurgeDate": at + RETENTION_SECONDS}
        return bundle | dates | {"recoveryId": f"{self.url}/deletedkeys/{name}"}


def _action(request: Request) -> tuple[str, str, str]:
    match request.method, request.segments:
        case "POST", ["keys", name, "create"]:
            return "create", name, ""
        case "POST", ["keys", name, version, ("wrapkey" | "unwrapkey") as verb]:
            return verb, name, version
        case "GET", ["keys", name, *version]:
            return "get", name, "".join(version)
        case "DELETE", ["keys", name]:
            return "delete", name, ""
        case "GET", ["deletedkeys", name]:
            return "get_deleted", name, ""
        case "DELETE", ["deletedkeys", name]:
            return "purge", name, ""
    raise Fault(404, "NotFound")


def _padding() -> OAEP:
    return OAEP(MGF1(SHA256()), SHA256(), None)


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
