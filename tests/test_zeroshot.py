"""Zero-shot models: their cosines are transformers' own, words are found by their sense, and what a clip lacks adds nothing."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folders
import subtitled
import toy
from hit import config, datasets, experts, train, zeroshot
from hit.errors import UserError
from hit.evaluate import evaluate
from hit.experts.pretrained import pinned
from hit.extract import extract
from hit.library import Library
from hit.types import Audio, AudioWant, Clip, Encoder, Expert, Features, Floats, Frames, FrameWant, Media, Silent
from hit.zeroshot import Plan, TextSide, ZeroShotEncoder, make, open_encoder

# The third is longer than the tiny networks' eight places, SigLIP's first would be another text in capitals.
QUERIES = ["a Red ball", "a blue box then a ball", "a ball rises then a box spins then a red ball rises", "spins"]
WORDLESS: dict[str, Any] = {"ocr": False, "speech": False}
SENSES = {"clip": "image", "siglip": "image", "xclip": "video", "clap": "audio"}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    made = {
        "clip": model_folders.clip(folder / "clip"),
        "siglip": model_folders.siglip(folder / "siglip"),
        "xclip": model_folders.video(folder / "xclip", "xclip"),
        "clap": model_folders.audio(folder / "clap", "clap"),
    }
    return {name: model_folders.tokenizer(path) for name, path in made.items()}


def silence(line: str) -> None:
    raise AssertionError(f"nothing to be said: {line}")


def opened(folder: Path, **plan: Any) -> ZeroShotEncoder:
    make(folder, Plan(**plan), silence)
    encoder = open_encoder(folder)
    assert isinstance(encoder, ZeroShotEncoder)
    return encoder


def media(expert: Expert) -> Media:
    """Return as much noise as makes one row of an expert."""
    noise, [want] = np.random.default_rng(0), expert.wants
    clip = Clip("a", "a", Path("a"))
    if isinstance(want, AudioWant):
        return Media(clip, {}, {want: Audio(noise.normal(0, 0.1, want.rate).astype(np.float32), want.rate, 0.0)})
    assert isinstance(want, FrameWant)
    count = model_folders.FRAMES if want.rate > 1 else 1
    images = noise.integers(0, 255, (count, want.side, want.side, 3), dtype=np.uint8)
    return Media(clip, {want: Frames(images, np.arange(count, dtype=np.float32) / np.float32(want.rate))}, {})


def cosines(folder: Path, family: str, inputs: Mapping[str, Any]) -> Floats:
    """Return how well `inputs` fit each query, as transformers has it: tokenizer, model and score."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast.from_pretrained(folder)
    if family == "siglip":  # as its documentation asks for, and in lower case as SigLIP 2's paper says
        lower = [text.lower() for text in QUERIES]
        texts = words(lower, padding="max_length", truncation=True, max_length=8, return_tensors="pt")
        texts = {"input_ids": texts["input_ids"]}
    else:
        length = 77 if family == "clap" else 8
        texts = words(QUERIES, padding=True, truncation=True, max_length=length, return_tensors="pt")
        texts = {key: texts[key] for key in ("input_ids", "attention_mask")}
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        if family == "xclip":  # its score adapts the text to each video, which no index can: the plain cosine
            text, seen = model.get_text_features(**texts).pooler_output, model.get_video_features(**inputs).pooler_output
            return torch.nn.functional.cosine_similarity(text, seen).numpy()
        output = model(**texts, **inputs)
        if family == "clap":
            return np.asarray(output.logits_per_audio[0] / model.logit_scale_a.exp(), np.float32)
        bias = model.logit_bias if family == "siglip" else 0.0
        return np.asarray((output.logits_per_image[0] - bias) / model.logit_scale.exp(), np.float32)


