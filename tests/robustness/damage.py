"""Kinds of damage to saved files, each drawn by a generator.

``RAW`` change the bytes of any file; ``ARCHIVE`` the members of a zip archive; ``CONTENT`` say
well-formed nonsense in a file of a kind, found by its suffix; ``FOREIGN`` replace it.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

Random = np.random.Generator


# -- bytes ------------------------------------------------------------------------------------


def place(rng: Random, content: bytes) -> int:
    """Return a place, as often near one of the ends, where headers are, as anywhere."""
    n = len(content)
    near = min(n, 400)
    starts = (0, 0, max(n - near, 0))
    spans = (n, near, near)
    k = rng.integers(3)
    return int(starts[k] + rng.integers(max(spans[k], 1)))


def truncated(rng, content):
    return content[: place(rng, content)]


def beginning_lost(rng, content):
    return content[place(rng, content) :]


def changed_bytes(change):
    def damage(rng, content):
        content = bytearray(content)
        change(rng, content, place(rng, content))
        return bytes(content)

    return damage


def flip_bit(rng, content, at):
    content[at] ^= 1 << int(rng.integers(8))


def flip_bits(rng, content, at):
    for _ in range(int(rng.integers(2, 20))):
        flip_bit(rng, content, int(rng.integers(len(content))))


def set_byte(rng, content, at):
    content[at] = int(rng.choice([0, 1, 127, 128, 255]))


def zero_block(rng, content, at):
    size = min(int(rng.integers(1, 600)), len(content) - at)
    content[at : at + size] = bytes(size)


def swap_bytes(rng, content, at):
    other = int(rng.integers(len(content)))
    content[at], content[other] = content[other], content[at]


def swap_blocks(rng, content, at):
    size, other = int(rng.integers(2, 64)), int(rng.integers(len(content)))
    a, b = sorted((at, other))
    if a + size <= b and b + size <= len(content):
        content[a : a + size], content[b : b + size] = (
            content[b : b + size],
            content[a : a + size],
        )


def duplicate_block(rng, content, at):
    content[at:at] = content[at : at + int(rng.integers(1, 600))]


def lose_block(rng, content, at):
    del content[at : at + int(rng.integers(1, 600))]


def noise_block(rng, content, at):
    size = min(int(rng.integers(1, 600)), len(content) - at)
    content[at : at + size] = rng.bytes(size)


def appended(rng, content):
    return content + rng.bytes(int(rng.integers(1, 1000)))


def preceded(rng, content):
    return rng.bytes(int(rng.integers(1, 1000))) + content


def twice(rng, content):
    return content + content


RAW: dict[str, Callable] = {
    "truncated": truncated,
    "beginning lost": beginning_lost,
    "bit flipped": changed_bytes(flip_bit),
    "bits flipped": changed_bytes(flip_bits),
    "byte set": changed_bytes(set_byte),
    "block zeroed": changed_bytes(zero_block),
    "bytes swapped": changed_bytes(swap_bytes),
    "blocks swapped": changed_bytes(swap_blocks),
    "block duplicated": changed_bytes(duplicate_block),
    "block lost": changed_bytes(lose_block),
    "block of noise": changed_bytes(noise_block),
    "appended": appended,
    "preceded": preceded,
    "twice": twice,
}


# -- archives ---------------------------------------------------------------------------------


def members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def archive(entries, compression=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in entries:
            out.writestr(name, content)
    return file.getvalue()


def rearranged(change):
    def damage(rng, content):
        entries = members(content)
        at = int(rng.integers(len(entries)))
        return archive(change(rng, entries, at))

    return damage


def other(rng, entries, at):
    return entries[(at + 1 + int(rng.integers(max(len(entries) - 1, 1)))) % len(entries)]


def exchanged(rng, entries, at):
    second = other(rng, entries, at)
    names = {entries[at][0]: second[0], second[0]: entries[at][0]}
    return [(names.get(name, name), content) for name, content in entries]


def with_member(change):
    def rearrange(rng, entries, at):
        name, content = entries[at]
        return [*entries[:at], *change(rng, name, content), *entries[at + 1 :]]

    return rearranged(rearrange)


def declared_large(rng, content):
    """Let the directory of the archive, and of the array in it, declare 200 GB."""
    entries = members(content)
    at = int(rng.integers(len(entries)))
    name, data = entries[at]
    if data.startswith(b"\x93NUMPY"):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (25_000_000_000,)}
        )
        entries[at] = name, header.getvalue() + data[-64:]
        return archive(entries)
    whole = bytearray(archive(entries))
    directory = whole.rfind(b"PK\x01\x02", 0, whole.rfind(name.encode()))
    whole[directory + 24 : directory + 28] = (3_900_000_000).to_bytes(4, "little")
    return bytes(whole)


def compressed_zeros(rng, content):
    """Add a member of many zeros, which take little room in the file."""
    entries = members(content)
    at = int(rng.integers(len(entries)))
    entries[at] = entries[at][0], entries[at][1] + bytes(300_000_000)
    return archive(entries, zipfile.ZIP_DEFLATED)


ARCHIVE: dict[str, Callable] = {
    "member removed": with_member(lambda rng, name, content: []),
    "member renamed": with_member(lambda rng, name, content: [(f"{name}x", content)]),
    "member elsewhere": with_member(lambda rng, name, content: [(f"../{name}", content)]),
    "member twice": with_member(
        lambda rng, name, content: [(name, content), (f"{name}.0", content)]
    ),
    "member emptied": with_member(lambda rng, name, content: [(name, b"")]),
    "member cut": with_member(lambda rng, name, content: [(name, truncated(rng, content))]),
    "member longer": with_member(lambda rng, name, content: [(name, content + bytes(10_000))]),
    "member flipped": with_member(
        lambda rng, name, content: [(name, RAW["bit flipped"](rng, content) if content else b"")]
    ),
    "members exchanged": rearranged(exchanged),
    "members reversed": rearranged(lambda rng, entries, at: entries[::-1]),
    "members compressed": lambda rng, content: archive(members(content), zipfile.ZIP_DEFLATED),
    "declared large": declared_large,
    "compressed zeros": compressed_zeros,
}


# -- what a file says -------------------------------------------------------------------------


class Call:
    """Pickled as a call that writes a file: harmless, and seen where it was run."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def deep(depth: int) -> list:
    nested: list = []
    for _ in range(depth):
        nested = [nested]
    return nested


