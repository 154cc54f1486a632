"""The next step that people take: the model as ONNX in ONNX Runtime, inside FastAPI's threads.

    python benchmarks/peers/onnxruntime_inprocess/server.py --images FOLDER --port 9002

No batching: each request decodes, encodes and searches in a thread of the pool, and the runtime's
own threads share the cores (one thread an inference makes no difference at saturation). The graph
is the FP32 one that Vitrine's export starts from.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import faiss
import numpy as np
import onnxruntime
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image, ImageOps

from vitrine_export import checkpoint, onnx_graph

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--encoder", required=True)
    options = parser.parse_args()

    encoder = checkpoint.load(options.encoder)
    preprocessing = encoder.info.preprocessing
    graph = onnx_graph.build(encoder.image.eval(), preprocessing)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    size = (preprocessing.size, preprocessing.size)

    def embed(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        fit = ImageOps.pad if preprocessing.resize == "letterbox" else ImageOps.fit
        image = fit(image, size, **({"color": "white"} if fit is ImageOps.pad else {}))
        return session.run(["embedding"], {"pixels": np.asarray(image)[None]})[0]

    files = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = [file.relative_to(options.images).as_posix() for file in files[: options.limit]]
    index = faiss.IndexFlatIP(encoder.info.dimension)
    for file in files[: options.limit]:
        index.add(embed(file.read_bytes()))
    faiss.omp_set_num_threads(1)

    app = FastAPI()

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/search")
    def search(image: bytes = Body(media_type="image/*"), k: int = 10) -> dict[str, list[object]]:
        scores, found = index.search(embed(image), k)
        pairs = zip(found[0], scores[0], strict=True)
        return {"hits": [{"id": names[at], "score": float(score)} for at, score in pairs]}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
