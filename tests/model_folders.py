"""Tiny networks with random weights, written as folders in the form of transformers, and ONNX files; several tests use them."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
PICTURES: dict[str, Any] = {
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "resample": 2,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.3, 0.25, 0.2],
}
FRAMES = 4  # of the video models
LANDMARKS = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
WORDS = "<s> <pad> <unk> </s> a red blue Red ball box rises spins then".split()  # noqa: SIM905
TEXTS: dict[str, Any] = TINY | {"vocab_size": 50, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 3}


def write(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table))


def vit(folder: Path) -> Path:
    """Save a tiny ViT, as a classifier: so it comes without a pooler."""
    from transformers import ViTConfig, ViTForImageClassification

    _save(lambda: ViTForImageClassification(ViTConfig(**TINY, image_size=32, patch_size=8)), folder)
    table = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_resize": True, "resample": 2}
    write(folder / "preprocessor_config.json", table | {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True})
    return folder


def resnet(folder: Path) -> Path:
    """Save a tiny ResNet, as a classifier of three scenes."""
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8, 12],
        "depths": [1, 1],
        "layer_type": "basic",
        "num_labels": 3,
    }
    _save(lambda: ResNetForImageClassification(ResNetConfig(**sizes)), folder)
    write(folder / "preprocessor_config.json", PICTURES | {"image_processor_type": "NoSuchProcessor"})
    return folder


def clip(folder: Path) -> Path:
    """Save a tiny CLIP."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=TEXTS | {"max_position_embeddings": 8},
        vision_config=TINY | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    _save(lambda: CLIPModel(config), folder)
    table = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    write(folder / "preprocessor_config.json", table | {"do_center_crop": True, "image_mean": [0.4] * 3, "image_std": [0.3] * 3})
    return folder


