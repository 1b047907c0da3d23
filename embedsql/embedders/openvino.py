"""int8 weights and activations in OpenVINO, by sentence-transformers' own back end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedsql.embedders.quiet import quiet
from embedsql.embedders.sample_texts import calibration_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGES = ("openvino", "nncf", "optimum-intel")

# bfloat16, which OpenVINO takes unasked where the processor has it, would be another space;
# threads pinned to cores would not give way to PostgreSQL
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}


def check() -> None:
    """Import what is needed.

    Raises:
        ImportError: Something is missing.
    """
    # nncf and openvino report each use to their maker, unless this package cannot be imported
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with quiet():
        import nncf  # noqa: F401
        import optimum.intel.openvino  # noqa: F401


def build(weights: str, folder: Path) -> None:
    """Export the model and quantize it, with ranges calibrated on sample texts."""
    import nncf

    texts = calibration_texts()
    with quiet():
        model = _open(weights, {"export": True})
        exported: Any = model[0].model
        exported.model = nncf.quantize(
            exported.model,
            nncf.Dataset(texts, lambda text: _inputs(model, text)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(texts),
        )
        model.save_pretrained(str(folder))


def load(folder: Path, threads: int | None) -> SentenceTransformer:
    """Run what ``build`` made."""
    settings = _SETTINGS | ({} if threads is None else {"INFERENCE_NUM_THREADS": threads})
    with quiet():
        return _open(str(folder), {"export": False, "ov_config": settings})


def _open(weights: str, options: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        weights, device="cpu", backend="openvino", model_kwargs={"device": "CPU", **options}
    )


def _inputs(model: SentenceTransformer, text: str) -> dict[str, Any]:
    features = model.tokenizer(
        [text], truncation=True, max_length=model.max_seq_length, return_tensors="np"
    )
    exported: Any = model[0].model
    named = {entry.get_any_name() for entry in exported.model.inputs}
    return {name: values for name, values in features.items() if name in named}