#: What stands where something else belongs. ``{marker}`` becomes a hostile call.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 10**6, 10**12, -(10**30), 0.5, -0.0),
    *(float("nan"), float("inf"), 1e300, "", "x", "gene1", "nb", "batch", "é" * 50, b"bytes"),
    *([], {}, (), [1, 2], ["a"], {"a": 1}, {1: 2}, {"x"}),
)
ARRAYS: tuple[Any, ...] = (
    np.zeros(0),
    np.zeros((0, 3), np.float32),
    np.array(1.0),
    np.arange(6.0).reshape(2, 3),
    np.array(["a", "b"]),
    np.array(["a", None, 2], dtype=object),
    np.array([np.nan, 1.0]),
    np.arange(5, dtype=">i4"),
    np.array([True, False]),
    np.array([1 + 2j]),
)
TENSORS: tuple[Any, ...] = (
    torch.zeros(0),
    torch.ones(2, 3),
    torch.tensor(1),
    torch.ones(3, dtype=torch.float64),
    torch.ones(2, dtype=torch.bfloat16),
    torch.zeros(1).expand(10**6, 10**5),
    torch.ones(2, dtype=torch.complex64),
)


def leaves(value: Any, path=()) -> list[tuple]:
    """Return the paths of all entries of nested dictionaries and lists."""
    found = []
    if isinstance(value, dict):
        for key in value:
            found += [(*path, key), *leaves(value[key], (*path, key))]
    elif isinstance(value, list):
        for i in range(len(value)):
            found += [(*path, i), *leaves(value[i], (*path, i))]
    return found


def reshaped(rng, value):
    """Return an array or tensor, changed."""
    numbers = value.numpy() if isinstance(value, torch.Tensor) else value
    changes = [
        lambda x: x.ravel(),
        lambda x: x[:-1] if x.ndim else x,
        lambda x: np.concatenate([x, x]) if x.ndim else x[None],
        lambda x: x.T,
        lambda x: x[None],
        lambda x: x.astype(str),
        lambda x: x.astype(object),
    ]
    if numbers.dtype.kind in "fiu":
        changes += [
            lambda x: x.astype(np.float16),
            lambda x: x.astype(np.int64),
            lambda x: np.full_like(x, -1 if x.dtype.kind == "i" else np.nan),
            lambda x: x.astype(np.float64) * 1e300,
            lambda x: x.astype(complex),
        ]
    with np.errstate(all="ignore"):
        changed = changes[rng.integers(len(changes))](numbers)
    is_tensor = isinstance(value, torch.Tensor) and changed.dtype.kind in "fiuc"
    return torch.from_numpy(np.array(changed)) if is_tensor else changed


