"""Where a local model runs: torch, or int8 weights in OpenVINO or ONNX Runtime.

int8 weights are made once from the model's own, in about a minute, and kept in the user's cache.
They are faster than torch only where the processor multiplies int8.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import platformdirs

from embedsql.choices import Backend
from embedsql.embedders import onnx, openvino
from embedsql.embedders.base import Vectors, normalized
from embedsql.embedders.fingerprint import fingerprint
from embedsql.embedders.loading import tokenizer_of
from embedsql.embedders.sample_texts import comparison_texts
from embedsql.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

LEAST_AGREEMENT = 0.95  # mean cosine; less, and the int8 weights are not worth having
RECIPE = 1  # counts up when int8 weights are made in another way

CPU_INFO = Path("/proc/cpuinfo")
# products of 8-bit integers, summed in one instruction: x86, then ARM
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


class Compiler(Protocol):
    """How one back end makes int8 weights and runs them; a module is one."""

    PACKAGES: tuple[str, ...]

    def check(self) -> None:
        """Raise ``ImportError`` where a package is missing."""

    def build(self, weights: str, folder: Path) -> None:
        """Make int8 weights of the model of that name, in a folder that is not there yet."""

    def load(self, folder: Path, threads: int | None) -> SentenceTransformer:
        """Run what ``build`` made with that many threads."""


@dataclass(frozen=True)
class Agreement:
    """Cosine of vectors of the same texts by int8 weights and by the model's own.

    Attributes:
        mean: Over the texts.
        least: Of the texts.
        texts: How many.
    """

    mean: float
    least: float
    texts: int

    @classmethod
    def of(cls, one: Vectors, other: Vectors) -> Agreement:
        """Compare, row by row, two arrays of shape (n, dimensions)."""
        cosines = np.sum(normalized(one) * normalized(other), axis=1)
        return cls(round(float(cosines.mean()), 5), round(float(cosines.min()), 5), len(cosines))


def compiler_of(backend: Backend) -> Compiler:
    """The compiler of ``openvino`` or ``onnx``.

    Raises:
        MissingExtraError: Its packages are not installed.
    """
    compiler: Compiler = openvino if backend == "openvino" else onnx
    try:
        compiler.check()
    except ImportError as error:
        raise MissingExtraError(backend, f"the back end {backend}") from error
    return compiler


def run_compiled(
    model: SentenceTransformer, weights: str, backend: Backend, threads: int | None
) -> SentenceTransformer:
    """The same model on int8 weights, which are made first where the cache has none.

    Args:
        model: On torch; compared with.
        weights: What it was loaded from.
        backend: ``openvino`` or ``onnx``.
        threads: ``None``: the back end's own choice.

    Raises:
        MissingExtraError: The back end is not installed.
        ConfigurationError: It cannot run this model, or too unlike torch, or the cache cannot be
            written.
    """
    compiler = compiler_of(backend)
    if model.transformers_model is None:
        raise ConfigurationError(f"{weights} has no transformer that {backend} could run")
    folder = cache_folder() / f"{backend}-int8-{_key(model, compiler)}"
    if not folder.exists():
        _build(compiler, model, weights, backend, folder)
    agreement = agreement_of(folder)
    log.info(
        "%s int8 agrees with torch: cosine %.4f on average, %.4f at least, of %d texts",
        *(backend, agreement.mean, agreement.least, agreement.texts),
    )
    return compiler.load(folder, threads)


def cache_folder() -> Path:
    """``EMBEDSQL_HOME``'s folder ``models``, else the user's cache."""
    home = os.environ.get("EMBEDSQL_HOME")
    return Path(home) / "models" if home else platformdirs.user_cache_path("embedsql") / "models"


def agreement_of(folder: Path) -> Agreement:
    """What was measured when the int8 weights in ``folder`` were made."""
    return Agreement(**json.loads((folder / "agreement.json").read_text()))


def multiplies_int8(cpu_info: Path = CPU_INFO) -> bool:
    """Whether int8 is faster than floating point here; true where it cannot be told."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return True
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return not flags or not _INT8_FLAGS.isdisjoint(flags[0].split())


def _build(
    compiler: Compiler, model: SentenceTransformer, weights: str, backend: Backend, folder: Path
) -> None:
    """Make the weights aside and rename the folder: it is whole or not there at all.

    Workers that start together wait for the first of them.
    """
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.exists():
                return
            log.warning("making int8 weights of %s for %s, once; about a minute", weights, backend)
            if not multiplies_int8():
                log.warning("this processor has no int8 instructions (VNNI): torch may be faster")
            aside = folder.with_suffix(".partial")
            shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
            try:
                compiler.build(weights, aside)
                _compare(model, compiler.load(aside, None), aside, backend)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(
            f"int8 weights cannot be kept in {folder.parent}: {error.strerror or error}; "
            "EMBEDSQL_HOME names another folder"
        ) from error


def _compare(
    model: SentenceTransformer, compiled: SentenceTransformer, folder: Path, backend: Backend
) -> None:
    texts = comparison_texts()
    options: dict[str, Any] = {"batch_size": 8, "show_progress_bar": False}
    agreement = Agreement.of(model.encode(texts, **options), compiled.encode(texts, **options))
    if not agreement.mean >= LEAST_AGREEMENT:
        raise ConfigurationError(
            f"int8 weights do not suit this model: their vectors agree with torch's by a cosine of "
            f"{agreement.mean:.3f} only; use the back end torch instead of {backend}"
        )
    (folder / "agreement.json").write_text(json.dumps(asdict(agreement)))


def _key(model: SentenceTransformer, compiler: Compiler) -> str:
    """Digest of all that the folder's content depends on, 16 hexadecimal digits."""
    tokenizer = tokenizer_of(model)
    parts = [
        fingerprint(model),
        repr(model),
        json.dumps(model.prompts, sort_keys=True),
        "" if tokenizer is None else tokenizer.to_str(),
        *(version(package) for package in compiler.PACKAGES),
        str(RECIPE),
    ]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
