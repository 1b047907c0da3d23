"""How vectors are stored and indexed: SQL types, index expressions, operator classes, limits.

A search answers from two copies of a vector: the *indexed* form, which the approximate index
orders by, and the *stored* one, from which exact distances are computed. Where the two are one and
the same there is nothing to rescore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embedsql.errors import DeclarationError

Quantization = Literal["none", "halfvec", "bit", "int8"]
VectorIndex = Literal["hnsw", "ivfflat", "none"]
Metric = Literal["cosine", "l2", "inner_product"]
Stored = Literal["vector", "halfvec"]

# most dimensions that an index of pgvector 0.8 takes, by the type that is indexed
INDEXABLE_DIMENSIONS: dict[str, int] = {"vector": 2000, "halfvec": 4000, "bit": 64000}
STORABLE_DIMENSIONS = 16000
OPERATORS: dict[Metric, str] = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}
_OPERATOR_CLASSES: dict[Metric, str] = {"cosine": "cosine", "l2": "l2", "inner_product": "ip"}


@dataclass(frozen=True)
class Hnsw:
    """Build-time options of an HNSW index. Query-time ones are ``embedsql.search.SearchTuning``.

    Attributes:
        m: Links of a node. Defaults to 16.
        ef_construction: Length of the candidate list while building. Defaults to 64.
    """

    m: int = 16
    ef_construction: int = 64

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 100:
            raise DeclarationError(f"HNSW's m must be 2 to 100, not {self.m}")
        if not max(4, 2 * self.m) <= self.ef_construction <= 1000:
            raise DeclarationError(
                f"HNSW's ef_construction must be at least 2·m ({2 * self.m}) and at most 1000, "
                f"not {self.ef_construction}"
            )


@dataclass(frozen=True)
class Ivfflat:
    """Build-time options of an IVFFlat index.

    Attributes:
        lists: Into how many lists vectors are sorted. ``None``: chosen when the index is built, a
            thousandth of the rows up to a million, then their square root.
    """

    lists: int | None = None

    def __post_init__(self) -> None:
        if self.lists is not None and not 1 <= self.lists <= 32768:
            raise DeclarationError(f"IVFFlat's lists must be 1 to 32768, not {self.lists}")

    @staticmethod
    def lists_for(rows: int) -> int:
        """How many lists suit so many rows, as pgvector's authors advise."""
        return max(1, rows // 1000) if rows <= 1_000_000 else int(rows**0.5)


@dataclass(frozen=True)
class VectorForm:
    """The two copies of a vector, of whatever length.

    Attributes:
        quantization: Of the indexed copy: ``none``, ``halfvec`` or ``bit``; ``int8``: bits are
            indexed, and codes of one byte a dimension are stored.
        stored: Type of the stored copy. ``None``: ``halfvec`` if that is indexed, else ``vector``.
        index_dimensions: The index sees only so many leading dimensions (of a Matryoshka model).
        metric: By which vectors are compared.
    """

    quantization: Quantization = "none"
    stored: Stored | None = None
    index_dimensions: int | None = None
    metric: Metric = "cosine"

    @property
    def has_codes(self) -> bool:
        """Whether the stored copy is one of int8 codes."""
        return self.quantization == "int8"

    @property
    def stored_as(self) -> Stored:
        """The pgvector type of the stored copy; of codes: that they are decoded to."""
        if self.stored is not None:
            return self.stored
        return "halfvec" if self.quantization == "halfvec" else "vector"

    def is_as_exact_as(self, other: VectorForm) -> bool:
        """Whether a vector that is stored so may be stored as ``other`` says, with no loss."""
        return self.exactness == "vector" or self.exactness == other.exactness == "halfvec"

    @property
    def exactness(self) -> str:
        """What is left of a vector that is stored: equal ones, equally much."""
        return "codes" if self.has_codes else self.stored_as

    @property
    def indexed_as(self) -> Literal["vector", "halfvec", "bit"]:
        """The pgvector type of the indexed copy."""
        if self.quantization in ("bit", "int8"):
            return "bit"
        return "halfvec" if "halfvec" in (self.quantization, self.stored_as) else "vector"

    @property
    def oversample(self) -> int:
        """Chunks looked at for each candidate row, unless a search says otherwise.

        With six, an index of bits finds as many of the nearest as one of whole vectors does with
        two (benchmark ``quantization``).
        """
        rough = self.indexed_as == "bit" or self.index_dimensions is not None
        return 6 if rough else 2

    @property
    def two_stage(self) -> bool:
        """Whether candidates of the index are ordered anew by the stored copy."""
        return self.index_dimensions is not None or self.indexed_as != self.stored_as

    @property
    def operator_class(self) -> str:
        """Of the approximate index."""
        if self.indexed_as == "bit":
            return "bit_hamming_ops"
        return f"{self.indexed_as}_{_OPERATOR_CLASSES[self.metric]}_ops"

    def index_expression(self, dimensions: int) -> str:
        """What is indexed, in the words of ``CREATE INDEX``; ``search.distance`` says the same."""
        if self.has_codes:
            return "bits"
        if not self.two_stage:
            return "embedding"
        seen = self.index_dimensions or dimensions
        part = "embedding"
        if self.index_dimensions is not None:
            part = f"subvector(embedding, 1, {seen})"
        if self.indexed_as == "bit":
            part = f"binary_quantize({part})"
        return f"({part}::{self.indexed_as}({seen}))"

    def stored_bytes(self, dimensions: int) -> int:
        """Size of the stored copy."""
        if self.has_codes:
            return dimensions + 24 + 4
        return dimensions * (4 if self.stored_as == "vector" else 2) + 8

    def indexed_bytes(self, dimensions: int) -> int:
        """Size of the indexed copy."""
        seen = self.index_dimensions or dimensions
        return {"vector": 4 * seen, "halfvec": 2 * seen, "bit": -(-seen // 8)}[self.indexed_as] + 8

    def check(self, dimensions: int, index: VectorIndex) -> None:
        """Refuse what pgvector would refuse, with the way out.

        Raises:
            DeclarationError: With what is wrong.
        """
        if not 1 <= dimensions <= STORABLE_DIMENSIONS:
            raise DeclarationError(
                f"{dimensions} dimensions cannot be stored: pgvector takes 1 to "
                f"{STORABLE_DIMENSIONS}"
            )
        if self.stored is not None and self.has_codes:
            raise DeclarationError("int8 stores codes: stored cannot be given with it")
        if self.stored == "halfvec" and self.quantization == "none":
            raise DeclarationError("to store vectors as halfvec, use quantization 'halfvec'")
        seen = self.index_dimensions or dimensions
        if self.index_dimensions is not None and not 1 <= seen < dimensions:
            raise DeclarationError(
                f"index_dimensions must be fewer than the {dimensions} of the vectors, not {seen}"
            )
        most = INDEXABLE_DIMENSIONS[self.indexed_as]
        if index != "none" and seen > most:
            raise DeclarationError(
                f"an {index} index takes at most {most} dimensions of {self.indexed_as}, and would "
                f"get {seen}: {_ways_out(seen)}"
            )


def _ways_out(dimensions: int) -> str:
    ways = ["quantization 'bit' or 'int8' (up to 64000)"]
    if dimensions <= INDEXABLE_DIMENSIONS["halfvec"]:
        ways.insert(0, "quantization 'halfvec' (up to 4000)")
    ways.append("index_dimensions, if the model is a Matryoshka one")
    ways.append("exact search, with index 'none'")
    return ", or ".join(ways)
