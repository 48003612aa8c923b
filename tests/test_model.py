"""The towers: against transformers' own BERT, against themselves unpadded, and what may not matter does not."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytest
import torch
from transformers import AutoModel

import tiny_model
from hit import text
from hit.config import ModelConfig, TextTowerConfig, VideoTowerConfig
from hit.errors import UserError
from hit.layout import GROUP, Layout
from hit.model import Block, HiT, TextTower, text_shape
from hit.tokens import pack_texts
from hit.types import Features

WIDTHS = {"look": 6, "sound": 4}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.text_encoder(tmp_path_factory.mktemp("text") / "bert")


Changes = Mapping[str, Any]


def build(bert: Path, video: Changes = MappingProxyType({}), text: Changes = MappingProxyType({}), **changes: Any) -> HiT:
    torch.manual_seed(1)
    tower = VideoTowerConfig(**{"width": 32, "layers": 2, "heads": 2, "ffn": 48, "max_seconds": 8, **video})
    config = ModelConfig(dim=16, video=tower, text=TextTowerConfig(str(bert), **text), **changes)
    model = HiT(config, WIDTHS, text_shape(bert))
    model.text.load(bert)
    return model.eval()


def clip(seed: int, rows: int = 4, experts: tuple[str, ...] = ("look", "sound")) -> dict[str, Features]:
    rng = np.random.default_rng(seed)
    times = np.stack([np.arange(rows), np.arange(1, rows + 1)], axis=1).astype(np.float32)
    return {name: Features(rng.normal(size=(rows, WIDTHS[name])).astype(np.float32), times) for name in experts}


def embed(model: HiT, *clips: dict[str, Features]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(list(model.embed_video(model.video.pack(clips))), dim=1)


@pytest.mark.parametrize("source", ["tiny", "minilm"])
def test_the_text_tower_is_transformers_bert(source: str, bert: Path) -> None:
    folder = bert if source == "tiny" else text.locate("minilm")
    tower = TextTower(ModelConfig(), text_shape(folder)).eval()
    tower.load(folder)
    ids = text.Tokenizer(folder, 64)(["a red ball rises then a blue box spins", "a ball", "red"])
    reference = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        feature, semantic = tower(pack_texts(ids))
        for row, own in enumerate(ids):
            theirs = reference(torch.as_tensor(own)[None], output_hidden_states=True)
            torch.testing.assert_close(semantic[row], theirs.last_hidden_state[0, 0], atol=1e-5, rtol=0)
            torch.testing.assert_close(feature[row], theirs.hidden_states[1][0].mean(0), atol=1e-5, rtol=0)


def test_both_levels_are_unit_vectors(bert: Path) -> None:
    vectors = embed(build(bert), clip(0), clip(1)).view(2, 2, 16)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 2))


@pytest.mark.parametrize("pool", ["mean", "max", "cls", "aggregate", "experts"])
@pytest.mark.parametrize("aggregates", [True, False])
def test_a_clip_does_not_see_its_neighbours_in_the_batch(bert: Path, pool: str, aggregates: bool) -> None:
    if pool in ("aggregate", "experts") and not aggregates:
        with pytest.raises(UserError, match="pools its aggregate tokens but has none"):
            build(bert, {"semantic_pool": pool, "aggregates": aggregates})
        return
    low = "aggregate" if pool == "experts" else pool
    model = build(bert, {"semantic_pool": pool, "feature_pool": low, "aggregates": aggregates})
    clips = [clip(0, 4), clip(1, 9), clip(2, 1, ("look",)), clip(3, 2, ("sound",))]
    alone = torch.cat([embed(model, one) for one in clips])
    torch.testing.assert_close(embed(model, *clips), alone, atol=1e-5, rtol=0)


def test_an_expert_that_is_absent_changes_nothing(bert: Path) -> None:
    model = build(bert)
    silent = clip(0, 4, ("look",))
    before = embed(model, silent)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("video.project.sound.weight", "video.project.sound.bias", "video.expert.sound"):
                parameter.add_(100.0)
    assert torch.equal(embed(model, silent), before)
    saw_nothing = silent | {"sound": Features(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32))}
    assert torch.equal(embed(model, saw_nothing), before)


def test_the_order_of_events_counts_at_both_levels(bert: Path) -> None:
    model = build(bert)
    forward = clip(0, 4, ("look",))
    backward = {"look": Features(forward["look"].values[::-1].copy(), forward["look"].times)}
    apart = (embed(model, forward) - embed(model, backward)).view(2, 16).norm(dim=1)
    assert (apart > 1e-3).all()


def test_features_are_standardised_by_the_training_data(bert: Path) -> None:
    model, data = build(bert), clip(0, 50)
    model.video.fit_scale("look", torch.from_numpy(data["look"].values * 1000 + 7))
    moved = {"look": Features(data["look"].values * 1000 + 7, data["look"].times)}
    other = build(bert)
    other.video.fit_scale("look", torch.from_numpy(data["look"].values))
    torch.testing.assert_close(embed(model, moved), embed(other, {"look": data["look"]}), atol=1e-4, rtol=0)


def test_gates_tell_a_text_from_the_same_words_in_another_order(bert: Path) -> None:
    (ids,) = text.Tokenizer(bert, 64)(["red ball rises then blue box spins"])
    swapped = np.concatenate([ids[:1], ids[5:8], ids[4:5], ids[1:4], ids[8:]])
    apart = []
    for phases in (1, 2):
        torch.manual_seed(0)
        tower = TextTower(ModelConfig(text=TextTowerConfig(phases=phases, semantic_pool="mean")), text_shape(bert)).eval()
        tower.load(bert)
        with torch.no_grad():
            feature, _ = tower(pack_texts([ids, swapped]))
        apart.append(1 - float(torch.cosine_similarity(feature[0], feature[1], dim=0)))
    assert apart[1] > 10 * apart[0]


@pytest.mark.parametrize(("pool", "phases"), [("cls", 1), ("mean", 2), ("max", 2)])
@pytest.mark.parametrize("packed", [True, False])
def test_frozen_blocks_can_be_computed_once(bert: Path, pool: Literal["cls", "mean", "max"], phases: int, packed: bool) -> None:
    config = ModelConfig(packed=packed, text=TextTowerConfig(trained_blocks=1, phases=phases, semantic_pool=pool))
    tower = TextTower(config, text_shape(bert))
    tower.load(bert)
    batch = pack_texts(text.Tokenizer(bert, 64)(["a red ball", "box"]))
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith(("blocks.1.", "gates.")) for name in trained)
    kept = tower.lower(batch)
    tower.eval()
    for mine, theirs in zip(tower(batch, kept), tower(batch), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("trained", "first"), [(1, "blocks.1."), (2, "blocks."), (3, "")])
def test_what_of_the_text_encoder_is_fine_tuned(bert: Path, trained: int, first: str) -> None:
    tower = TextTower(ModelConfig(text=TextTowerConfig(trained_blocks=trained)), text_shape(bert))
    learning = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in tower.named_parameters() if name.startswith(first)}


def test_the_lower_blocks_of_an_encoder_can_be_used_alone(bert: Path) -> None:
    tower = TextTower(ModelConfig(text=TextTowerConfig(blocks=1)), text_shape(bert)).eval()
    tower.load(bert)
    (ids,) = text.Tokenizer(bert, 64)(["a red ball"])
    with torch.no_grad():
        theirs = AutoModel.from_pretrained(bert).eval()(torch.as_tensor(ids)[None], output_hidden_states=True)
        torch.testing.assert_close(tower(pack_texts([ids]))[1][0], theirs.hidden_states[1][0, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [-1, 3])
def test_a_feature_block_outside_the_towers_is_refused(bert: Path, block: int) -> None:
    with pytest.raises(UserError, match=f"model.video.feature_block: {block} is not a block"):
        build(bert, {"feature_block": block})
    with pytest.raises(UserError, match=f"model.text.feature_block: {block} is not a block"):
        build(bert, text={"feature_block": block})


@pytest.mark.parametrize("trained", [0, 1, 3])
def test_a_feature_level_before_the_blocks_is_what_goes_into_them(bert: Path, trained: int) -> None:
    tower = TextTower(ModelConfig(text=TextTowerConfig(feature_block=0, trained_blocks=trained)), text_shape(bert)).eval()
    tower.load(bert)
    (ids,) = text.Tokenizer(bert, 64)(["a red ball"])
    with torch.no_grad():
        theirs = AutoModel.from_pretrained(bert).eval()(torch.as_tensor(ids)[None], output_hidden_states=True)
        feature, semantic = tower(pack_texts([ids]))
    torch.testing.assert_close(feature[0], theirs.hidden_states[0][0].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(semantic[0], theirs.last_hidden_state[0, 0], atol=1e-5, rtol=0)


def test_a_tower_without_blocks_averages_its_tokens(bert: Path) -> None:
    """Two clips that share their rows but not their number: the mean of the normalised tokens, written out."""
    model = build(bert, {"layers": 0, "feature_block": 0, "aggregates": False, "phases": 0, "semantic_pool": "mean"})
    tower, one = model.video, clip(1, 3, ("look",))
    with torch.no_grad():
        feature, semantic = tower(tower.pack([clip(0, 4), one]))
        rows = tower.project["look"](torch.from_numpy(one["look"].values)) + tower.expert["look"]
        rows += tower.time.weight[1 + torch.tensor([1, 3, 5])]  # seconds 0.5, 1.5, 2.5 in steps of a half
        tokens = tower.norm(torch.cat([tower.cls[None], rows]))
    torch.testing.assert_close(semantic[1], tokens.mean(0), atol=1e-5, rtol=0)
    assert torch.equal(feature, semantic)


def test_similarity_by_expert_is_the_sum_weighted_by_the_text_over_the_experts_there_are(bert: Path) -> None:
    model = build(bert, {"semantic_pool": "experts"})
    clips = [clip(0, 4), clip(0, 4, ("look",)), clip(2, 3, ("sound",))]
    texts = pack_texts(text.Tokenizer(bert, 64)(["a red ball", "box"]))
    seen = embed(model, *clips)[:, model.dim :]  # (3, 2 * 16 + 2)
    with torch.no_grad():
        read = model.embed_text(texts).semantic
        weights = model.heads["text_semantic"].get_submodule("mixture")(model.text(texts)[1]).softmax(1)
    torch.testing.assert_close(torch.cat([seen, read]).norm(dim=1), torch.ones(5))
    for i, own in enumerate(clips):
        for j in range(2):
            score = 0.0
            for e, name in enumerate(("look", "sound")):
                part = slice(16 * e, 16 * e + 16)
                if name in own:
                    score += float(weights[j, e] * torch.cosine_similarity(seen[i, part], read[j, part], dim=0))
                else:
                    assert not seen[i, part].any()
            assert float(seen[i] @ read[j]) == pytest.approx(score / 2**0.5, abs=1e-5)
    with pytest.raises(UserError, match=r"model\.head: 'mlp' is not there"):
        build(bert, {"semantic_pool": "experts"}, head="mlp")


@pytest.mark.parametrize("pool", ["mean", "max", "cls", "aggregate", "experts"])
@pytest.mark.parametrize("count", [4, 3 * GROUP])
def test_packed_equals_padded(bert: Path, pool: str, count: int) -> None:
    """Forward and gradient: neither padding, nor the grids of a larger batch, nor what is left out of the last block counts."""
    clips = [clip(0, 4), clip(1, 9), clip(2, 1, ("look",)), clip(3, 40, ("sound",))]
    clips += [clip(i, 1 + i * 7 % 30, (("look", "sound"), ("look",))[i % 2]) for i in range(4, count)]
    words = ["a red ball rises then a blue box spins", "a ball", "red"]
    texts = pack_texts(text.Tokenizer(bert, 64)((words * count)[: count - 1]))
    found = []
    for packed in (True, False):
        reads = "cls" if pool in ("aggregate", "experts") else pool
        model = build(bert, {"semantic_pool": pool}, {"semantic_pool": reads}, packed=packed)
        seen, read = model.embed_video(model.video.pack(clips)), model.embed_text(texts)
        (seen.feature[0] @ read.feature[0] + (seen.semantic[:-1] * read.semantic).sum()).backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append(({"video": torch.cat(list(seen)), "text": torch.cat(list(read))}, gradients))
    (mine, my_gradients), (theirs, their_gradients) = found
    assert mine["video"].shape == (2 * count, 34 if pool == "experts" else 16)
    assert set(my_gradients) == set(their_gradients)
    for packed_part, padded_part in ((mine, theirs), (my_gradients, their_gradients)):
        for name, tensor in packed_part.items():
            torch.testing.assert_close(tensor, padded_part[name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_block_that_computes_what_is_read_gives_the_same() -> None:
    torch.manual_seed(0)
    lengths = np.random.default_rng(0).integers(1, 30, 3 * GROUP)
    layout, block = Layout(lengths, torch.device("cpu")), Block(16, 2, 24, 0.0)
    part = layout.only(np.flatnonzero(np.arange(lengths.sum()) % 3 == 0 | np.isin(np.arange(lengths.sum()), layout.first)))
    found = []
    for read in (None, part):
        x = torch.randn(int(lengths.sum()), 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
        y = part.take(block(x, layout)) if read is None else block(x, layout, read)
        gradients = torch.autograd.grad(y.square().sum(), [x, *block.parameters()])
        found.append([y, *gradients])
    for all_of_it, read_alone in zip(*found, strict=True):
        torch.testing.assert_close(read_alone, all_of_it, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["cls", "aggregate"])
def test_the_last_block_works_on_what_is_read_alone(bert: Path, pool: str) -> None:
    model = build(bert, {"semantic_pool": pool})
    ran: list[int] = []
    for tower in (model.video, model.text):
        for block in tower.blocks:
            block.get_submodule("up").register_forward_hook(lambda _, __, y: ran.append(len(y)))
    clips = model.video.pack([clip(0, 4), clip(1, 9)])
    texts = pack_texts(text.Tokenizer(bert, 64)(["a red ball", "red"]))
    model(clips, texts)
    assert ran == [32, {"cls": 2, "aggregate": 4}[pool], 8, 2]


@pytest.mark.slow
def test_compiled_blocks_give_the_same(bert: Path) -> None:
    model = build(bert)
    batches = [[clip(seed, 1 + seed % 9) for seed in range(start, start + 2 * GROUP)] for start in (0, 50, 100)]
    before = [embed(model, *batch) for batch in batches]
    for block in model.video.blocks:
        block.compile()
    for batch, expected in zip(batches, before, strict=True):
        torch.testing.assert_close(embed(model, *batch), expected, atol=1e-5, rtol=0)


def test_whitened_heads_are_principal_directions_of_almost_one_weight(bert: Path) -> None:
    model = build(bert)
    batches = [model.video.pack([clip(seed, 1 + seed % 7) for seed in range(start, start + 100)]) for start in (0, 100, 200)]
    with torch.no_grad():
        pooled = torch.cat([model.video(batch)[1] for batch in batches])
        model.whiten_video(batches)
        projected = model.heads["video_semantic"](pooled)
    torch.testing.assert_close(projected.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    variance = torch.linalg.eigvalsh(torch.cov(pooled.T))
    expected = (variance / (variance + 0.1 * variance.mean()) / 16)[-16:]
    torch.testing.assert_close(torch.linalg.eigvalsh(torch.cov(projected.T)), expected, atol=1e-5, rtol=1e-3)
    with pytest.raises(UserError, match="needs linear heads"):
        build(bert, head="mlp").whiten_video(batches)


def test_heads_may_have_a_hidden_layer(bert: Path) -> None:
    model = build(bert, head="mlp")
    assert sum(p.numel() for p in model.heads["text_feature"].parameters()) == 32 * 32 + 32 + 32 * 16 + 16
    assert embed(model, clip(0)).shape == (1, 32)


def test_other_kinds_of_text_encoder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="type t5"):
        text_shape(tmp_path)


def test_damaged_weights_are_named(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"model.safetensors: does not fit its config"):
        TextTower(ModelConfig(), text_shape(bert)).load(tmp_path)


def test_weights_that_do_not_fit_are_refused(bert: Path) -> None:
    shape = text_shape(bert) | {"intermediate_size": 65}
    with pytest.raises(UserError, match="does not fit its config"):
        TextTower(ModelConfig(), shape).load(bert)
