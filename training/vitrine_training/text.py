"""The text tower: a caption or title → the image encoder's space."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from vitrine_server.tokens import PADDING, tokenise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WEIGHTS_FILE = "text.safetensors"
CONFIG_FILE = "text.json"


class TextTower(nn.Module):
    """A bag of hashed n-grams: mean of their vectors, then two linear layers."""

    def __init__(self, *, buckets: int = 16384, dim: int = 128, embedding: int = 256) -> None:
        super().__init__()
        self.buckets, self.dim, self.embedding = buckets, dim, embedding
        self.table = nn.Embedding(buckets, dim, padding_idx=PADDING)
        self.fc1 = nn.Linear(dim, 2 * embedding)
        self.fc2 = nn.Linear(2 * embedding, embedding)
        nn.init.normal_(self.table.weight, std=1.0)
        with torch.no_grad():
            self.table.weight[PADDING].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (B, L) int64, 0 is padding → (B, embedding) float, L2-normalised."""
        used = (ids != PADDING).sum(dim=1, keepdim=True).clamp(min=1)
        # the square root keeps the variance of a sum of independent vectors, whatever its length
        bag = self.table(ids).sum(dim=1) / used.to(self.table.weight.dtype).sqrt()
        return F.normalize(self.fc2(F.gelu(self.fc1(bag))), dim=1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(len(texts), embedding) on the CPU, without gradients."""
        with torch.inference_mode():
            ids = torch.from_numpy(tokenise(texts, buckets=self.buckets)).to(self.fc1.weight.device)
            parts = [self(ids[start : start + 512]) for start in range(0, len(ids), 512)]
            return torch.cat(parts).cpu()

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write text.json and text.safetensors (as FP16 if `half`) beside the image encoder."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        state = {name: tensor.half() for name, tensor in state.items()} if half else state
        (folder / WEIGHTS_FILE).write_bytes(serialise(state))
        shape = {"buckets": self.buckets, "dim": self.dim, "embedding": self.embedding}
        (folder / CONFIG_FILE).write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TextTower:
        """Read what `save` wrote: FP32, in eval mode. Raises FileNotFoundError without a tower."""
        tower = cls(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        tower.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return tower.eval()
