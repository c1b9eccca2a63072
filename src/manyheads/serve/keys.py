"""API keys: who may ask. With any key set, every route needs one but those that say whether the server lives."""

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
"""A browser is asked for the key there, by the one way it knows, and sends it with all that the page asks for."""
OPEN = frozenset({"/health/live", "/health/ready"})
"""Asked by orchestrators, which have no keys; they tell nothing of the model."""
SHORTEST = 16
"""Characters of a key: fewer can be tried out."""
VARIABLE = "MANYHEADS_API_KEYS"
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Keys:
    """The keys of a server, kept as hashes; none: everybody may ask."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Of keys that are long enough."""
        self._hashes = [_hash(key.encode(errors="surrogateescape")) for key in keys]

    @staticmethod
    def of(file: Path | None, environment: str | None) -> Keys:
        """From a file and from MANYHEADS_API_KEYS. Raises UsageError for short keys, and none where some are given."""
        listed = [] if environment is None else _in_environment(environment)
        return Keys(listed if file is None else [*_in_file(file), *listed])

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


def _in_file(file: Path) -> list[str]:
    """A key a line; where a word begins with #, a comment does."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the API keys cannot be read ({error}); give a text file with one a line") from None
    found = [(_COMMENT.sub("", line).strip(), f"{file}:{number}") for number, line in enumerate(lines, 1)]
    keys = [_long_enough(key, place) for key, place in found if key]
    if not keys:
        raise UsageError(f"{file} has no API key; give one a line, or leave --api-keys out")
    return keys


def _in_environment(value: str) -> list[str]:
    """Keys with commas between, in which # is a character like others."""
    keys = [_long_enough(key, VARIABLE) for key in map(str.strip, value.split(",")) if key]
    if not keys:
        raise UsageError(f"{VARIABLE} is set and has no API key; give keys with commas between, or unset it")
    return keys


def _long_enough(key: str, place: str) -> str:
    if len(key) < SHORTEST:
        raise UsageError(
            f"{place}: an API key has fewer than {SHORTEST} characters; make longer ones, such as `openssl rand -hex 24`"
        )
    return key


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
