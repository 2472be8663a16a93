"""Tokens that must open nothing: each is right but for the one thing that its name says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.stack import Stack
from tests.system.attacks.conftest import Person

NOW = int(time.time())
SOON = NOW + 3600
Forge = Callable[["Loot"], str]


def b64(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, payload: object, secret: str | bytes, digest: str = "sha256") -> str:
    """Sign whatever is given, well-formed or not: texts stand for themselves, the rest becomes JSON."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    message = f"{b64(parts[0])}.{b64(parts[1])}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{message}.{b64(hmac.new(key, message.encode(), digest).digest())}"


class Loot:
    """What an attacker may have got hold of: a victim's tokens, the site's public keys; and, to make one wrong, its secrets."""

    def __init__(self, stack: Stack, victim: Person) -> None:
        self.victim = victim
        self.secret = stack.settings["JWT_SECRET_KEY"]
        self.internal_secret = stack.settings["INTERNAL_SECRET"]
        self.claims: dict[str, Any] = {
            "sub": victim.id,
            "username": victim.username,
            "roles": ["admin"],
            "iss": "keepsake",
            "aud": "keepsake",
            "iat": NOW,
            "exp": SOON,
        }
        self.header, self.payload, self.signature = victim.access_token.split(".")

    def but(self, *without: str, **claims: object) -> str:
        """Sign the claims with some of them changed or left out: only what is changed is wrong with it."""
        changed = {name: value for name, value in {**self.claims, **claims}.items() if name not in without}
        return signed({"alg": "HS256", "typ": "JWT"}, changed, self.secret)

    def headed(self, **header: object) -> str:
        """Sign with the right secret under another header."""
        return signed({"alg": "HS256", "typ": "JWT", **header}, self.claims, self.secret)

    def unsigned(self, algorithm: object, signature: str = "") -> str:
        return f"{b64(json.dumps({'alg': algorithm, 'typ': 'JWT'}))}.{b64(json.dumps(self.claims))}.{signature}"

    def text(self, payload: str) -> str:
        """Sign a payload that is given as text."""
        return signed({"alg": "HS256"}, payload, self.secret)

    def with_private_key(self, algorithm: str, **header: object) -> str:
        keys: dict[str, Any] = {
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }
        return jwt.encode(self.claims, keys[algorithm](), algorithm, headers=header)


