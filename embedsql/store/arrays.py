"""Vectors as one parameter, encoded at once: the driver would take them one by one, as objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_ONE_DIMENSION = 1
_NO_NULLS = 0
_FIRST = 1


@dataclass(frozen=True)
class VectorArray:
    """An array of ``vector`` or ``halfvec``, as a statement's parameter.

    Attributes:
        vectors: Shape (n, dimensions).
        type: ``vector`` or ``halfvec``.
    """

    vectors: npt.NDArray[Any]
    type: str


class _VectorArrayDumper(Dumper):
    """The server's binary form: the array's header, then each vector behind its length."""

    format = Format.BINARY

    def dump(self, obj: VectorArray) -> bytes:
        count, dimensions = obj.vectors.shape
        number = np.dtype(">f2" if obj.type == "halfvec" else ">f4")
        element = np.dtype(
            [
                ("bytes", ">i4"),
                ("dimensions", ">i2"),
                ("unused", ">i2"),
                ("numbers", number, (dimensions,)),
            ]
        )
        elements = np.zeros(count, element)
        elements["bytes"] = element.itemsize - 4
        elements["dimensions"] = dimensions
        elements["numbers"] = obj.vectors
        oid = self._oid(obj.type)
        header = struct.pack(">iiIii", _ONE_DIMENSION, _NO_NULLS, oid, count, _FIRST)
        return header + elements.tobytes()

    def _oid(self, type_name: str) -> int:
        context = self.connection
        found = context.adapters.types.get(type_name) if context else None
        if found is None:
            raise psycopg.ProgrammingError(
                f"the connection does not know {type_name!r}: call pgvector's register_vector"
            )
        return found.oid


psycopg.adapters.register_dumper(VectorArray, _VectorArrayDumper)
