"""Image search as most people write it first: FastAPI, PyTorch eager, FAISS, one at a time.

    python benchmarks/peers/eager/server.py --images FOLDER --port 9001

The same encoder and the same answers as Vitrine, on a straightforward path: Pillow, a float tensor,
`model(x)`, a flat index. An `async def` that computes is a queue of length one. PyTorch has its own
number of threads, one a core, which is the fastest for one image at a time.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import faiss
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image, ImageOps

from vitrine_export import checkpoint

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--encoder", required=True)
    options = parser.parse_args()

    encoder = checkpoint.load(options.encoder)
    model = encoder.image.eval()
    preprocessing = encoder.info.preprocessing
    mean = torch.tensor(preprocessing.mean).reshape(3, 1, 1)
    std = torch.tensor(preprocessing.std).reshape(3, 1, 1)
    size = (preprocessing.size, preprocessing.size)

    def embed(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        fit = ImageOps.pad if preprocessing.resize == "letterbox" else ImageOps.fit
        image = fit(image, size, **({"color": "white"} if fit is ImageOps.pad else {}))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        with torch.no_grad():
            vector = model(((pixels - mean) / std)[None])
        return torch.nn.functional.normalize(vector, dim=-1).numpy()

    files = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = [file.relative_to(options.images).as_posix() for file in files[: options.limit]]
    index = faiss.IndexFlatIP(encoder.info.dimension)
    for file in files[: options.limit]:
        index.add(embed(file.read_bytes()))

    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/search")
    async def search(request: Request, k: int = 10) -> dict[str, list[dict[str, object]]]:
        scores, found = index.search(embed(await request.body()), k)
        pairs = zip(found[0], scores[0], strict=True)
        return {"hits": [{"id": names[at], "score": float(score)} for at, score in pairs]}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
