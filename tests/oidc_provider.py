"""An OpenID Connect provider for tests: it checks what a client has to send, and lies in the way that a test asks for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "orchestrator", "canary-client-secret"


class Provider(ThreadingHTTPServer):
    """A provider with one client and one person; `lie` is what is wrong with the next id token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
        self.other_key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
        self.claims: dict[str, Any] = {"sub": "u-1", "preferred_username": "mia", "groups": ["sre"]}
        self.userinfo: dict[str, Any] = {}
        self.lie = ""
        self.asked: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.faults: list[str] = []
        self.metadata: dict[str, Any] = {}

    @property
    def issuer(self) -> str:
        """Return the address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def description(self) -> dict[str, Any]:
        """Return the discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            **self.metadata,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where the browser is sent to, the person having said yes."""
        self.asked = asked
        wanted = {"response_type": "code", "client_id": CLIENT, "code_challenge_method": "S256"}
        self.faults += [f"{name}={asked.get(name)}" for name, value in wanted.items() if asked.get(name) != value]
        self.faults += [f"{name} is missing" for name in ("state", "nonce", "code_challenge", "redirect_uri") if not asked.get(name)]
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return the answer of the token endpoint; a code works once, for who began with its challenge."""
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.get(form.get("code", ""))
        if self.lie != "codes work twice":
            self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if authorization != expected:
            return 401, {"error": "invalid_client"}
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        answer = {"access_token": "access", "token_type": "Bearer", "id_token": self._signed(asked["nonce"])}
        if self.lie == "no id token":
            del answer["id_token"]
        return 200, answer

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.claims}
        claims.update(
            {
                "another nonce": {"nonce": "guessed"},
                "another audience": {"aud": "somebody-else"},
                "another audience, we as party": {"aud": ["somebody-else"], "azp": CLIENT},
                "another issuer": {"iss": "https://evil.example"},
                "too old": {"iat": now - 7200, "exp": now - 3600},
                "no subject": {"sub": ""},
            }.get(self.lie, {})
        )
        if self.lie == "no nonce":
            del claims["nonce"]
        if self.lie == "unsigned":
            parts = [json.dumps(one).encode() for one in ({"alg": "none", "typ": "JWT"}, claims)]
            return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."
        if self.lie == "signed with the public key":
            return _with_secret(self.key.as_pem(private=False), claims)
        if self.lie == "signed with our secret":
            return _with_secret(SECRET.encode(), claims)
        key = self.other_key if self.lie == "signed by somebody else" else self.key
        return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, key)


def _with_secret(secret: bytes, claims: dict[str, Any]) -> str:
    """Return a token signed by a shared secret; the library refuses to do such a thing."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256", "kid": "k1"}, claims)]
    signature = hmac.new(secret, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        """Answer discovery, keys, user information and the browser."""
        parts = urlsplit(self.path)
        match parts.path:
            case "/.well-known/openid-configuration":
                self._json(200, self.server.description())
            case "/jwks":
                self._json(200, {"keys": [self.server.key.as_dict(private=False)]})
            case "/userinfo":
                allowed = self.headers.get("Authorization") == "Bearer access"
                self._json(200 if allowed else 401, {**self.server.claims, **self.server.userinfo} if allowed else {})
            case "/authorize":
                self.send_response(302)
                self.send_header("Location", self.server.authorize(dict(parse_qsl(parts.query))))
                self.send_header("Content-Length", "0")
                self.end_headers()
            case _:
                self._json(404, {})

    def do_POST(self) -> None:
        """Answer the token endpoint."""
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        self._json(*self.server.token(form, self.headers.get("Authorization", "")))

    def _json(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider on a free port."""
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