def siglip(folder: Path) -> Path:
    """Save a tiny SigLIP, as which SigLIP 2 comes too."""
    from transformers import SiglipConfig, SiglipModel

    vision = TINY | {"image_size": 32, "patch_size": 8}
    config = SiglipConfig(text_config=TEXTS | {"max_position_embeddings": 8, "projection_size": 16}, vision_config=vision)
    _save(lambda: SiglipModel(config), folder)
    table = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2}
    write(folder / "preprocessor_config.json", table | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    return folder


def tokenizer(folder: Path) -> Path:
    """Add a tokenizer of WORDS to a dual encoder's folder, in the form of transformers."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 3)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def video(folder: Path, family: str) -> Path:
    """Save a tiny video model of a family: videomae, timesformer, vivit, vjepa2 or xclip."""
    library: Any = import_module("transformers")
    sizes = {"image_size": 32, "patch_size": 8, "num_frames": FRAMES}
    if family == "videomae":
        _save(lambda: library.VideoMAEForVideoClassification(library.VideoMAEConfig(**TINY, **sizes)), folder)
    elif family == "timesformer":
        _save(lambda: library.TimesformerForVideoClassification(library.TimesformerConfig(**TINY, **sizes)), folder)
    elif family == "vivit":
        config = library.VivitConfig(**TINY, image_size=32, num_frames=FRAMES, tubelet_size=[2, 8, 8])
        _save(lambda: library.VivitForVideoClassification(config), folder)
    elif family == "vjepa2":
        widths = {
            f"{part}{key}": value
            for part in ("", "pred_")
            for key, value in {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}.items()
        }
        config = library.VJEPA2Config(**widths, patch_size=8, crop_size=32, frames_per_clip=FRAMES)
        _save(lambda: library.VJEPA2Model(config), folder)
    else:
        mit = {f"mit_{key}": value for key, value in TINY.items()}
        config = library.XCLIPConfig(
            text_config=TEXTS | {"max_position_embeddings": 8},
            vision_config=TINY | sizes | mit,
            projection_dim=16,
        )
        _save(lambda: library.XCLIPModel(config), folder)
    name = "video_preprocessor_config.json" if family == "vjepa2" else "preprocessor_config.json"
    processors = {"vivit": "VivitImageProcessor", "vjepa2": "VJEPA2VideoProcessor", "timesformer": "VideoMAEImageProcessor"}
    write(folder / name, PICTURES | {"image_processor_type": processors.get(family, "VideoMAEImageProcessor")})
    return folder


def audio(folder: Path, family: str) -> Path:
    """Save a tiny audio model of a family: ast, clap (one that fuses) or wav2vec2."""
    library: Any = import_module("transformers")
    if family == "ast":
        _save(lambda: library.ASTForAudioClassification(library.ASTConfig(**TINY, max_length=100, num_mel_bins=32)), folder)
        library.ASTFeatureExtractor(max_length=100, num_mel_bins=32).save_pretrained(folder)
    elif family == "clap":
        swin = {"depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16, "patch_embeds_hidden_size": 8}
        config = library.ClapConfig(
            text_config=TEXTS | {"max_position_embeddings": 99},
            audio_config=swin | {"spec_size": 32, "num_mel_bins": 8, "window_size": 4, "enable_fusion": True},
            projection_dim=12,
        )
        _save(lambda: library.ClapModel(config), folder)
        rates = {"sampling_rate": 8000, "frequency_max": 4000, "fft_window_size": 256, "hop_length": 160, "max_length_s": 2}
        library.ClapFeatureExtractor(feature_size=8, **rates).save_pretrained(folder)
    else:
        layers = {"conv_dim": [8, 8], "conv_stride": [10, 8], "conv_kernel": [10, 8], "num_feat_extract_layers": 2}
        config = library.Wav2Vec2Config(**TINY, **layers, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)
        _save(lambda: library.Wav2Vec2Model(config), folder)
        library.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def _save(make: Any, folder: Path) -> None:
    import torch
    from transformers import utils as library

    logging: Any = library.logging
    logging.disable_progress_bar()
    torch.manual_seed(0)
    make().save_pretrained(folder)
    logging.enable_progress_bar()


# ONNX files are written by hand: they are protocol buffers of a few fields (onnx/onnx.proto), and these models have few nodes.
FLOAT, UINT8, INT64 = 1, 2, 7
Shape = Sequence[int | str]


def onnx(
    path: Path,
    nodes: Sequence[tuple[str, str, str]],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, Shape],
    weights: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model of nodes (operator, names that go in, name that comes out), of numbered types and shapes.

    "Conv8" is a convolution with a kernel and strides of 8.
    """
    graph = [_bytes(1, _node(*node)) for node in nodes] + [_bytes(2, b"tiny")]
    graph += [_bytes(5, _tensor(name, np.asarray(values))) for name, values in (weights or {}).items()]
    graph += [_bytes(11, _value(name, *about)) for name, about in inputs.items()]
    graph += [_bytes(12, _value(name, FLOAT, shape)) for name, shape in outputs.items()]
    path.write_bytes(_number(1, 8) + _bytes(7, b"".join(graph)) + _bytes(8, _bytes(1, b"") + _number(2, 17)))
    return path


def onnx_picture(path: Path, shape: Shape = ("n", 3, 32, 32), number: int = FLOAT) -> Path:
    """Write a model of two outputs: a row of 5 numbers, which the mean colour times `matrix` is, and the picture itself."""
    nodes = [("Cast", "image", "picture"), ("GlobalAveragePool", "picture", "mean"), ("Flatten", "mean", "colour")]
    outputs: dict[str, Shape] = {"row": (shape[0], 5), "picture": shape}
    return onnx(path, [*nodes, ("MatMul", "colour matrix", "row")], {"image": (number, shape)}, outputs, {"matrix": matrix()})


def yunet(path: Path, size: Shape = (640, 640), **changed: Any) -> Path:
    """Write a face detector in YuNet's form, to which a block of 8 x 8 pixels that is red alone is the middle of a face.

    The face is 24 pixels wide and 32 high; its eyes, nose and mouth are where SFace has them in a square of 28 pixels.
    """
    nodes: list[tuple[str, str, str]] = []
    weights: dict[str, Any] = {}
    outputs: dict[str, Shape] = {}
    marks = (np.array(LANDMARKS) / 112 - 0.5) * 28 / 8 + 0.5  # in blocks
    for stride in (8, 16, 32):
        red = np.array([-1, -1, 1], np.float32)[:, None, None] * np.ones((stride, stride), np.float32) / stride**2  # of BGR
        rows: dict[str, tuple[list[Any], list[float]]] = {"cls": ([red], [-100.0]), "obj": ([red], [-100.0])}
        rows |= {"bbox": ([0 * red] * 4, [0.5, 0.5, *np.log([3, 4])]), "kps": ([0 * red] * 10, list(marks.ravel()))}
        for name, (kernels, bias) in rows.items():
            key = f"{name}_{stride}"
            weights |= {f"{key}_w": np.stack(kernels), f"{key}_b": np.array(bias, np.float32)}
            weights |= {f"{key}_s": np.array([len(bias), -1], np.int64), f"{key}_t": np.array([1, -1, len(bias)], np.int64)}
            last = [("Sigmoid", f"{key}_2", f"{key}_3")] if name in ("cls", "obj") else []
            nodes += [(f"Conv{stride}", f"input {key}_w {key}_b", f"{key}_0"), ("Reshape", f"{key}_0 {key}_s", f"{key}_1")]
            nodes += [("Transpose", f"{key}_1", f"{key}_2"), *last]
            nodes.append(("Reshape", f"{key}_{3 if last else 2} {key}_t", key))
            outputs[key] = (1, f"n{stride}", len(bias))
    return onnx(path, nodes, {"input": (FLOAT, (1, 3, *size))}, outputs, weights | changed)


def sface(path: Path) -> Path:
    """Write an embedder in SFace's form, of 5 numbers: the mean colour, from 0 to 255, times `matrix`."""
    nodes = [("GlobalAveragePool", "data", "mean"), ("Flatten", "mean", "colour"), ("MatMul", "colour matrix", "row")]
    return onnx(path, nodes, {"data": (FLOAT, (1, 3, 112, 112))}, {"row": (1, 5)}, {"matrix": matrix()})


def elsewhere(path: Path, location: str) -> Path:
    """Write `onnx_picture` again, with its weights in the file `location` beside it."""
    entry = _bytes(13, _bytes(1, b"location") + _bytes(2, location.encode()))
    tensor = _number(1, 3) + _number(1, 5) + _number(2, FLOAT) + _bytes(8, b"matrix") + entry + _number(14, 1)
    nodes = [("GlobalAveragePool", "image", "mean"), ("Flatten", "mean", "colour"), ("MatMul", "colour matrix", "row")]
    graph = [_bytes(1, _node(*node)) for node in nodes] + [_bytes(2, b"tiny"), _bytes(5, tensor)]
    graph += [_bytes(11, _value("image", FLOAT, ("n", 3, 32, 32))), _bytes(12, _value("row", FLOAT, ("n", 5)))]
    path.write_bytes(_number(1, 8) + _bytes(7, b"".join(graph)) + _bytes(8, _bytes(1, b"") + _number(2, 17)))
    return path


def matrix() -> Any:
    """Return the weights (3, 5) of `onnx_picture`."""
    return np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def _node(operator: str, into: str, out: str) -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in into.split())
    about = _bytes(5, _bytes(1, b"to") + _number(3, FLOAT) + _number(20, 2)) if operator == "Cast" else b""
    if operator.startswith("Conv"):
        operator, steps = "Conv", _number(8, int(operator[4:])) * 2 + _number(20, 7)
        about = _bytes(5, _bytes(1, b"kernel_shape") + steps) + _bytes(5, _bytes(1, b"strides") + steps)
    return names + _bytes(2, out.encode()) + _bytes(4, operator.encode()) + about


def _tensor(name: str, values: Any) -> bytes:
    dims = b"".join(_number(1, length) for length in values.shape)
    kind = INT64 if values.dtype == np.int64 else FLOAT
    return dims + _number(2, kind) + _bytes(8, name.encode()) + _bytes(9, values.tobytes())


def _value(name: str, number: int, shape: Shape) -> bytes:
    lengths = [_number(1, length) if isinstance(length, int) else _bytes(2, length.encode()) for length in shape]
    tensor = _number(1, number) + _bytes(2, b"".join(_bytes(1, length) for length in lengths))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
