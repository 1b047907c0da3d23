"""int8 weights in ONNX Runtime, by sentence-transformers' own back end."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedsql.embedders.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGES = ("onnxruntime", "optimum-onnx")


def check() -> None:
    """Import what is needed.

    Raises:
        ImportError: Something is missing.
    """
    with quiet():
        import onnxruntime  # noqa: F401
        import optimum.onnxruntime  # noqa: F401


def build(weights: str, folder: Path) -> None:
    """Export the model and quantize it, each channel of a weight with a range of its own."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    # 7 bits on x86: without VNNI, products of 8 bits overflow
    arm = platform.machine().lower() in ("arm64", "aarch64")
    make = AutoQuantizationConfig.arm64 if arm else AutoQuantizationConfig.avx2
    with quiet():
        model = _open(weights, {"export": True})
        model.save_pretrained(str(folder))
        quantizer = ORTQuantizer.from_pretrained(model[0].auto_model)
        whole = folder / "onnx" / "model.onnx"
        quantizer.quantize(make(is_static=False, per_channel=True), folder / "onnx")
        whole.with_name("model_quantized.onnx").replace(whole)


def load(folder: Path, threads: int | None) -> SentenceTransformer:
    """Run what ``build`` made."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    with quiet():
        return _open(str(folder), {"export": False, "session_options": options})


def _open(weights: str, options: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        weights,
        device="cpu",
        backend="onnx",
        model_kwargs={"provider": "CPUExecutionProvider", **options},
    )