@pytest.mark.parametrize("family", SENSES)
def test_cosines_are_those_of_transformers(family: str, networks: dict[str, Path], tmp_path: Path) -> None:
    import torch

    sense = SENSES[family]
    encoder = opened(tmp_path / "model", **{"image": "", sense: str(networks[family])}, **WORDLESS)
    expert: Any = experts.load(sense, encoder.experts[sense])
    shown: dict[str, Any] = {}
    embed = expert._network.embed
    expert._network.embed = lambda kind, inputs: [shown.update(inputs), embed(kind, inputs)][1]
    found = experts.run({sense: expert}, media(expert))
    assert len(found[sense].values) == 1
    inputs = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in shown.items()}
    ours = encoder.embed_texts(QUERIES) @ encoder.embed_clips([found])[0]
    theirs = cosines(networks[family], family, inputs)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert len(set(np.round(theirs, 4))) == len(QUERIES), "the oracle tells the queries apart"


@pytest.mark.parametrize("family", SENSES)
def test_what_else_is_in_the_batch_changes_nothing(family: str, networks: dict[str, Path]) -> None:
    side = TextSide(str(networks[family]), SENSES[family])
    together = side(QUERIES * 20)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(80), abs=1e-5)
    for i, text in enumerate(QUERIES):
        assert side([text])[0] == pytest.approx(together[i], abs=1e-5)
    assert side([]).shape == (0, side.dim)


def rows(*values: list[float], texts: tuple[str, ...] | None = None) -> Features:
    return Features(np.array(values, np.float32), np.zeros((len(values), 2), np.float32), texts)


def test_parts_lie_side_by_side_and_a_missing_one_is_zero(networks: dict[str, Path], tmp_path: Path) -> None:
    plan = {"image": str(networks["clip"]), "audio": str(networks["clap"]), "weights": {"audio": 0.25}}
    encoder = opened(tmp_path / "model", **plan)
    assert isinstance(encoder, Encoder)
    assert encoder.parts == {"image": slice(0, 12), "audio": slice(12, 24), "text": slice(24, 408)}
    assert encoder.weights == {"image": 1.0, "audio": 0.25, "text": 0.3}
    assert (encoder.dim, encoder.id, set(encoder.experts)) == (
        408,
        "zero-shot (image + audio + text)",
        {*["image", "audio", "ocr", "speech"]},
    )
    one, two = np.eye(12)[0], np.eye(12)[1]
    wordy = np.eye(384)
    clips: list[dict[str, Features]] = [
        {"image": rows(list(one), list(5 * two)), "audio": rows(list(two)), "speech": rows(list(wordy[3]), list(wordy[4]))},
        {"image": rows(list(one)), "ocr": rows(list(wordy[3])), "speech": rows(list(wordy[4]))},
        {"image": rows(list(0 * one)), "ocr": Features(np.zeros((0, 384), np.float32), np.zeros((0, 2), np.float32), ())},
        {},
    ]
    first, second, third, fourth = encoder.embed_clips(clips)
    assert first[:12] == pytest.approx((one + two) / np.sqrt(2)), "each row counts as much, however long it is"
    assert first[12:24] == pytest.approx(two)
    assert second[24:] == pytest.approx(first[24:]), "a line counts as much whether it is read or heard"
    assert np.linalg.norm(second) == pytest.approx(np.sqrt(2)) and not second[12:24].any()
    assert not third.any() and not fourth.any()
    assert encoder.embed_clips([]).shape == (0, 408)
    texts = encoder.embed_texts(["a red ball", "who knows"])
    for part in encoder.parts.values():
        assert np.linalg.norm(texts[:, part], axis=1) == pytest.approx(np.ones(2), abs=1e-5)
    with pytest.raises(UserError, match="a text: is empty"):
        encoder.embed_texts(["a", " "])


def test_the_revision_goes_by_weights_and_not_by_the_place(networks: dict[str, Path], tmp_path: Path) -> None:
    network = shutil.copytree(networks["siglip"], tmp_path / "network")
    first = opened(tmp_path / "a", image=str(network), **WORDLESS)
    assert opened(tmp_path / "b", image=str(network), **WORDLESS).revision == first.revision
    spoil(network)
    assert opened(tmp_path / "c", image=str(network), **WORDLESS).revision != first.revision
    with pytest.raises(UserError, match="has other weights or another tokenizer than when"):
        first.embed_texts(["a red ball"])


