"""A tokeniser of a dozen words, for checkpoints that the tests make."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

SPECIAL = {"[PAD]": 0, "[BOS]": 1, "[UNK]": 2, "[EOS]": 3}
WORDS = ["chair", "table", "lamp", "a", "with", "four", "legs", "椅子", "台灯"]


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = SPECIAL | {word: 4 + number for number, word in enumerate(WORDS)}
    made: Any = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    )
