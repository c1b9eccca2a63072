"""API keys: who may ask. With any key set, every route needs one but those that say whether the server lives."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from manyheads.errors import UsageError

PAGES = frozenset({"/", "/docs"})
"""A browser is asked for the key there, by the one way it knows, and sends it with all that the page asks for."""
OPEN = frozenset({"/health/live", "/health/ready"})
"""Asked by orchestrators, which have no keys; they tell nothing of the model."""
SHORTEST = 16
"""Characters of a key: fewer can be tried out."""


class Keys:
    """The keys of a server, kept as hashes; none: everybody may ask."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises UsageError for a key that is too short."""
        if any(len(key) < SHORTEST for key in keys):
            raise UsageError(
                f"an API key has fewer than {SHORTEST} characters; make longer ones, such as `openssl rand -hex 24`"
            )
        self._hashes = [_hash(key.encode(errors="surrogateescape")) for key in keys]

    @staticmethod
    def of(file: Path | None, environment: str | None) -> Keys:
        """From a file, a key a line (# begins a comment), and the environment, commas between. Raises UsageError."""
        lines: list[str] = []
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"{file}: the API keys cannot be read ({error}); give a text file with one a line"
                ) from None
            if not any(_plain(line) for line in lines):
                raise UsageError(f"{file} has no API key; give one a line, or leave --api-keys out")
        return Keys([key for key in map(_plain, [*lines, *(environment or "").split(",")]) if key])

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def admit(self, path: str, authorization: bytes, own: bytes) -> bool:
        """Whether a request may pass, by its path and its headers `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        Of `Authorization: Basic`, which browsers send, the password is the key. All keys are compared, each in constant time.
        """
        if not self._hashes or path in OPEN:
            return True
        scheme, _, token = authorization.partition(b" ")
        said = {b"bearer": token.strip, b"basic": lambda: _password(token)}.get(scheme.lower())
        given = _hash(said() if said and token else own)
        return sum(hmac.compare_digest(given, known) for known in self._hashes) > 0


def asked_for(path: str) -> str:
    """`WWW-Authenticate` of the answer to a request without a key."""
    return 'Basic realm="the password is an API key", charset="UTF-8"' if path in PAGES else "Bearer"


def _password(token: bytes) -> bytes:
    try:
        return base64.b64decode(token.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _plain(line: str) -> str:
    return line.partition("#")[0].strip()


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
