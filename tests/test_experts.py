"""The contract of every expert, and the door through which plugins come."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

import model_folders
from hit import experts, video
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Audio, Batched, Clip, Expert, Features, Frames, FrameWant, Media, Want

MOBILENET = Path(__file__).parents[2] / "shared" / "models" / "mobilenet_v2"
BATCHED = ["image-model", "video-model", "audio-model", "onnx"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folders.vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, vit: Path) -> dict[str, dict[str, Any]]:
    """What has to be given to experts of a kind."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "image-model": {"path": str(vit)},
        "video-model": {"path": str(model_folders.video(folder / "videomae", "videomae"))},
        "audio-model": {"path": str(model_folders.audio(folder / "ast", "ast"))},
        "face": {"detector": str(model_folders.yunet(folder / "yunet.onnx")), "confidence": 0.5},
        "onnx": {"path": str(model_folders.onnx_picture(folder / "colour.onnx")), "image": {"mean": [0.4] * 3, "std": [0.2] * 3}},
    }


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A moving square with a word, a tone and subtitles, the same without sound, a single frame, and a still picture."""
    folder = tmp_path_factory.mktemp("films")
    background = np.random.default_rng(0).integers(60, 200, (72, 96, 3), dtype=np.uint8)

    label = PIL.Image.new("RGB", (96, 22))
    PIL.ImageDraw.Draw(label).text((4, 2), "EXIT HERE", font=PIL.ImageFont.load_default(14))
    word = np.asarray(label)

    def moving(at: int) -> Any:
        image = background.copy()
        image[20:40, at : at + 20] = (230, 30, 30)
        image[50:, :] = word
        return image

    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 16000) / 16000)).astype(np.float32)
    frames = [moving(count) for count in range(75)]
    video.write(folder / "full.mp4", frames, 25, tone, 16000)
    video.write(folder / "mute.mp4", frames, 25)
    video.write(folder / "one.mp4", frames[:1], 25, tone[:640], 16000)
    video.write(folder / "still.mp4", [background] * 40, 25, np.zeros(25600, np.float32), 16000)
    (folder / "full.srt").write_text(
        "1\n00:00:00,000 --> 00:00:01,000\nA square.\n\n2\n00:00:00,500 --> 01:00:00,000\nIt moves.\n"
    )
    return {path.stem: path for path in folder.glob("*.mp4")}


def _kinds() -> list[str]:
    return sorted(set(experts.available()) - {"given"})  # which looks at nothing


@pytest.mark.parametrize("kind", _kinds())
def test_contract(kind: str, options: dict[str, dict[str, Any]], films: dict[str, Path]) -> None:
    expert, again = (experts.load(kind, ExpertConfig(kind, options.get(kind, {}))) for _ in range(2))
    assert (expert.name, expert.identity, expert.dim) == (kind, again.identity, again.dim)
    for path in films.values():
        for span in ((0.0, float("inf")), (0.5, 1.5), (0.0, 0.03)):
            if path.stem == "one" and span[0]:
                continue
            clip = Clip(path.stem, path.name, path, *span)
            [media] = video.read(path, [clip], expert.wants)
            found = experts.run({kind: expert}, media).get(kind)
            if found is None:
                continue
            assert found.values.shape[1] == expert.dim
            assert found.values.dtype == np.float32
            assert found.times.dtype == np.float32
            assert (found.times[:, 0] >= clip.start - 1e-6).all()
            assert (found.times[:, 0] <= min(clip.end, video.probe(path).duration) + 1e-6).all()
            assert (found.times[:, 1] >= found.times[:, 0]).all()
            second = experts.run({kind: again}, media)[kind]
            assert np.array_equal(found.values, second.values), "an expert is deterministic"
            assert found.texts == second.texts
    [media] = video.read(films["full"], [Clip("full", "full.mp4", films["full"])], expert.wants)
    whole = expert.extract(media)
    assert whole is not None
    assert len(whole.values) > 0
    assert whole.values.any()


@pytest.mark.parametrize("kind", BATCHED)
def test_a_batch_is_no_more_than_its_rows(kind: str, options: dict[str, dict[str, Any]], films: dict[str, Path]) -> None:
    found = []
    for batch in (1, 2, 64):
        expert = experts.load(kind, ExpertConfig(kind, options[kind] | {"batch": batch}))
        [media] = video.read(films["full"], [Clip("full", "full.mp4", films["full"])], expert.wants)
        found.append(experts.run({kind: expert}, media)[kind])
    assert len(found[0].values) >= 3
    for other in found[1:]:
        assert other.values == pytest.approx(found[0].values, abs=1e-5)
        assert np.array_equal(other.times, found[0].times)


def _shown(expert: Expert, number: int, seconds: float = 3.0) -> Media:
    """Return a clip of noise for an expert; every third is wider, and every fifth has no sound."""
    noise, [want] = np.random.default_rng(number), expert.wants
    clip = Clip(str(number), "noise", Path("noise"))
    if isinstance(want, FrameWant):
        times = np.arange(round(seconds * want.rate), dtype=np.float32) / np.float32(want.rate)
        shape = len(times), want.side, want.side * (2 if number % 3 == 2 else 1), 3
        return Media(clip, {want: Frames(noise.integers(0, 255, shape, dtype=np.uint8), times)}, {})
    length = 0 if number % 5 == 4 else round(seconds * want.rate)
    return Media(clip, {}, {want: Audio(noise.normal(0, 0.1, length).astype(np.float32), want.rate, 0.0)})


@pytest.mark.parametrize("kind", BATCHED)
def test_clips_together_are_what_each_is_alone(
    kind: str, options: dict[str, dict[str, Any]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = experts.load(kind, ExpertConfig(kind, options[kind] | {"batch": 5}))
    assert isinstance(expert, Batched)
    medias = [_shown(expert, number, 1.0 + number % 4) for number in range(9)]
    alone = [experts.run({kind: expert}, media) for media in medias]
    calls: list[int] = []
    embed = expert._embed  # type: ignore[attr-defined]
    monkeypatch.setattr(expert, "_embed", lambda rows: (calls.append(len(rows)), embed(rows))[1])  # type: ignore[func-returns-value]
    together = experts.run_many({kind: expert}, medias)
    total = sum(len(found[kind].values) for found in alone if found)
    assert calls == [5] * (total // 5) + [total % 5] * (total % 5 > 0), "batches are full, but for the last"
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, dict)
        assert set(other) == set(one), "without a track it does not apply here either"
        if one:
            assert other[kind].values == pytest.approx(one[kind].values, abs=1e-5)
            assert np.array_equal(other[kind].times, one[kind].times)
    assert sum(map(bool, together)) == (8 if kind == "audio-model" else 9)
    assert expert.extract_many([]) == []
    assert not caplog.records


def test_eight_clips_of_three_frames_are_two_calls(vit: Path) -> None:
    expert = experts.load("net", ExpertConfig("image-model", {"path": str(vit), "batch": 16}))
    passes = []
    expert._network._model.register_forward_hook(lambda _, given, __: passes.append(1))  # type: ignore[attr-defined]
    experts.run_many({"net": expert}, [_shown(expert, number) for number in range(8)])
    assert len(passes) == 2


def test_one_clips_failure_is_its_own(vit: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = experts.load("net", ExpertConfig("image-model", {"path": str(vit)}))
    medias = [_shown(net, number) for number in range(4)]
    medias[1] = Media(medias[1].clip, {}, {})
    want = net.wants[0]
    assert isinstance(want, FrameWant)
    first, second, *others = experts.run_many({"net": net, "toy": _Toy("toy", want), "shy": _Toy("shy", want, shy=True)}, medias)
    assert isinstance(second, KeyError)
    for found in (first, *others):
        assert isinstance(found, dict)
        assert set(found) == {"net", "toy"}
    assert "expert 'net' looks at 4 clips one by one: KeyError" in caplog.text
    for found in experts.run_many({"toy": _Toy("toy", want, "wide"), "net": net}, medias[2:]):
        assert isinstance(found, ValueError)
        assert "promised 1" in str(found)


def test_experts_of_sound_do_not_apply_without_a_track(films: dict[str, Path]) -> None:
    sound = experts.load("sound", ExpertConfig())
    [media] = video.read(films["mute"], [Clip("mute", "mute.mp4", films["mute"])], sound.wants)
    assert experts.run({"sound": sound}, media) == {}


@pytest.mark.parametrize("kind", sorted(set(_kinds()) - {"speech"}))  # whose options are other weights
def test_options_change_the_identity(kind: str, options: dict[str, dict[str, Any]]) -> None:
    given = options.get(kind, {})
    seconds, table = {"seconds": 0.25}, {"image": given.get("image", {}) | {"rate": 5.0}}
    other = {"sound": seconds, "audio-model": seconds, "onnx": table}.get(kind, {"rate": 5.0})
    plain, changed = (experts.load(kind, ExpertConfig(kind, given | more)) for more in ({}, other))
    assert plain.identity != changed.identity


@pytest.mark.parametrize("kind", ["image-model", "ocr", "onnx"])
def test_key_pictures_that_will_do_are_asked_for_and_change_the_identity(kind: str, options: dict[str, dict[str, Any]]) -> None:
    given = options.get(kind, {})
    more: dict[str, Any] = {"keyframes": True}
    more = {"image": given["image"] | more} if kind == "onnx" else more
    plain, changed = (experts.load(kind, ExpertConfig(kind, given | added)) for added in ({}, more))
    assert plain.identity != changed.identity
    assert changed.wants == tuple(replace(want, exact=False) for want in plain.wants if isinstance(want, FrameWant))


def test_what_experts_want_together_is_asked_for_once() -> None:
    toys: dict[str, Expert] = {name: _Toy(name, FrameWant(2.0, 32)) for name in ("one", "two")}
    toys["three"] = _Toy("three", FrameWant(2.0, 64))
    assert experts.wants(toys) == (FrameWant(2.0, 32), FrameWant(2.0, 64))


class _Toy:
    """An expert of one number a frame, with a flaw at will."""

    dim, identity = 1, "toy"

    def __init__(self, name: str, want: FrameWant = FrameWant(1.0, 8), flaw: str = "", shy: bool = False) -> None:  # noqa: B008
        self.name, self.flaw, self.shy = name, flaw, shy
        self.want, self.wants = want, tuple[Want, ...]([want])

    def extract(self, media: Media) -> Features | None:
        times = media.frames[self.want].times[:, None].repeat(2, 1)
        values = np.ones((len(times), 2 if self.flaw == "wide" else 1), np.float32)
        if self.flaw == "nan":
            values[:] = np.nan
        return None if self.shy else Features(values, times[::-1] if self.flaw == "order" else times)


@pytest.mark.parametrize(
    ("flaw", "complaint"), [("wide", "2 numbers a row and promised 1"), ("nan", "finite"), ("order", "order of time")]
)
def test_a_faulty_expert_is_named(flaw: str, complaint: str) -> None:
    want = FrameWant(1.0, 8)
    media = Media(Clip("a", "a", Path("a")), {want: Frames(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3, dtype=np.float32))}, {})
    with pytest.raises(ValueError, match=complaint):
        experts.run({"toy": _Toy("toy", want, flaw)}, media)
    assert set(experts.run({"toy": _Toy("toy", want), "shy": _Toy("shy", want, shy=True)}, media)) == {"toy"}


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("motoin", ExpertConfig(), r"'motoin'.*did you mean 'motion'"),
        ("zzz", ExpertConfig(), r"there are .*appearance"),
        ("m", ExpertConfig("motion", {"rat": 1.0}), r"expert 'm': has no option 'rat' \(did you mean 'rate'\?\)"),
        ("m", ExpertConfig("motion", {"rate": "fast"}), r"option 'rate' is 'fast', not of type float"),
        ("net", ExpertConfig("image-model"), r"lacks the option 'path'"),
    ],
)
def test_wrong_kinds_and_options_are_named(name: str, config: ExpertConfig, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        experts.load(name, config)


def test_plugins_that_are_broken_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {
        "needy": "no_such_package.sub:Thing",
        "gone": "hit.experts:Nothing",
        "dict": "builtins:dict",
        "other": f"{__name__}:_other",
    }
    installed = {name: EntryPoint(name, value, "hit.experts") for name, value in targets.items()}
    monkeypatch.setattr(experts, "available", lambda: installed)
    complaints = {
        "needy": r"No module named 'no_such_package' \(pip install no_such_package\)",
        "gone": "cannot be imported",
        "other": "calls itself 'fixed'",
    }
    for name, complaint in complaints.items():
        with pytest.raises(UserError, match=complaint):
            experts.load(name, ExpertConfig())


def test_the_list_says_what_each_is_and_lacks() -> None:
    found = {one.name: one for one in experts.describe() if one.package == "hit-video"}
    needy, words = {"face", "given", "image-model", "video-model", "audio-model", "onnx"}, {"ocr", "speech"}
    assert set(experts.DEFAULT) | needy | words == set(found)
    for name in experts.DEFAULT:
        made = experts.load(name, ExpertConfig())
        assert (found[name].dim, found[name].ready, found[name].lacks) == (made.dim, True, "")
        assert (found[name].default, found[name].licence, found[name].megabytes) == (True, "Apache-2.0", 0.0)
    for name in words:
        assert (found[name].dim, found[name].ready, found[name].default) == (None, True, False)
    for name in needy:
        assert (found[name].dim, found[name].ready, found[name].default) == (None, False, False)
        assert found[name].lacks.startswith("give ")


def test_the_list_is_quick() -> None:
    code = "import sys; from hit import experts; list(experts.describe()); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_list_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {"needy": "no_such_package.sub:Thing", "toy": f"{__name__}:_Toy", "extra": f"{__name__}:_Extra"}
    installed = {name: EntryPoint(name, value, "hit.experts") for name, value in targets.items()}
    monkeypatch.setattr(experts, "available", lambda: installed)
    lacks = {one.name: one.lacks for one in experts.describe()}
    assert lacks == {"needy": "pip install no_such_package", "toy": "", "extra": "pip install 'somebody[more]'"}


class _Extra(_Toy):
    packages: ClassVar = {"no_such_package": "somebody[more]", "json": "json"}


def _other() -> _Toy:
    return _Toy("fixed")


def _media(folder: Path, expert: Expert, frames: int = 3) -> Media:
    noise = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    path = folder / "noise.mp4"
    video.write(path, noise[:frames].repeat(5, 0), 5)
    [media] = video.read(path, [Clip("a", "a", path)], expert.wants)
    return media


def test_a_vision_transformer_without_a_pooler_gives_its_class_token(tmp_path: Path, vit: Path) -> None:
    import torch
    from transformers import ViTModel

    expert = experts.load("net", ExpertConfig("image-model", {"path": str(vit), "batch": 2}))
    media = _media(tmp_path, expert)
    found = expert.extract(media)
    assert found is not None
    assert found.values.shape == (3, 16)
    images = media.frames[expert.wants[0]].images  # type: ignore[index]
    assert images.shape == (3, 32, 43, 3)
    squashed = np.stack([np.asarray(PIL.Image.fromarray(image).resize((32, 32), 2), np.float32) for image in images])
    model = ViTModel.from_pretrained(vit, add_pooling_layer=False)
    with torch.inference_mode():
        expected = model(torch.from_numpy((squashed / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)).last_hidden_state[:, 0].numpy()
    assert found.values == pytest.approx(expected, abs=1e-4)


def test_a_dual_encoder_gives_its_image_features(tmp_path: Path) -> None:
    folder = model_folders.clip(tmp_path / "clip")
    expert = experts.load("net", ExpertConfig("image-model", {"path": str(folder)}))
    assert expert.dim == 12
    found = expert.extract(_media(tmp_path, expert))
    assert found is not None
    assert found.values.shape == (3, 12)


def test_our_preprocessing_equals_theirs(tmp_path: Path) -> None:
    from hit.experts import image_model, pictures

    folder = model_folders.clip(tmp_path / "clip")
    images = [np.random.default_rng(seed).integers(0, 255, (40, 61 + seed, 3), dtype=np.uint8) for seed in range(3)]
    process, settings = image_model._processor(folder)
    assert pictures.prepare(settings, images) == pytest.approx(process(images), abs=1e-5)


@pytest.mark.parametrize("size", [{"height": 20, "width": 30}, 24, {"shortest_edge": 24}])
def test_a_family_without_a_pil_processor_is_preprocessed_by_us(tmp_path: Path, size: Any) -> None:
    from hit.experts import image_model

    model_folders.write(
        tmp_path / "preprocessor_config.json", {"image_processor_type": "NoSuchProcessor", "size": size, "resample": 2}
    )
    with pytest.raises(UserError, match=r"does not say image_mean, image_std"):
        image_model._processor(tmp_path)
    table = {
        "image_processor_type": "NoSuchProcessor",
        "size": size,
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    model_folders.write(tmp_path / "preprocessor_config.json", table)
    process, settings = image_model._processor(tmp_path)
    assert settings == table
    shapes = {"height": (20, 30), "shortest_edge": (24, 32)}
    expected = shapes[next(iter(size))] if isinstance(size, dict) else (24, 24)
    pixels = process([np.full((48, 64, 3), 255, np.uint8)] * 2)
    assert pixels.shape == (2, 3, *expected)
    assert pixels == pytest.approx(1.0)


def test_weights_and_preprocessing_are_part_of_the_identity(tmp_path: Path, vit: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    def identity() -> str:
        return experts.load("net", ExpertConfig("image-model", {"path": str(copy)})).identity

    copy = shutil.copytree(vit, tmp_path / "copy")
    first = identity()
    assert first == experts.load("net", ExpertConfig("image-model", {"path": str(vit)})).identity
    table = json.loads((copy / "preprocessor_config.json").read_text())
    model_folders.write(copy / "preprocessor_config.json", table | {"image_mean": [0.1, 0.2, 0.3]})
    second = identity()
    weights = load_file(copy / "model.safetensors")
    save_file({name: value + torch.tensor(0.01) for name, value in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    assert len({first, second, identity()}) == 3


def test_models_that_do_not_load_say_why(tmp_path: Path, vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def complaint(path: str | Path, **options: Any) -> str:
        with pytest.raises(UserError) as caught:
            experts.load("net", ExpertConfig("image-model", {"path": str(path), **options}))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "HF_HUB_OFFLINE is set" in complaint("somebody/some-model")
    assert "there is no such folder" in complaint(tmp_path / "nowhere")
    assert "has no preprocessor_config.json" in complaint(tmp_path)
    broken = shutil.copytree(vit, tmp_path / "broken")
    assert "cannot be put on 'gameboy'" in complaint(broken, device="gameboy")
    weights = load_file(broken / "model.safetensors")
    save_file(dict(list(weights.items())[:5]), broken / "model.safetensors", {"format": "pt"})
    assert "of the model's weights" in complaint(broken)
    (broken / "model.safetensors").write_bytes(b"garbage")
    assert "cannot be loaded" in complaint(broken)
    (broken / "model.safetensors").unlink()
    assert "safetensors" in complaint(broken)
    (broken / "preprocessor_config.json").write_text("{")
    assert "is not JSON" in complaint(broken)


def test_a_classifier_of_scenes_gives_what_it_sees_before_it_names_a_class(tmp_path: Path) -> None:
    import torch
    from transformers import ResNetForImageClassification

    from hit.experts import pictures

    folder = model_folders.resnet(tmp_path / "resnet")
    expert = experts.load("scene", ExpertConfig("image-model", {"path": str(folder)}))
    assert (expert.name, expert.dim) == ("scene", 12)
    media = _shown(expert, 0)
    classifier = ResNetForImageClassification.from_pretrained(folder).eval()
    pixels = pictures.prepare(model_folders.PICTURES, list(media.frames[FrameWant(1.0, 32)].images))
    with torch.inference_mode():
        named = classifier(torch.from_numpy(pixels)).logits.numpy()
        found = experts.run({"scene": expert}, media)["scene"]
        assert classifier.classifier(torch.from_numpy(found.values)).numpy() == pytest.approx(named, abs=1e-5)


@pytest.mark.skipif(not MOBILENET.is_dir(), reason=f"{MOBILENET} is not here")
def test_mobilenet_gives_the_numbers_it_always_gave() -> None:
    expert = experts.load("net", ExpertConfig("image-model", {"path": str(MOBILENET)}))
    want = expert.wants[0]
    assert want == FrameWant(1.0, 256)
    ramp = np.linspace(0, 255, 320).astype(np.uint8)
    image = np.stack([np.broadcast_to(ramp, (256, 320)), np.full((256, 320), 128), np.broadcast_to(ramp[::-1], (256, 320))], -1)
    media = Media(Clip("a", "a", Path("a")), {want: Frames(image[None].astype(np.uint8), np.zeros(1, np.float32))}, {})
    found = expert.extract(media)
    assert found is not None
    assert found.values.shape == (1, 1280)
    largest = np.argsort(-found.values[0])[:5]
    # Made by transformers' own call on this image's middle: guards decoding to RGB, preprocessing, weights and pooling at once.
    assert largest.tolist() == [593, 1258, 563, 1060, 99]
    assert found.values[0, largest] == pytest.approx([4.185, 3.608, 3.538, 3.518, 3.493], abs=2e-3)
