"""A whole model folder of a few kilobytes, untrained, for tests of what is done with models."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from hit import encoder, experts
from hit.config import ModelConfig, TextTowerConfig, VideoTowerConfig
from hit.model import HiT, text_shape

WORDS = "[PAD] [UNK] [CLS] [SEP] a red green blue ball box rises spins then".split()  # noqa: SIM905


def text_encoder(folder: Path) -> Path:
    """Write a random BERT of two blocks as a folder, with transformers' own names for the weights."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=80, **shape)).save_pretrained(folder)
    return folder


def write(folder: Path, seed: int = 0) -> Path:
    """Write a model over the weight-free experts; equal seeds give equal models."""
    folder.mkdir(parents=True)
    text = text_encoder(folder.with_name(f"{folder.name} text"))
    loaded = experts.load_all(experts.DEFAULT)
    video = VideoTowerConfig(width=32, layers=2, heads=2, ffn=64)
    config = encoder.FolderConfig(
        "tiny",
        ModelConfig(dim=16, video=video, text=TextTowerConfig(str(text))),
        {name: encoder.ExpertRecord(experts.DEFAULT[name], one.dim, one.identity) for name, one in loaded.items()},
    )
    torch.manual_seed(seed)
    model = HiT(config.model, {name: one.dim for name, one in loaded.items()}, text_shape(text))
    encoder.save(folder, model, config, text, {"data": "none"})
    return folder
