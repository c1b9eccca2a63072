"""Spoilt safetensors files: in a model folder as heads and as encoder, and in an encoder folder."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import CANARY, Case, Opener, Outcome, encoder_copy, model_copy, nested, sealed
from hostile.good import Good

Header = dict[str, Any]
Spoil = Callable[[bytes, Path], bytes]
ENCODERS_OWN = frozenset({
    "cut-off", "all-nan", "one-infinite", "tensor-missing", "tensor-unknown", "tensor-named-as-an-attribute", "type-bool",
    "shape-transposed", "shape-huge", "a-pickle", "a-torch-archive", "metadata-of-tensorflow", "header-nested",
})  # fmt: skip
"""Defects that an encoder's loader meets in its own way; the others are found by what finds them in heads."""


def cases() -> list[Case]:
    """Every defect in every place."""
    made = []
    for name, (spoil, outcome) in DEFECTS.items():
        made += [
            Case(f"heads/{name}", "model", partial(_in_model, "heads.safetensors", spoil), outcome),
            Case(f"model-encoder/{name}", "model", partial(_in_model, "encoder/model.safetensors", spoil), outcome,
                 quick=False),
            Case(f"encoder/{name}", "encoder", partial(_in_encoder, spoil), "either" if name == "all-largest" else outcome,
                 quick=name in ENCODERS_OWN),
        ]  # fmt: skip
    return made


def _in_model(file: str, spoil: Spoil, good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    path = model / file
    path.write_bytes(spoil(path.read_bytes(), folder))
    return sealed(model)


def _in_encoder(spoil: Spoil, good: Good, folder: Path) -> Path:
    encoder = encoder_copy(good, folder)
    path = encoder / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes(), folder))
    return encoder


