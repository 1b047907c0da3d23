"""A batch's columns as parameters, each encoded at once: the driver looks at every element.

The server's binary form of an array: a header, then each element behind its length in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from embedsql.changelog import Batch

_ONE_DIMENSION = 1
_FIRST = 1
_NULL = struct.pack(">i", -1)
_NUMBERS = {"bool": "?", "int4": ">i4", "int8": ">i8"}
_length = struct.Struct(">i").pack


@dataclass(frozen=True)
class Array:
    """An array of a type of the server, as a statement's parameter.

    Attributes:
        values: Its elements; one in bytes or a text may be ``None``.
        type: ``bool``, ``int4``, ``int8``, ``bytea``, ``text`` or ``xid`` (in bytes).
    """

    values: Sequence[Any]
    type: str


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        number = _NUMBERS.get(obj.type)
        if number is not None:
            body = _numbers(obj.values, number)
        elif obj.type in ("bytea", "xid"):
            body = _pieces(obj.values)
        else:
            encoding = self.connection.info.encoding if self.connection else "utf-8"
            body = _pieces([None if one is None else one.encode(encoding) for one in obj.values])
        return _header(psycopg.adapters.types[obj.type].oid, len(obj.values)) + body


def _header(oid: int, count: int) -> bytes:
    may_hold_nulls = 1
    return struct.pack(">iiIii", _ONE_DIMENSION, may_hold_nulls, oid, count, _FIRST)


def _numbers(values: Sequence[Any], number: str) -> bytes:
    element = np.dtype([("bytes", ">i4"), ("value", number)])
    elements = np.empty(len(values), element)
    elements["bytes"] = element.itemsize - 4
    elements["value"] = values
    return elements.tobytes()


def _pieces(values: Sequence[bytes | None]) -> bytes:
    present = [one for one in values if one is not None]
    if not present:
        return _NULL * len(values)
    lengths = set(map(len, present))
    if len(lengths) == 1 and len(present) == len(values):  # digests, or nothing but empty texts
        return _alike(present, lengths.pop())
    return b"".join([_NULL if one is None else _length(len(one)) + one for one in values])


def _alike(values: Sequence[bytes], length: int) -> bytes:
    elements = np.empty(len(values), np.dtype([("bytes", ">i4"), ("value", f"V{length}")]))
    elements["bytes"] = length
    if length:
        elements["value"] = np.frombuffer(b"".join(values), f"V{length}")
    return elements.tobytes()


@dataclass(frozen=True)
class VectorArray:
    """An array of ``vector`` or ``halfvec``, as a statement's parameter.

    Attributes:
        vectors: Each of shape (dimensions,), or ``None``.
        type: ``vector`` or ``halfvec``.
    """

    vectors: Sequence[npt.NDArray[Any] | None]
    type: str


class _VectorArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: VectorArray) -> bytes | bytearray:
        header = _header(self._oid(obj.type), len(obj.vectors))
        vectors = [one for one in obj.vectors if one is not None]
        if not vectors:
            return header + _NULL * len(obj.vectors)
        count, dimensions = len(vectors), vectors[0].size
        if any(vector.size != dimensions for vector in vectors):
            raise ValueError("the vectors are of different dimensions")
        number = np.dtype(">f2" if obj.type == "halfvec" else ">f4")
        element = np.dtype(
            [
                ("bytes", ">i4"),
                ("dimensions", ">i2"),
                ("unused", ">i2"),
                ("numbers", number, (dimensions,)),
            ]
        )
        whole = bytearray(len(header) + count * element.itemsize)
        whole[: len(header)] = header
        elements = np.frombuffer(whole, element, offset=len(header))
        elements["bytes"] = element.itemsize - 4
        elements["dimensions"] = dimensions
        elements["numbers"] = np.concatenate(vectors).reshape(count, dimensions)
        if count == len(obj.vectors):
            return whole
        pieces = (elements[place : place + 1].tobytes() for place in range(count))
        return header + b"".join([_NULL if one is None else next(pieces) for one in obj.vectors])

    def _oid(self, type_name: str) -> int:
        context = self.connection
        found = context.adapters.types.get(type_name) if context else None
        if found is None:
            raise psycopg.ProgrammingError(
                f"the connection does not know {type_name!r}: call pgvector's register_vector"
            )
        return found.oid


def keys_of(batch: Batch) -> dict[str, Array]:
    """All keys, one array for each column of the key: ``{"key_1": …, "key_2": …}``."""
    return keys_at(batch, range(len(batch)))


def keys_at(batch: Batch, places: Sequence[int]) -> dict[str, Array]:
    """The keys at ``places``, likewise."""
    return {
        f"key_{number}": Array([texts[place] for place in places], "text")
        for number, texts in enumerate(batch.key_columns, 1)
    }


psycopg.adapters.register_dumper(Array, _ArrayDumper)
psycopg.adapters.register_dumper(VectorArray, _VectorArrayDumper)