def replacement(rng: Random, value: Any, marker: str) -> Any:
    """Return what to put in the place of a value."""
    if isinstance(value, torch.Tensor | np.ndarray) and rng.random() < 0.6:
        return reshaped(rng, value)
    pool = rng.choice(4, p=[0.6, 0.15, 0.15, 0.1])
    if pool == 3:
        return [Call(marker), deep(300), [Call(marker)], {"x": Call(marker)}][rng.integers(4)]
    choices = (VALUES, ARRAYS, TENSORS)[pool]
    return choices[rng.integers(len(choices))]


def edited(rng: Random, value: Any, marker: str) -> None:
    """Change one entry of nested dictionaries in place."""
    paths = leaves(value)
    *path, key = paths[rng.integers(len(paths))]
    for part in path:
        value = value[part]
    kind = rng.integers(6)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[rng.choice(["x", "", "__class__", "module", "_x", "registry"])] = value.pop(key)
    elif kind == 2 and isinstance(value, dict):
        second = list(value)[rng.integers(len(value))]
        value[key], value[second] = value[second], value[key]
    else:
        value[key] = replacement(rng, value[key], marker)


def edited_model(rng: Random, content: bytes, marker: str) -> bytes:
    """Change an entry of what torch saved."""
    saved = torch.load(io.BytesIO(content), weights_only=False)
    for _ in range(int(rng.integers(1, 3))):
        edited(rng, saved, marker)
    file = io.BytesIO()
    torch.save(saved, file)
    return file.getvalue()


def edited_arrays(rng: Random, content: bytes, marker: str) -> bytes:
    """Change an array of an archive of arrays."""
    with np.load(io.BytesIO(content)) as saved:
        arrays = {name: saved[name] for name in saved.files}
    name = list(arrays)[rng.integers(len(arrays))]
    kind = rng.integers(5)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[f"{name}x"] = arrays.pop(name)
    elif kind == 2:
        arrays[name] = np.array([Call(marker)], dtype=object)
    else:
        arrays[name] = replacement(rng, arrays[name], marker)
        if not isinstance(arrays[name], np.ndarray):
            arrays[name] = ARRAYS[rng.integers(len(ARRAYS))]
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


TEXTS = (
    "[" * 100_000,
    '{"layout": ' * 50_000,
    "1" * 5_000,
    '{"layout": 1e999}',
    '{"layout": NaN}',
    "null",
    "[]",
    '"text"',
    "{}",
    "﻿{}",
    "# Not JSON",
)


def edited_json(rng: Random, content: bytes, marker: str) -> bytes:
    """Change an entry of a JSON file."""
    if rng.random() < 0.3:
        return TEXTS[rng.integers(len(TEXTS))].encode()
    facts = json.loads(content)
    paths = leaves(facts)
    *path, key = paths[rng.integers(len(paths))]
    value = facts
    for part in path:
        value = value[part]
    if rng.random() < 0.2:
        del value[key]
    else:
        plain = [v for v in VALUES if isinstance(v, int | float | str | list | dict | None)]
        value[key] = plain[rng.integers(len(plain))]
    return json.dumps(facts, skipkeys=True).encode()