def _parts(whole: bytes) -> tuple[Header, bytes]:
    size = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def _joined(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _header(change: Callable[[Header, bytes], Any]) -> Spoil:
    """A defect of the header: `change` alters it in place, or gives another, or its bytes."""

    def spoil(whole: bytes, _: Path) -> bytes:
        header, data = _parts(whole)
        found = change(header, data)
        found = header if found is None else found
        return _joined(found if isinstance(found, bytes) else json.dumps(found).encode(), data)

    return spoil


def _whole(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda whole, _: change(whole)


def _first(header: Header) -> Header:
    """The first tensor of the file that has two axes."""
    return next(entry for name, entry in sorted(header.items()) if len(entry.get("shape", ())) == 2)


def _set(key: str, value: Any) -> Spoil:
    return _header(lambda header, _: _first(header).update({key: value}))


def _filled(value: float) -> Spoil:
    """Every number of every tensor."""

    def spoil(whole: bytes, _: Path) -> bytes:
        header, data = _parts(whole)
        return _joined(json.dumps(header).encode(), struct.pack("<f", value) * (len(data) // 4))

    return spoil


def _one(value: float) -> Spoil:
    """The last number of the file."""
    return _whole(lambda whole: whole[:-4] + struct.pack("<f", value))


def _recast(dtype: str, code: str) -> Spoil:
    """All tensors in another type, with values 0 and 1."""

    def spoil(whole: bytes, _: Path) -> bytes:
        header, _data = _parts(whole)
        made, data = {}, b""
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            count = (entry["data_offsets"][1] - entry["data_offsets"][0]) // 4
            part = struct.pack(f"<{count}{code}", *((i % 2) for i in range(count)))
            made[name] = {"dtype": dtype, "shape": entry["shape"], "data_offsets": [len(data), len(data) + len(part)]}
            data += part
        return _joined(json.dumps(made).encode(), data)

    return spoil


def _duplicated(header: Header, _: bytes) -> bytes:
    name = sorted(set(header) - {"__metadata__"})[0]
    text = json.dumps(header)
    return f'{text[:-1]}, "{name}": {json.dumps(header[name])}}}'.encode()


def _overlapping(header: Header, _: bytes) -> None:
    entries = sorted((e for n, e in header.items() if n != "__metadata__"), key=lambda e: e["data_offsets"])
    first, second = entries[:2]
    length = second["data_offsets"][1] - second["data_offsets"][0]
    second["data_offsets"] = [first["data_offsets"][0], first["data_offsets"][0] + length]


def _missing(header: Header, _: bytes) -> None:
    """A tensor is gone from the end, and its bytes belong to a stranger."""
    last = max((e["data_offsets"][1], n) for n, e in header.items() if n != "__metadata__")[1]
    header["stranger"] = header.pop(last)


def _transposed(header: Header, _: bytes) -> None:
    entry = next(
        e for n, e in sorted(header.items()) if len(e.get("shape", ())) == 2 and e["shape"][0] != e["shape"][1]
    )
    entry["shape"] = entry["shape"][::-1]


def _extra(whole: bytes, _: Path, name: str = "embeddings.stranger") -> bytes:
    header, data = _parts(whole)
    header[name] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [len(data), len(data) + 16]}
    return _joined(json.dumps(header).encode(), data + bytes(16))


def _many(whole: bytes, _: Path) -> bytes:
    """300,000 tensors of nothing."""
    header, data = _parts(whole)
    end = len(data)
    header |= {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [end, end]} for i in range(300_000)}
    return _joined(json.dumps(header).encode(), data)


def _pickled(_: bytes, folder: Path) -> bytes:
    return pickle.dumps(Opener(folder.parent / CANARY))


def _torch_saved(_: bytes, folder: Path) -> bytes:
    """What torch.save writes: a pickle in a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickled(b"", folder))
        archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    return stream.getvalue()


_BIG = 1 << 60
DEFECTS: dict[str, tuple[Spoil, Outcome]] = {
    "nothing": (_whole(lambda _: b""), "refused"),
    "seven-bytes": (_whole(lambda _: bytes(7)), "refused"),
    "header-length-zero": (_whole(lambda whole: bytes(8) + whole[8:]), "refused"),
    "header-length-2-to-63": (_whole(lambda whole: struct.pack("<Q", 2**63 - 1) + whole[8:]), "refused"),
    "header-length-negative": (_whole(lambda whole: struct.pack("<q", -1) + whole[8:]), "refused"),
    "header-length-100-mb": (_whole(lambda whole: struct.pack("<Q", 100_000_000) + whole[8:]), "refused"),
    "header-of-100-mb": (_header(lambda header, _: json.dumps(header).encode() + b" " * 99_000_000), "refused"),
    "header-past-the-end": (_whole(lambda whole: struct.pack("<Q", len(whole)) + whole[8:]), "refused"),
    "header-no-json": (_header(lambda *_: b"{]"), "refused"),
    "header-a-list": (_header(lambda *_: b"[]"), "refused"),
    "header-null": (_header(lambda *_: b"null"), "refused"),
    "header-not-utf8": (
        _header(lambda header, _: json.dumps(header).encode().replace(b"F32", b"\xff\xfe\x00")),
        "refused",
    ),
    "header-nested": (_header(lambda *_: nested(100_000).encode()), "refused"),
    "header-nested-inside": (_header(lambda *_: ('{"a": ' + nested(100_000) + "}").encode()), "refused"),
    "header-huge-integer": (_header(lambda *_: ('{"a": ' + "9" * 100_000 + "}").encode()), "refused"),
    "header-keys-twice": (_header(_duplicated), "refused"),
    "header-300000-tensors": (_many, "refused"),
    "entry-a-string": (_header(lambda header, _: header.update({sorted(header)[-1]: "x"})), "refused"),
    "entry-without-shape": (_header(lambda header, _: _first(header).pop("shape") and None), "refused"),
    "metadata-of-numbers": (_header(lambda header, _: header.update({"__metadata__": {"format": 1}})), "refused"),
    "metadata-with-code": (
        _header(lambda header, _: header.update({"__metadata__": {"format": "pt", "auto_map": "x.y"}})),
        "answered",
    ),
    "metadata-of-tensorflow": (_header(lambda header, _: header.update({"__metadata__": {"format": "tf"}})), "either"),
    "offsets-overlap": (_header(_overlapping), "refused"),
    "offsets-past-the-end": (_set("data_offsets", [0, 1 << 40]), "refused"),
    "offsets-backwards": (_set("data_offsets", [64, 0]), "refused"),
    "offsets-negative": (_set("data_offsets", [-64, 0]), "refused"),
    "offsets-three": (_set("data_offsets", [0, 1, 2]), "refused"),
    "offsets-as-text": (_set("data_offsets", ["0", "64"]), "refused"),
    "dtype-unknown": (_set("dtype", "F7"), "refused"),
    "dtype-a-number": (_set("dtype", 32), "refused"),
    "dtype-wider-than-data": (_set("dtype", "F64"), "refused"),
    "shape-huge": (_set("shape", [_BIG, 1]), "refused"),
    "shape-overflows": (_set("shape", [1 << 32, 1 << 32, 1 << 32]), "refused"),
    "shape-overflows-to-fit": (_set("shape", [1 << 33, 1 << 31, 4]), "refused"),
    "shape-negative": (_set("shape", [-1, -16]), "refused"),
    "shape-of-floats": (_set("shape", [1.5, 2.5]), "refused"),
    "shape-a-string": (_set("shape", "16x16"), "refused"),
    "shape-of-10000-axes": (_set("shape", [1] * 10_000), "refused"),
    "shape-transposed": (_header(_transposed), "refused"),
    "shape-flat": (
        _header(
            lambda header, _: _first(header).update(shape=[_first(header)["shape"][0] * _first(header)["shape"][1]])
        ),
        "refused",
    ),
    "bytes-behind": (_whole(lambda whole: whole + b"x" * 1000), "refused"),
    "cut-off": (_whole(lambda whole: whole[:-100]), "refused"),
    "cut-off-in-header": (_whole(lambda whole: whole[:100]), "refused"),
    "all-nan": (_filled(float("nan")), "refused"),
    "all-infinite": (_filled(float("inf")), "refused"),
    "all-largest": (_filled(3.4e38), "refused"),
    "one-nan": (_one(float("nan")), "refused"),
    "one-infinite": (_one(float("-inf")), "refused"),
    "tensor-missing": (_header(_missing), "refused"),
    "tensor-unknown": (_extra, "refused"),
    "tensor-named-as-a-path": (partial(_extra, name="encoder.../../../../tmp/x"), "either"),
    "tensor-named-as-an-attribute": (partial(_extra, name="embeddings.__class__"), "refused"),
    "type-int64": (_recast("I64", "q"), "either"),
    "type-bool": (_recast("BOOL", "?"), "either"),
    "type-float16": (_recast("F16", "e"), "either"),
    "a-pickle": (_pickled, "refused"),
    "a-torch-archive": (_torch_saved, "refused"),
    "gzipped": (_whole(lambda whole: gzip.compress(whole, mtime=0)), "refused"),
    "zeros": (_whole(lambda _: bytes(1 << 20)), "refused"),
    "text": (_whole(lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "refused"),
}
