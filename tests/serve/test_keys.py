"""API keys: which are taken, from where, and what each request must give."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from manyheads.errors import UsageError
from manyheads.serve.keys import PUBLIC_PATHS, Keys

ONE, TWO = "a" * 16, "b" * 24
ROUTES = [
    "/",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/v1/tasks",
    "/v1/predict",
    "/v1/embeddings",
    "/static/a.js",
    "/no",
]


def test_without_keys_everybody_may_ask() -> None:
    assert not Keys([])
    assert all(Keys([]).allow(path, b"", b"") for path in ROUTES)


@pytest.mark.parametrize("path", ROUTES)
def test_every_key_opens_every_route_in_either_header_and_nothing_else_does(path: str) -> None:
    keys = Keys([ONE, TWO])
    for key in (ONE.encode(), TWO.encode()):
        assert keys.allow(path, b"Bearer " + key, b"")
        assert keys.allow(path, b"bearer  " + key, b"")
        assert keys.allow(path, b"", key)
        assert keys.allow(path, b"Basic " + base64.b64encode(b"anyone:" + key), b"")
    for wrong in (b"", b"a" * 15, b"a" * 17, ONE.encode() + b"\x00", b"\xff" * 16, ONE.upper().encode(), b","):
        assert not keys.allow(path, b"Bearer " + wrong, b"")
        assert not keys.allow(path, b"", wrong)
        assert not keys.allow(path, b"Basic " + base64.b64encode(b"anyone:" + wrong), b"")
        assert not keys.allow(path, b"Basic " + ONE.encode(), b"")
        assert not keys.allow(path, b"Basic " + base64.b64encode(ONE.encode()), b""), "a name, which is no key"
    assert not keys.allow(path, ONE.encode(), b"")
    assert not keys.allow(path, b"Bearer " + b"x" * 20, ONE.encode()), (
        "what is wrong in one place is not looked for in another"
    )


def test_only_the_two_health_routes_are_open_and_only_as_they_are_written() -> None:
    keys = Keys([ONE])
    assert {"/health/live", "/health/ready"} == PUBLIC_PATHS
    assert all(keys.allow(path, b"", b"") for path in PUBLIC_PATHS)
    for path in ("/health", "/health/live/", "//health/live", "/Health/Live", "/health/live/../../v1/predict", "/health/live;x",
                 "/v1/predict/health/live", "/health/ready ", ""):  # fmt: skip
        assert not keys.allow(path, b"", b"")


def test_keys_come_from_a_file_and_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n  {ONE}  # the first\n", encoding="utf-8")
    keys = Keys.load(file, f" {TWO},,{'c' * 20} ")
    assert all(keys.allow("/", b"", key) for key in (ONE.encode(), TWO.encode(), b"c" * 20))
    assert not keys.allow("/", b"", b"# ours")
    assert not Keys.load(None, None)


@pytest.mark.parametrize("line", [
    "{}", "  {}\t", "{} # comment", "{}\t#comment", "{} # one # two", "# comment\n{}", "  # {}#\n\n{}", "\ufeff{}",
    "\ufeff# comment\r\n{}\r\n",
])  # fmt: skip
def test_in_a_file_a_comment_begins_where_a_word_begins_with_a_hash(tmp_path: Path, line: str) -> None:
    key = "Str0ng#Passw0rd#0123456789"
    file = tmp_path / "keys"
    file.write_bytes(line.format(*[key] * line.count("{}")).encode())
    keys = Keys.load(file, None)
    assert keys.allow("/", b"", key.encode())
    assert not keys.allow("/", b"", key.partition("#")[0].encode())


def test_in_the_environment_a_hash_is_part_of_a_key() -> None:
    for key in ("#Str0ng-Passw0rd-0123456789", "Str0ng Passw0rd #0123456789"):
        keys = Keys.load(None, f"{key},{TWO}")
        assert all(keys.allow("/", b"", one.encode()) for one in (key, TWO))
        assert not keys.allow("/", b"", key.partition("#")[0].strip().encode())


@pytest.mark.parametrize("value", ["", " ", ",", " , ,\n"])
def test_a_variable_without_a_key_never_opens_a_server(tmp_path: Path, value: str) -> None:
    file = tmp_path / "keys"
    file.write_text(ONE)
    for given in (None, file):
        with pytest.raises(UsageError, match=r"^MANYHEADS_API_KEYS is set but has no API key; .* or unset it$"):
            Keys.load(given, value)


def test_short_keys_and_files_without_any_are_refused_with_their_place_and_no_key_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^MANYHEADS_API_KEYS: an API key has fewer than 16 characters") as refused:
        Keys.load(None, f"{ONE},secretsecret")
    assert "secretsecret" not in str(refused.value)
    short, empty, binary = tmp_path / "short", tmp_path / "empty", tmp_path / "binary"
    short.write_text(f"# ours\n{ONE}\nsecretsecret\n")
    with pytest.raises(UsageError, match="short:3: an API key has fewer than 16 characters") as refused:
        Keys.load(short, None)
    assert "secretsecret" not in str(refused.value)
    empty.write_text("\ufeff# nothing\n", encoding="utf-8")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no API key"):
        Keys.load(empty, None)
    with pytest.raises(UsageError, match="cannot read the API keys"):
        Keys.load(tmp_path / "absent", None)
    with pytest.raises(UsageError, match="cannot read the API keys"):
        Keys.load(binary, None)


def test_keys_are_not_kept_as_they_are() -> None:
    assert ONE not in repr(vars(Keys([ONE])))
