"""API keys. If any is set, every route but the health checks requires one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from manyheads.errors import UsageError

PAGES = frozenset({"/", "/docs"})
"""Here a browser is asked for the key as a password (HTTP Basic), and sends it with every request of the page."""
PUBLIC_PATHS = frozenset({"/health/live", "/health/ready"})
"""For orchestrators, which have no keys; the responses reveal nothing about the model."""
MIN_LENGTH = 16
"""Characters of a key: shorter ones can be guessed."""
VARIABLE = "MANYHEADS_API_KEYS"
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Keys:
    """The keys of a server, kept as hashes. Without keys every request is allowed.

    >>> keys = Keys(["0123456789abcdef"])
    >>> keys.allow("/v1/predict", b"Bearer 0123456789abcdef", b""), keys.allow("/v1/predict", b"", b"a wrong key")
    (True, False)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        """`keys` of at least MIN_LENGTH characters."""
        self._hashes = [_hash(key.encode(errors="surrogateescape")) for key in keys]

    @staticmethod
    def load(file: Path | None, environment: str | None) -> Keys:
        """Keys of a file and of MANYHEADS_API_KEYS. Raises UsageError for a short key, and for a source without any."""
        listed = [] if environment is None else _read_environment(environment)
        return Keys(listed if file is None else [*_read_file(file), *listed])

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def allow(self, path: str, authorization: bytes, api_key: bytes) -> bool:
        """Check a request by its path and its headers `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        In `Authorization: Basic`, which browsers send, the password is the key. Every key is compared, in constant time.
        """
        if not self._hashes or path in PUBLIC_PATHS:
            return True
        scheme, _, token = authorization.partition(b" ")
        read = {b"bearer": token.strip, b"basic": lambda: _password(token)}.get(scheme.lower())
        given = _hash(read() if read and token else api_key)
        return sum(hmac.compare_digest(given, known) for known in self._hashes) > 0


def challenge(path: str) -> str:
    """The `WWW-Authenticate` header for a request without a key."""
    return 'Basic realm="the password is an API key", charset="UTF-8"' if path in PAGES else "Bearer"


def _password(token: bytes) -> bytes:
    try:
        return base64.b64decode(token.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _read_file(file: Path) -> list[str]:
    """One key per line; # at the start of a word begins a comment."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot read the API keys ({error}); give a text file with one per line") from None
    found = [(_COMMENT.sub("", line).strip(), f"{file}:{number}") for number, line in enumerate(lines, 1)]
    keys = [_check_length(key, place) for key, place in found if key]
    if not keys:
        raise UsageError(f"{file} has no API key; give one per line, or omit --api-keys")
    return keys


def _read_environment(value: str) -> list[str]:
    """Keys separated by commas; # has no special meaning."""
    keys = [_check_length(key, VARIABLE) for key in map(str.strip, value.split(",")) if key]
    if not keys:
        raise UsageError(f"{VARIABLE} is set but has no API key; give keys separated by commas, or unset it")
    return keys


def _check_length(key: str, place: str) -> str:
    if len(key) < MIN_LENGTH:
        raise UsageError(
            f"{place}: an API key has fewer than {MIN_LENGTH} characters; make a longer one, as with `openssl rand -hex 24`"
        )
    return key


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
