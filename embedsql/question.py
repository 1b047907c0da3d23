"""What a caller asks, as a search takes it: checked, and embedded where its lanes need that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args

from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql import ColumnElement, SQLColumnExpression, coercions, roles

from embedsql.embedders.query_vectors import QueryVectors
from embedsql.errors import EmbeddingError, QueryError
from embedsql.provider_outage import ProviderOutage
from embedsql.search import Mode, SearchTuning, Shaping
from embedsql.search.query import checked_text
from embedsql.search.shaping import ShapingOptions
from embedsql.search.target import Target
from embedsql.search.words import meant_text

Where = Sequence[SQLColumnExpression[bool]] | SQLColumnExpression[bool] | None


class SearchOptions(ShapingOptions, total=False):
    """The keyword arguments of ``Searchable.search``."""

    vector: Sequence[float] | Any | None
    terms: str | Any | None
    mode: Mode | None
    limit: int
    where: Where
    joins: Sequence[tuple[Any, ColumnElement[bool]]]
    tuning: SearchTuning | None


@dataclass(frozen=True)
class Question:
    """A question with what its lanes need.

    Attributes:
        mode: The lanes that can be searched.
        vector: For the dense lane.
        terms: For the lexical lane of an index with a sparse encoder.
        space: Label of the space of what was embedded here.
        words_only: Why the dense lane is missing, which was wanted. ``None``: it is not.
    """

    mode: Mode
    vector: Any | None
    terms: Any | None
    space: str | None = None
    words_only: str | None = None


def embed_question(
    target: Target,
    query_vectors: Callable[[], QueryVectors],
    text: str | None,
    mode: Mode | None,
    *,
    vector: Any | None = None,
    terms: Any | None = None,
    outage: ProviderOutage | None = None,
) -> Question:
    """A question, embedded unless its vector is given or no lane needs one.

    Args:
        target: The index.
        query_vectors: Gives its model, which may have to be loaded.
        text: What is asked.
        mode: Which lanes, and no others. ``None``: the best that can be had, which is words only
            where the text cannot be embedded for now.
        vector: The question's vector.
        terms: The question as a sparse encoder has it.
        outage: Of the model's provider, which is not waited for again and again.

    Raises:
        QueryError: The text or the mode cannot be.
        EmbeddingError: The text cannot be embedded, and a lane that was named needs it.
    """
    lanes = mode or target.best_mode(in_words=text is not None)
    if lanes not in get_args(Mode):
        raise QueryError(f"no such mode: {lanes!r}; use hybrid, dense or lexical")
    if lanes != "dense":
        target.require_lexical()
    asked = Question(lanes, vector, terms)
    if text is None:
        return asked
    meant = meant_text(checked_text(text))
    if vector is None and lanes != "lexical":
        words_do = mode is None and lanes == "hybrid"
        asked = _with_vector(
            asked, query_vectors, meant, outage or ProviderOutage(), words_do=words_do
        )
    if terms is None and asked.mode != "dense" and target.learned:
        known = query_vectors()
        asked = replace(asked, terms=known.terms_of(meant), space=known.space)
    return asked


def _with_vector(
    asked: Question,
    query_vectors: Callable[[], QueryVectors],
    meant: str,
    outage: ProviderOutage,
    *,
    words_do: bool,
) -> Question:
    """The question embedded, or for words only where they do and there is no vector for now."""
    why = outage.why if words_do else None
    if why is None:
        try:
            known = query_vectors()
            return replace(asked, vector=known.of(meant), space=known.space)
        except EmbeddingError as error:
            outage.note(error)
            if not words_do:
                raise
            why = str(error)
    return replace(asked, mode="lexical", words_only=why)


def conditions(where: Where) -> Sequence[ColumnElement[bool]]:
    """Conditions as a caller gives them: several, or one by itself.

    Raises:
        QueryError: One is no SQL expression.
    """
    if where is None:
        return []
    # an OR can be iterated like a list of conditions, and yet is one
    several = [where] if isinstance(where, roles.SQLRole | str) else where
    try:
        return [coercions.expect(roles.WhereHavingRole, one) for one in several]
    except (ArgumentError, TypeError) as error:
        raise QueryError(f"where takes SQL expressions, not {where!r}: {error}") from error


def shaping_of(options: ShapingOptions) -> Shaping:
    """The fields of ``Shaping`` among a search's keyword arguments.

    Raises:
        QueryError: One is neither such a field nor any other option of a search.
    """
    known = SearchOptions.__annotations__
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f": did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}"
            raise QueryError(f"a search has no option {name!r}{meant}")
    return Shaping(**options)
