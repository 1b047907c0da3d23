"""sentence-transformers' cross-encoders."""

from __future__ import annotations

import os
from collections.abc import Sequence

from embedsql.errors import ConfigurationError, MissingExtraError, UnknownModelError


class CrossEncoderReranker:
    """See ``embedsql.rerank.cross_encoder``."""

    def __init__(self, model: str, *, threads: int | None = None) -> None:
        # idle threads of torch would spin on cores that PostgreSQL needs; read when it is imported
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", f"the reranker {model}") from error
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._model = CrossEncoder(model.removeprefix("sentence-transformers/"))
        except (OSError, ValueError) as error:
            said = str(error).strip().partition("\n")[0][:200]
            raise UnknownModelError(
                f"the reranker {model} cannot be loaded: it is not a local folder, not in the "
                f"cache, and the model hub does not have it or cannot be reached ({said})"
            ) from error
        if self._model.num_labels != 1:
            raise ConfigurationError(
                f"the model {model} gives {self._model.num_labels} scores a passage; a reranker "
                "gives one"
            )

    def __call__(self, query: str, passages: Sequence[str], /) -> Sequence[float]:
        """Scores as the model's own activation gives them, mostly 0 to 1."""
        pairs = [(query, passage) for passage in passages]
        scores = self._model.predict(pairs, show_progress_bar=False, convert_to_numpy=True)
        return [float(score) for score in scores]