def _own_jwk(loot: Loot) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    public = b64(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    return jwt.encode(loot.claims, key, "EdDSA", headers={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": public}})


def _claims_text(loot: Loot, addition: str) -> str:
    return loot.text(json.dumps(loot.claims)[:-1] + ", " + addition + "}")


# Signed with the right secret wherever a secret is not what is wrong.
FORGERIES: dict[str, Forge] = {
    "alg none": lambda loot: loot.unsigned("none"),
    "alg None": lambda loot: loot.unsigned("None"),
    "alg NONE": lambda loot: loot.unsigned("NONE"),
    "alg nOnE": lambda loot: loot.unsigned("nOnE"),
    "alg none with a signature": lambda loot: loot.unsigned("none", loot.signature),
    "alg empty": lambda loot: loot.unsigned(""),
    "alg null": lambda loot: loot.unsigned(None),
    "alg a list": lambda loot: loot.unsigned(["HS256", "none"], loot.signature),
    "alg a number": lambda loot: loot.unsigned(0),
    "alg missing": lambda loot: signed({"typ": "JWT"}, loot.claims, loot.secret),
    "alg in lower case": lambda loot: loot.headed(alg="hs256"),
    "alg with a space": lambda loot: loot.headed(alg="HS256 "),
    "alg HS384": lambda loot: signed({"alg": "HS384"}, loot.claims, loot.secret, "sha384"),
    "alg HS512": lambda loot: signed({"alg": "HS512"}, loot.claims, loot.secret, "sha512"),
    "alg RS256 over an HMAC": lambda loot: loot.headed(alg="RS256"),
    "alg EdDSA with a key of one's own": lambda loot: loot.with_private_key("EdDSA"),
    "alg ES256 with a key of one's own": lambda loot: loot.with_private_key("ES256"),
    "alg RS256 with a key of one's own": lambda loot: loot.with_private_key("RS256"),
    "a key in the header": _own_jwk,
    "a key's address in the header": lambda loot: loot.with_private_key("RS256", jku="http://127.0.0.1:9/jwks.json"),
    "a certificate's address in the header": lambda loot: loot.with_private_key("RS256", x5u="http://127.0.0.1:9/c"),
    "a certificate in the header": lambda loot: loot.with_private_key("RS256", x5c=["MIIB"]),
    "a kid that is a path": lambda loot: signed({"alg": "HS256", "kid": "../../dev/null"}, loot.claims, ""),
    "a kid that is SQL": lambda loot: signed({"alg": "HS256", "kid": "x' UNION SELECT 'a"}, loot.claims, "a"),
    "a kid that is a list": lambda loot: signed({"alg": "HS256", "kid": ["a"]}, loot.claims, "a"),
    "crit": lambda loot: loot.headed(crit=["exp"]),
    "crit unknown": lambda loot: loot.headed(crit=["x"], x=1),
    "crit empty": lambda loot: loot.headed(crit=[]),
    "crit with b64": lambda loot: loot.headed(crit=["b64"], b64=False),
    "zip": lambda loot: signed({"alg": "HS256", "zip": "DEF", "crit": ["zip"]}, loot.claims, loot.secret),
    "an empty secret": lambda loot: signed({"alg": "HS256"}, loot.claims, ""),
    "another secret": lambda loot: signed({"alg": "HS256"}, loot.claims, "x" * 43),
    "a guessed secret": lambda loot: signed({"alg": "HS256"}, loot.claims, "your-secret-key"),
    "the secret's digest": lambda loot: signed(
        {"alg": "HS256"}, loot.claims, hashlib.sha256(loot.secret.encode()).digest()
    ),
    "the secret but its last letter": lambda loot: signed({"alg": "HS256"}, loot.claims, loot.secret[:-1]),
    "the services' secret": lambda loot: signed({"alg": "HS256"}, loot.claims, loot.internal_secret),
    "a service token": lambda loot: jwt.encode(
        {"iss": "gateway", "aud": "auth-verify", "iat": NOW, "exp": NOW + 60, "sub": loot.victim.id},
        loot.internal_secret,
        "HS256",
    ),
    "a refresh token": lambda loot: loot.victim.refresh_token,
    "an imageId": lambda _: "0123456789abcdef0123456789abcdef",
    "no signature": lambda loot: f"{loot.header}.{loot.payload}.",
    "two parts": lambda loot: f"{loot.header}.{loot.payload}",
    "four parts": lambda loot: f"{loot.victim.access_token}.{loot.signature}",
    "five parts": lambda loot: f"{loot.header}.a.b.{loot.payload}.{loot.signature}",
    "only dots": lambda _: "..",
    "one dot": lambda _: ".",
    "a cut signature": lambda loot: f"{loot.header}.{loot.payload}.{loot.signature[:-4]}",
    "a signature of zeros": lambda loot: f"{loot.header}.{loot.payload}.{b64(bytes(32))}",
    "a signature in hex": lambda loot: (
        f"{loot.header}.{loot.payload}."
        + hmac.new(loot.secret.encode(), f"{loot.header}.{loot.payload}".encode(), "sha256").hexdigest()
    ),
    "other claims under the same signature": lambda loot: (
        f"{loot.header}.{b64(json.dumps(loot.claims))}.{loot.signature}"
    ),
    "another header over the same signature": lambda loot: (
        f"{b64(json.dumps({'alg': 'HS256'}))}.{loot.payload}.{loot.signature}"
    ),
    "a space within": lambda loot: f"{loot.header}.{loot.payload} .{loot.signature}",
    "a letter of no alphabet within": lambda loot: (
        f"{loot.header}.{loot.payload}.{loot.signature[:9]}!{loot.signature[9:]}"
    ),
    "padding": lambda loot: f"{loot.header}.{loot.payload}.{loot.signature}=",
    "two tokens with a comma": lambda loot: f"{loot.victim.access_token}, {loot.victim.access_token}",
    "a token in quotes": lambda loot: f'"{loot.victim.access_token}"',
    "expired": lambda loot: loot.but(iat=NOW - 7200, exp=NOW - 3600),
    "expired a minute ago": lambda loot: loot.but(iat=NOW - 960, exp=NOW - 60),
    "expired at the epoch": lambda loot: loot.but(exp=0),
    "expired before the epoch": lambda loot: loot.but(exp=-1),
    "not valid yet": lambda loot: loot.but(nbf=SOON),
    "issued in the future": lambda loot: loot.but(iat=SOON, exp=SOON + 60),
    "exp missing": lambda loot: loot.but("exp"),
    "exp null": lambda loot: loot.but(exp=None),
    "exp a text": lambda loot: loot.but(exp=str(SOON)),
    "exp a word": lambda loot: loot.but(exp="never"),
    "exp a list": lambda loot: loot.but(exp=[SOON]),
    "exp an object": lambda loot: loot.but(exp={"at": SOON}),
    "exp true": lambda loot: loot.but(exp=True),
    "exp NaN": lambda loot: loot.text(json.dumps({**loot.claims, "exp": float("nan")})),
    "exp Infinity": lambda loot: loot.text(json.dumps({**loot.claims, "exp": float("inf")})),
    "exp 1e999": lambda loot: loot.text(json.dumps({**loot.claims, "exp": 0}).replace('"exp": 0', '"exp": 1e999')),
    "exp of a thousand digits": lambda loot: loot.text(
        json.dumps({**loot.claims, "exp": 0}).replace('"exp": 0', '"exp": ' + "9" * 1000)
    ),
    "nbf a word": lambda loot: loot.but(nbf="now"),
    "iat a word": lambda loot: loot.but(iat="now"),
    "sub missing": lambda loot: loot.but("sub"),
    "sub empty": lambda loot: loot.but(sub=""),
    "sub null": lambda loot: loot.but(sub=None),
    "sub a number": lambda loot: loot.but(sub=1),
    "sub a list": lambda loot: loot.but(sub=[loot.victim.id]),
    "sub an object": lambda loot: loot.but(sub={"$ne": None}),
    "sub a dot": lambda loot: loot.but(sub="."),
    "sub two dots": lambda loot: loot.but(sub=".."),
    "sub of 256 letters": lambda loot: loot.but(sub="a" * 256),
    "sub with a line break": lambda loot: loot.but(sub="a\r\nX-User-Id: root"),
    "sub with NUL": lambda loot: loot.but(sub="a\x00b"),
    "sub with a lone surrogate": lambda loot: loot.text(json.dumps({**loot.claims, "sub": "a\ud800"})),
    "username a list": lambda loot: loot.but(username=["admin"]),
    "username with a line break": lambda loot: loot.but(username="a\r\nb"),
    "roles a text": lambda loot: loot.but(roles="admin"),
    "roles an object": lambda loot: loot.but(roles={"admin": True}),
    "sid a number": lambda loot: loot.but(sid=1),
    "sid an object": lambda loot: loot.but(sid={"a": 1}),
    "jti a number": lambda loot: loot.but(jti=1),
    "another issuer": lambda loot: loot.but(iss="https://evil.example"),
    "an empty issuer": lambda loot: loot.but(iss=""),
    "an issuer that is null": lambda loot: loot.but(iss=None),
    "a list of issuers": lambda loot: loot.but(iss=["keepsake"]),
    "an issuer with more behind": lambda loot: loot.but(iss="keepsake.evil.example"),
    "another audience": lambda loot: loot.but(aud="another-shop"),
    "an audience that is null": lambda loot: loot.but(aud=None),
    "an empty list of audiences": lambda loot: loot.but(aud=[]),
    "an audience that is an object": lambda loot: loot.but(aud={"keepsake": 1}),
    "an audience within a list within a list": lambda loot: loot.but(aud=[["keepsake"]]),
    "sub twice": lambda loot: _claims_text(loot, '"sub": "root"'),
    "exp twice": lambda loot: _claims_text(loot, f'"exp": {SOON + 9}'),
    "roles twice": lambda loot: _claims_text(loot, '"roles": ["admin"]'),
    "an escaped sub twice": lambda loot: _claims_text(loot, '"\\u0073ub": "root"'),
    "a claim twice within a claim": lambda loot: _claims_text(loot, '"more": {"a": 1, "a": 2}'),
    "claims that are a list": lambda loot: loot.text(json.dumps([loot.claims])),
    "claims that are a text": lambda loot: loot.text('"claims"'),
    "claims that are null": lambda loot: loot.text("null"),
    "claims that are empty": lambda loot: loot.text(""),
    "claims that are no JSON": lambda loot: loot.text("{sub: 1}"),
    "claims with more behind": lambda loot: loot.text(json.dumps(loot.claims) + "{}"),
    "claims that nest a thousand deep": lambda loot: _claims_text(loot, '"deep": ' + "[" * 1000 + "]" * 1000),
    "a header that is a list": lambda loot: signed([{"alg": "HS256"}], loot.claims, loot.secret),
    "a header that is null": lambda loot: signed("null", loot.claims, loot.secret),
    "a header that is no JSON": lambda loot: signed("{", loot.claims, loot.secret),
    "a header with alg twice": lambda loot: signed('{"alg": "none", "alg": "HS256"}', loot.claims, "x"),
    "an encrypted token": lambda _: ".".join([b64('{"alg":"dir","enc":"A128GCM"}'), "", b64("i"), b64("c"), b64("t")]),
    "a token of 9 KiB": lambda loot: loot.but(padding="x" * 7000),
    "a token of 20 KiB": lambda loot: loot.but(padding="x" * 15_000),
    "a nested token": lambda loot: signed({"alg": "HS256", "cty": "JWT"}, f'"{loot.victim.access_token}"', loot.secret),
}

SERVICE_FORGERIES: dict[str, Forge] = {
    "a user's token": lambda loot: loot.victim.access_token,
    "an admin's token": lambda loot: loot.but(),
    "for the users' secret": lambda loot: jwt.encode(service_claims(), loot.secret, "HS256"),
    "another service": lambda loot: jwt.encode(service_claims(aud="checkout"), loot.internal_secret, "HS256"),
    "no audience": lambda loot: jwt.encode(service_claims("aud"), loot.internal_secret, "HS256"),
    "no issuer": lambda loot: jwt.encode(service_claims("iss"), loot.internal_secret, "HS256"),
    "no end": lambda loot: jwt.encode(service_claims("exp"), loot.internal_secret, "HS256"),
    "no beginning": lambda loot: jwt.encode(service_claims("iat"), loot.internal_secret, "HS256"),
    "an hour": lambda loot: jwt.encode(service_claims(exp=SOON), loot.internal_secret, "HS256"),
    "long ago": lambda loot: jwt.encode(service_claims(iat=NOW - 300, exp=NOW - 240), loot.internal_secret, "HS256"),
    "tomorrow": lambda loot: jwt.encode(service_claims(iat=SOON, exp=SOON + 60), loot.internal_secret, "HS256"),
    "alg none": lambda _: f"{b64(json.dumps({'alg': 'none'}))}.{b64(json.dumps(service_claims()))}.",
    "alg HS512": lambda loot: signed({"alg": "HS512"}, service_claims(), loot.internal_secret, "sha512"),
    "times that are texts": lambda loot: jwt.encode(
        service_claims(iat=str(NOW), exp=str(NOW + 60)), loot.internal_secret, "HS256"
    ),
}


def service_claims(*without: str, **claims: object) -> dict[str, Any]:
    whole = {"iss": "checkout", "aud": "temp-image", "iat": NOW, "exp": int(time.time()) + 30, **claims}
    return {name: value for name, value in whole.items() if name not in without}
