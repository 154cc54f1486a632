"""A model folder that infinity-emb can load: CLIP whose image tower is a ViT-S/16 at 224 (384 wide,
12 blocks, 6 heads), with random weights. Speed does not depend on their values.

    python make_model.py FOLDER [WIDTH]        (in infinity's own environment; 192: ViT-Ti)
"""

import json
import sys
from pathlib import Path

from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)


def main(folder: Path, width: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # the smallest byte-pair vocabulary that CLIP's tokenizer accepts: no text is ever sent
    words = ["<|startoftext|>", "<|endoftext|>", "a", "a</w>", "aa</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na a</w>\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        projection_dim=256,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=12,
        num_attention_heads=width // 64,
        patch_size=16,
        image_size=224,
        projection_dim=256,
    )
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=256
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 384)