def spoil(network: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(network / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, network / "model.safetensors", {"format": "pt"})


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def rewrite(name: str, **values: Any) -> Callable[[Path], object]:
    return lambda folder: model_folders.write(folder / name, json.loads((folder / name).read_text()) | values)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (without("tokenizer.json"), "has no tokenizer.json (name a dual encoder such as CLIP"),
        (without("tokenizer_config.json"), "has no tokenizer_config.json"),
        (without("model.safetensors"), "has no weights in safetensors form"),
        (without("preprocessor_config.json"), "has no preprocessor_config.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json: not a tokenizer"),
        (rewrite("tokenizer_config.json", pad_token="<nothing>"), "its pad_token, '<nothing>', is no word of tokenizer.json"),
        (rewrite("tokenizer_config.json", pad_token=None), "its pad_token, None, is no word"),
    ],
)
def test_a_spoilt_network_is_named_in_one_line(
    spoilt: Callable[[Path], object], words: str, networks: dict[str, Path], tmp_path: Path
) -> None:
    network = shutil.copytree(networks["clip"], tmp_path / "network")
    spoilt(network)
    refused(tmp_path, words, image=str(network))


def refused(tmp_path: Path, words: str, **plan: Any) -> None:
    with pytest.raises(UserError) as caught:
        make(tmp_path / "model", Plan(**({"image": ""} | plan)), silence)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_plans_that_cannot_be(networks: dict[str, Path], tmp_path: Path) -> None:
    clip, xclip, clap = (str(networks[name]) for name in ("clip", "xclip", "clap"))
    vit = str(model_folders.tokenizer(model_folders.vit(tmp_path / "vit")))
    refused(tmp_path, "is no dual encoder of texts and image: it has no text and no image features", image=vit)
    refused(tmp_path, "it has no image features", image=xclip)
    refused(tmp_path, "it has no video features", video=clip)
    refused(tmp_path, "it has no audio features", audio=clip)
    refused(tmp_path, "would have nothing to go by", **WORDLESS)
    refused(tmp_path, "there is no such folder", image=str(tmp_path / "nowhere"))
    refused(tmp_path, "HF_HUB_OFFLINE is set", image="nobody/nothing")
    refused(tmp_path, "nobody/no-encoder", text="nobody/no-encoder")
    refused(tmp_path, "cannot be put on 'tpu9'", audio=clap, device="tpu9")
    refused(tmp_path, "the model has no such part (it has audio)", audio=clap, weights={"image": 1.0}, **WORDLESS)
    refused(tmp_path, "-1.0 is not a number of 0 or above", audio=clap, weights={"audio": -1.0}, **WORDLESS)
    refused(tmp_path, "are all 0", audio=clap, weights={"audio": 0.0}, **WORDLESS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").touch()
    with pytest.raises(UserError, match="is not an empty folder"):
        make(tmp_path / "model", Plan(image=clip), silence)


def test_a_damaged_folder_is_named(networks: dict[str, Path], tmp_path: Path) -> None:
    opened(tmp_path / "model", image=str(networks["clip"]), **WORDLESS)
    config = (tmp_path / "model" / "config.toml").read_text()
    for text, words in [
        (config.replace("zero-shot", "telepathic", 1), "'telepathic' is not one of 'zero-shot'"),
        (config.replace("weight", "wieght"), "unknown key 'wieght' .did you mean 'weight'"),
        ("kind = ", "config.toml: cannot be read"),
    ]:
        (tmp_path / "model" / "config.toml").write_text(text)
        with pytest.raises(UserError, match=words):
            open_encoder(tmp_path / "model")
    (tmp_path / "model" / "card.json").unlink()
    with pytest.raises(UserError, match="not a model folder"):
        open_encoder(tmp_path / "model")


# -- the hub, as far as it goes without a network


COMMIT = "0123456789" * 4


def cached(home: Path, name: str, network: Path) -> Path:
    """Put a network into a hub cache as if it had been fetched."""
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(network, folder / "snapshots" / COMMIT)


def run(cwd: Path, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "hit", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "HF_HOME": str(cwd / "hub home"), "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_hub_id_is_pinned_to_its_commit(networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cached(tmp_path, "owner/tiny", networks["clip"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert pinned("owner/tiny", silence) == f"owner/tiny@{COMMIT}"
    encoder = opened(tmp_path / "model", image="owner/tiny", **WORDLESS)
    assert encoder.experts["image"].options == {"path": f"owner/tiny@{COMMIT}"}
    (snapshot.parents[1] / "refs" / "main").write_text("f" * 40)  # what the hub has now is another model
    assert encoder.embed_texts(["a red ball"]).shape == (1, 12)
    with pytest.raises(UserError, match="owner/other"):
        pinned("owner/other", silence)


# -- libraries


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three grey films: two in which something is said, and one without a word."""
    folder = tmp_path_factory.mktemp("films")
    said = {"kitchen": "First chop the onions, then fry them in butter.", "news": "Shares fell sharply on Wall Street today."}
    for name, line in said.items():
        subtitled.write(folder / f"{name}.mp4", [("mov_text", [(0.5, 3.5, line)])])
    (folder / "silent.mp4").write_bytes(subtitled.write(folder / "x.mp4", []).read_bytes())
    (folder / "x.mp4").unlink()
    return folder


def test_without_a_network_for_pictures_words_serve_and_it_says_so(
    films: Path, networks: dict[str, Path], tmp_path: Path
) -> None:
    done = run(tmp_path, "index", "lib", films, "--workers", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 3, "a clip without a word is kept"
    [line] = [line for line in done.stderr.splitlines() if line.startswith("hit: ")]
    assert line.startswith(
        f"hit: without pictures, by spoken and written words alone: {zeroshot.IMAGE} is not in the hub's cache"
    )
    assert "hit zeroshot OUT image=FOLDER" in line
    (tmp_path / "lib").rename(tmp_path / "moved")  # its model goes with it
    with Library.open(tmp_path / "moved") as library:
        found = library.search("how to cook vegetables")
        scores = {hit.clip.path.stem: hit.score for hit in found.hits}
        assert found.model == "zero-shot (text)"
        assert (next(iter(scores)), scores["silent"]) == ("kitchen", 0.0)
        assert scores["kitchen"] > 0.1
        assert library.search("the stock market is down").hits[0].clip.path.stem == "news"
        assert library.search(videos=[films / "news.mp4"]).hits[0].clip.path.stem == "news"
        with pytest.raises(UserError, match="the model finds nothing in it to search by"):
            library.search(videos=[films / "silent.mp4"])
    # A model with eyes embeds all of it anew.
    make(tmp_path / "better", Plan(image=str(networks["clip"]), ocr=False), silence)
    with Library.open(tmp_path / "moved", tmp_path / "better") as library:
        assert library.index([], workers=1).added == 3
        assert library.search("how to cook vegetables", level_weights=(0, 1)).hits[0].clip.path.stem == "kitchen"


def test_a_folder_with_other_things_gets_no_model(films: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="not a library, and not empty"):
        Library.prepare(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_network_in_the_hub_cache_is_taken_and_nothing_is_said(networks: dict[str, Path], films: Path, tmp_path: Path) -> None:
    cached(tmp_path / "hub home", zeroshot.IMAGE, networks["siglip"])
    done = run(tmp_path, "index", "lib", films / "news.mp4", "--workers", 1)
    assert done.returncode == 0 and "hit: " not in done.stderr, done.stderr
    done = run(tmp_path, "search", "lib", "Wall Street", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"]["id"], len(found["hits"])) == ("zero-shot (image + text)", 1)
    assert f"{zeroshot.IMAGE}@{COMMIT}" in (tmp_path / "lib" / "model" / "config.toml").read_text()


def test_commands_that_cannot_be(tmp_path: Path) -> None:
    for word, complaint in [
        ("imgae=x", "hit zeroshot: unknown key 'imgae' .did you mean 'image'"),
        ("ocr=maybe", "hit zeroshot: ocr: expected bool, got 'maybe'"),
        ("weights.text=much", "hit zeroshot: weights.text: expected float, got 'much'"),
    ]:
        with pytest.raises(UserError, match=complaint):
            config.given(Plan, [word], "hit zeroshot")
    done = run(tmp_path, "zeroshot", "out", "image=owner/name", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "owner/name: is not here and the hub cannot be reached" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_is_made_shown_and_leads_to_training(networks: dict[str, Path], tmp_path: Path) -> None:
    """From the command to a trained model, with the recipe that comes with the zero-shot model."""
    done = run(tmp_path, "zeroshot", "zero", f"image={networks['siglip']}", "ocr=false", "weights.text=0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "zero-shot (image + text)" in done.stdout and "minilm" in done.stdout and "0.50" in done.stdout
    lines = ["video,caption,split"]
    for i, colours in enumerate([["red"], ["green"], ["blue"], ["grey"], ["red", "blue"], ["blue", "red"]]):
        toy.render(tmp_path / "data" / "videos" / f"{i}.mp4", colours)
        lines.append(f"{i}.mp4,{' then '.join(colours)},{'train' if i < 4 else 'test'}")
    (tmp_path / "data" / "captions.csv").write_text("\n".join(lines))
    (tmp_path / "data" / "videos" / "4.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nfirst red and then blue\n")
    settings = ["train.steps=2", "train.batch=2", f"data.path={tmp_path / 'data'}", "data.val_share=0"]
    recipe = config.load(tmp_path / "zero" / "recipe.toml", settings)
    assert extract(datasets.read(tmp_path / "data"), recipe.experts, workers=1).failed == []
    before = evaluate(tmp_path / "zero", tmp_path / "data", "test", Silent())
    assert list(before["t2v"]) == ["image", "text", "fused"] and before["videos"] == 2
    assert before["t2v"]["text"]["R1"] >= 50.0
    with pytest.raises(UserError, match="leave out --report"):
        evaluate(tmp_path / "zero", tmp_path / "data", "test", Silent(), tmp_path / "page.html")
    train.train(recipe, tmp_path / "trained", Silent(), page=False)
    after = evaluate(tmp_path / "trained", tmp_path / "data", "test", Silent())
    assert list(after["t2v"]) == ["feature", "semantic", "fused"] and after["videos"] == 2


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download of one model takes."""

    network: Path

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path, name = self.path.partition("?")[0], self.path.rpartition("/")[2].partition("?")[0]
        headers = {"Content-Type": "application/json"}
        if path.startswith("/api/models/owner/tiny/revision/"):
            data = json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": []}).encode()
        elif path.startswith("/api/models/owner/tiny/tree/"):
            files = sorted(self.network.iterdir())
            entries = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f"{i:040}"} for i, f in enumerate(files)]
            data = json.dumps(entries).encode()
        elif not (self.network / name).is_file():  # what its client would like to know beside
            return self.send_error(404)
        else:
            data = (self.network / name).read_bytes()
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)
        return None

    def log_message(self, *_: object) -> None:
        pass


def test_a_download_is_announced_with_its_size_and_done_once(networks: dict[str, Path], tmp_path: Path) -> None:
    network = shutil.copytree(networks["siglip"], tmp_path / "network")
    (network / "table.json").write_text(json.dumps("x" * 1_500_000))
    (network / "pytorch_model.bin").write_bytes(bytes(9_000_000))  # a pickle is never fetched
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OurHub", (Hub,), {"network": network}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_XET": "1"}
        done = run(tmp_path, "zeroshot", "one", "image=owner/tiny", "ocr=false", "speech=false", **online)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("hit: fetching owner/tiny from the hub, 2 MB; later runs find it in the hub's cache\n")
    assert f"owner/tiny@{COMMIT}" in (tmp_path / "one" / "config.toml").read_text()
    assert not list((tmp_path / "hub home").rglob("*.bin"))
    done = run(tmp_path, "zeroshot", "two", "image=owner/tiny", "ocr=false", "speech=false", **online)  # the hub is gone
    assert (done.returncode, done.stderr) == (0, "")
