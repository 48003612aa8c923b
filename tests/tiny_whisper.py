"""A Whisper of a few kilobytes that says what a test tells it to, whatever it hears."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

WORDS = ["<unk>", "hello", "world", "how", "are", "you"]
WINDOW = 2  # seconds, where a real one listens to 30 at once
SPECIALS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>", "<|nospeech|>"]
TIMES = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
VOCABULARY = {word: at for at, word in enumerate([*WORDS, *SPECIALS, "<|notimestamps|>", *TIMES])}
PROMPT = 3  # tokens before what the model says: start, language, task


def write(folder: Path, script: Sequence[str], sure: float = 10.0) -> Path:
    """Save a model that writes the tokens of `script` in each window, and then the end of the text.

    Its blocks add nothing, and the embedding of a position is `sure` times that of the token that comes next.
    """
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    shape: dict[str, Any] = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    shape |= {f"{side}_ffn_dim": 8 for side in ("encoder", "decoder")}
    ids: dict[str, Any] = {"pad_token_id": VOCABULARY["<|endoftext|>"], "bos_token_id": VOCABULARY["<|endoftext|>"]}
    ids |= {"eos_token_id": VOCABULARY["<|endoftext|>"], "decoder_start_token_id": VOCABULARY["<|startoftranscript|>"]}
    config = WhisperConfig(
        vocab_size=len(VOCABULARY),
        d_model=64,
        num_mel_bins=8,
        max_source_positions=WINDOW * 50,
        max_target_positions=32,
        **shape,
        **ids,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.model.decoder.layers.named_parameters():
            if "out_proj" in name or "fc2" in name:
                parameter.zero_()
        tokens = model.model.decoder.embed_tokens.weight
        torch.nn.init.normal_(tokens)
        places = model.model.decoder.embed_positions.weight
        for at in range(len(places)):
            said = at - PROMPT + 1  # the last token of the prompt is followed by the first of the script
            places[at] = sure * tokens[VOCABULARY[script[said] if 0 <= said < len(script) else "<|endoftext|>"]]
    model.generation_config = GenerationConfig(
        **ids,
        is_multilingual=True,
        lang_to_id={code: VOCABULARY[code] for code in ("<|en|>", "<|de|>")},
        task_to_id={task: VOCABULARY[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=VOCABULARY["<|notimestamps|>"],
        max_length=32,
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model.save_pretrained(folder)
    settings: dict[str, Any] = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "chunk_length": WINDOW}
    settings |= {
        "n_samples": WINDOW * 16_000,
        "nb_max_frames": WINDOW * 100,
        "hop_length": 160,
        "n_fft": 400,
        "sampling_rate": 16_000,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