def edited_h5ad(rng: Random, content: bytes, marker: str) -> bytes:
    """Change a data set, a group or an attribute of an HDF5 file."""
    file = io.BytesIO(content)
    with h5py.File(file, "r+") as h5:
        names: list[str] = []
        h5.visit(names.append)
        name = names[rng.integers(len(names))]
        node, kind = h5[name], rng.integers(6)
        if kind == 0:
            del h5[name]
        elif kind == 1:
            h5.move(name, f"{name}x")
        elif kind == 2 and len(node.attrs):
            attribute = list(node.attrs)[rng.integers(len(node.attrs))]
            if rng.random() < 0.5:
                del node.attrs[attribute]
            else:
                node.attrs[attribute] = ["x", 3, "0.9.9", "array"][rng.integers(4)]
        elif isinstance(node, h5py.Dataset):
            value = np.asarray(node[()])
            attributes = dict(node.attrs)
            del h5[name]
            if value.dtype.kind in "fiu":
                value = reshaped(rng, value)
            else:
                value = ARRAYS[rng.integers(len(ARRAYS))]
            if value.dtype.kind in "OU":
                value = value.astype(str).astype(h5py.string_dtype())
            h5[name] = value
            h5[name].attrs.update(attributes)
        else:
            del h5[name]
            h5[name] = np.arange(3)
    return file.getvalue()


#: Changes to what a file says, by its suffix.
CONTENT: dict[str, Callable] = {
    ".pt": edited_model,
    ".npz": edited_arrays,
    ".json": edited_json,
    ".h5ad": edited_h5ad,
}


# -- other files ------------------------------------------------------------------------------


def small_h5ad() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5["X"] = np.ones((2, 3))
        h5.attrs["encoding-type"] = "anndata"
        h5.attrs["encoding-version"] = "0.1.0"
    return file.getvalue()


def of_torch(value: Any, **kwargs: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **kwargs)
    return file.getvalue()


def of_numpy(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0" + bytes(40)
FOREIGN: dict[str, Callable[[Random, str], bytes]] = {
    "empty": lambda rng, marker: b"",
    "one byte": lambda rng, marker: rng.bytes(1),
    "text": lambda rng, marker: b"Not what was saved.\n" * int(rng.integers(1, 50)),
    "noise": lambda rng, marker: rng.bytes(int(rng.integers(1, 5_000))),
    "zeros": lambda rng, marker: bytes(int(rng.integers(1, 50_000))),
    "png": lambda rng, marker: PNG,
    "h5ad": lambda rng, marker: small_h5ad(),
    "pickle": lambda rng, marker: pickle.dumps({"a": [1, 2]}, int(rng.integers(6))),
    "hostile pickle": lambda rng, marker: pickle.dumps(Call(marker), int(rng.integers(6))),
    "hostile torch": lambda rng, marker: of_torch({"model_state_dict": Call(marker)}),
    "hostile old torch": lambda rng, marker: of_torch(
        Call(marker), _use_new_zipfile_serialization=False
    ),
    "hostile array": lambda rng, marker: of_numpy(np.array([Call(marker)], dtype=object)),
    "array": lambda rng, marker: of_numpy(np.arange(3)),
    "torch": lambda rng, marker: of_torch(torch.ones(3)),
    "empty archive": lambda rng, marker: archive([]),
    "other archive": lambda rng, marker: archive([("a.txt", b"text")]),
    "json": lambda rng, marker: b'{"a": 1}',
}


def damaged(rng: Random, file: Path, marker: str) -> tuple[str, bytes]:
    """Return a kind of damage, and what a file holds after it."""
    content, suffix = file.read_bytes(), file.suffix
    way = rng.choice(["raw", "archive", "content", "foreign"], p=[0.45, 0.15, 0.3, 0.1])
    if way == "foreign":
        kind = str(rng.choice(list(FOREIGN)))
        return f"instead: {kind}", FOREIGN[kind](rng, marker)
    if way == "archive" and suffix in (".pt", ".npz"):
        weights = np.array([0.1 if name == "compressed zeros" else 1 for name in ARCHIVE])
        kind = str(rng.choice(list(ARCHIVE), p=weights / weights.sum()))
        return f"archive: {kind}", ARCHIVE[kind](rng, content)
    if way == "content" and suffix in CONTENT:
        return f"content of {suffix}", CONTENT[suffix](rng, content, marker)
    kind = str(rng.choice(list(RAW)))
    return f"bytes: {kind}", RAW[kind](rng, content)


def without_digests(folder: Path) -> None:
    """Take the digests out of a folder, as folders of older versions have none."""
    facts, model = folder / "reference.json", folder / "model.pt"
    if facts.exists():
        said = json.loads(facts.read_text())
        said.pop("sha256")
        facts.write_text(json.dumps(said))
    if model.exists():
        saved = torch.load(model, weights_only=False)
        if saved.pop("lucidvi_adata_sha256", None) is not None:
            torch.save(saved, model)
