"""Momentum contrast: slow oracle, closed form, invariants, and two processes that equal one."""

import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as td
import torch.nn.functional as F
from torch import Tensor

from hit.config import LossConfig, ModelConfig, TextTowerConfig, VideoTowerConfig
from hit.errors import UserError
from hit.model import HiT, Levels
from hit.momentum import Keys, Matching, MomentumContrast, Negatives, gather_keys, info_nce, max_margin
from hit.tokens import TextTokens, VideoTokens, pack_clips, pack_texts
from test_model import WIDTHS, clip

SHAPE: dict[str, int | float | str] = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SHAPE |= {"vocab_size": 20, "max_position_embeddings": 20}
DIM = 8


def build(config: LossConfig, trained_blocks: int = 99, batch: int = 0) -> MomentumContrast:
    torch.manual_seed(0)
    video = VideoTowerConfig(width=16, layers=2, heads=2, ffn=32, dropout=0.0)
    text = TextTowerConfig(dropout=0.0, trained_blocks=trained_blocks)
    return MomentumContrast(HiT(ModelConfig(dim=DIM, video=video, text=text), WIDTHS, SHAPE), config, batch)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def levels(rows: int, seed: int) -> Levels:
    return Levels(unit(rows, DIM, seed=seed), unit(rows, DIM, seed=seed + 1))


def batch(first: int, count: int) -> tuple[VideoTokens, TextTokens, Tensor]:
    return chosen(range(first, first + count))


def chosen(rows: Sequence[int]) -> tuple[VideoTokens, TextTokens, Tensor]:
    texts = [torch.arange(2, 5 + i % 3).numpy() for i in rows]
    return pack_clips([clip(i) for i in rows], WIDTHS, 30), pack_texts(texts), torch.tensor(list(rows))


def step(contrast: MomentumContrast, part: tuple[VideoTokens, TextTokens, Tensor], lr: float = 0.1) -> float:
    video, text, ids = part
    model = contrast.query
    query = model(video, text)
    if contrast.config.kind == "momentum":
        contrast.update_keys()
        keys = contrast.embed_keys(video, text, ids)
    else:
        keys = gather_keys(query[0], query[1], ids)
    loss, _ = contrast.loss(query, keys)
    contrast.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in contrast.parameters():
        if parameter.grad is not None:
            if td.is_initialized():
                td.all_reduce(parameter.grad)
                parameter.grad /= td.get_world_size()
            parameter.data -= lr * parameter.grad
    if contrast.config.kind == "momentum":
        contrast.enqueue(keys)
    return float(loss.detach())


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_the_loss_is_what_a_slow_loop_says(masked: bool, inside: bool) -> None:
    config = LossConfig(temperature=0.1, mask_same_video=masked, in_batch_keys=inside)
    query, keys, bank = unit(3, DIM), unit(4, DIM, seed=1), unit(6, DIM, seed=2)
    ids, bank_ids, own = torch.tensor([5, 7, 5, 9]), torch.tensor([7, 1, 5, 2, 9, 9]), [1, 2, 0]
    losses = []
    for i in range(3):
        positive = math.exp(float(query[i] @ keys[own[i]]) / 0.1)
        total = positive
        for j in range(4):
            if inside and j != own[i] and not (masked and ids[j] == ids[own[i]]):
                total += math.exp(float(query[i] @ keys[j]) / 0.1)
        for j in range(6):
            if not (masked and bank_ids[j] == ids[own[i]]):
                total += math.exp(float(query[i] @ bank[j]) / 0.1)
        losses.append(-math.log(positive / total))
    matching = Matching(query, torch.tensor(own), Negatives(keys, ids, bank, bank_ids))
    found = info_nce(matching, config, torch.tensor(0.1))
    assert float(found) == pytest.approx(sum(losses) / 3, abs=1e-5)


def test_equal_logits_give_the_logarithm_of_their_number() -> None:
    one = unit(1, DIM)
    config = LossConfig(in_batch_keys=False)
    against = Negatives(one.expand(4, -1), torch.arange(4), one.expand(50, -1), torch.arange(100, 150))
    matching = Matching(one.expand(4, -1), torch.arange(4), against)
    assert float(info_nce(matching, config, torch.tensor(0.05))) == pytest.approx(math.log(1 + 50), abs=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_the_hinge_is_what_a_slow_loop_says(masked: bool) -> None:
    config = LossConfig(kind="max-margin", margin=0.3, mask_same_video=masked)
    query, keys, ids = unit(3, DIM), unit(4, DIM, seed=1), torch.tensor([5, 7, 5, 9])
    own, none = [1, 2, 0], torch.empty(0)
    losses = [
        max(0.0, 0.3 + float(query[i] @ keys[j]) - float(query[i] @ keys[own[i]]))
        for i in range(3)
        for j in range(4)
        if j != own[i] and not (masked and ids[j] == ids[own[i]])
    ]
    matching = Matching(query, torch.tensor(own), Negatives(keys, ids, none.view(0, DIM), none))
    assert float(max_margin(matching, config)) == pytest.approx(sum(losses) / len(losses), abs=1e-6)
    assert float(max_margin(matching._replace(query=keys[own]), replace(config, margin=0))) == pytest.approx(0, abs=1e-6)


def test_in_batch_the_loss_is_the_symmetric_cross_entropy_of_the_score_matrix() -> None:
    contrast = build(LossConfig(kind="in-batch", temperature=0.1))
    query = (levels(5, 0), levels(5, 7))
    _, terms = contrast.loss(query, gather_keys(*query, torch.arange(5)))
    scores = query[0].semantic @ query[1].semantic.T / 0.1
    assert float(terms["semantic/v2t"]) == pytest.approx(float(F.cross_entropy(scores, torch.arange(5))), abs=1e-6)
    assert float(terms["semantic/t2v"]) == pytest.approx(float(F.cross_entropy(scores.T, torch.arange(5))), abs=1e-6)
    assert contrast.key is None
    assert not contrast.bank.numel()


def test_several_captions_are_several_pairs_of_one_video() -> None:
    """The loss with C captions is the mean over the captions taken one at a time: siblings never stand against each other."""
    config = LossConfig(bank=8)
    videos, texts, key_videos, key_texts = levels(3, 0), levels(6, 7), levels(3, 20), levels(6, 27)
    ids = torch.arange(3)
    _, both = build(config).loss((videos, texts), Keys((key_videos, key_texts), ids))
    total = 0.0
    for c in (0, 1):
        # the other clips' other captions stay negatives, so the oracle adds them by hand
        for i in range(3):
            scores = videos.semantic[i] @ key_texts.semantic.T / config.temperature
            wrong = [j for j in range(6) if j // 2 != i]
            total -= float(scores[2 * i + c] - torch.logsumexp(scores[[2 * i + c, *wrong]], 0))
    assert float(both["semantic/v2t"]) == pytest.approx(total / 6, abs=1e-5)
    one = build(config)
    one.enqueue(Keys((key_videos, key_texts), ids))
    assert torch.equal(one.bank[1, 1, :3], key_texts.semantic[::2])
    assert int(one.state[1]) == 3


def test_momentum_follows_its_schedule() -> None:
    contrast = build(LossConfig(bank=4, momentum=0.9, final_momentum=1.0))
    name, key = next((n, p) for n, p in contrast.key.named_parameters() if p.requires_grad is False)  # type: ignore[union-attr]
    query = dict(contrast.query.named_parameters())[name]
    query.data += 1
    for progress, moved in ((0.0, 0.1), (0.5, 0.05), (1.0, 0.0)):
        before = key.clone()
        contrast.update_keys(progress)
        torch.testing.assert_close(key, before + moved * (query - before))


def test_the_temperature_is_learnt_within_its_bounds() -> None:
    contrast = build(LossConfig(bank=4, learn_temperature=True, temperature_bounds=(0.04, 0.06)))
    keys = Keys((levels(3, 1), levels(3, 2)), torch.arange(3))
    loss, _ = contrast.loss((levels(3, 3), levels(3, 4)), keys)
    loss.backward()  # type: ignore[no-untyped-call]
    assert contrast.log_temperature.grad is not None
    assert contrast.log_temperature.grad != 0
    contrast.log_temperature.data.fill_(3.0)
    assert float(contrast.temperature().detach()) == pytest.approx(0.06)
    assert not build(LossConfig()).log_temperature.requires_grad


@pytest.mark.parametrize("dropout", [True, False])
def test_keys_have_dropout_only_if_told(dropout: bool) -> None:
    contrast = build(LossConfig(key_dropout=dropout))
    assert contrast.key is not None
    assert contrast.train().key.training == dropout  # type: ignore[union-attr]
    assert not contrast.train(False).key.training  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (LossConfig(kind="in-batch", in_batch_keys=False), "loss.in_batch_keys: false leaves 'in-batch' without negatives"),
        (LossConfig(bank=0, in_batch_keys=False), "loss.bank: 0 leaves no negatives"),
        (LossConfig(kind="max-margin", learn_temperature=True), "loss.learn_temperature: a hinge has no temperature"),
        (LossConfig(temperature=0.9, learn_temperature=True), "loss.temperature: 0.9 is outside its bounds"),
        (LossConfig(momentum=1.5), "loss: temperature must be above 0"),
        (LossConfig("in-batch", shard=True), "loss.shard: 'in-batch' has no banks"),
        (LossConfig(bank=20, shard=True), r"loss.bank: with shard, 20 rows are not whole batches of 8 \(give it 16 or 24\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: LossConfig, line: str) -> None:
    with pytest.raises(UserError, match=line):
        build(config, batch=8)


def test_the_whole_loss_weighs_the_levels() -> None:
    query, keys = (levels(3, 0), levels(3, 5)), Keys((levels(3, 10), levels(3, 15)), torch.arange(3))
    contrast = build(LossConfig(bank=8, feature_weight=0.25))
    total, terms = contrast.loss(query, keys)
    assert set(terms) == {f"{level}/{way}" for level in ("feature", "semantic") for way in ("v2t", "t2v")}
    semantic = terms["semantic/v2t"] + terms["semantic/t2v"]
    assert float(total) == pytest.approx(float(semantic + 0.25 * (terms["feature/v2t"] + terms["feature/t2v"])), abs=1e-6)


def test_matchings_cross_modalities_and_never_levels() -> None:
    """With the video keys equal to the text queries only text->video is solved, and only at the level where they agree."""
    text = levels(4, 0)
    keys = Keys((Levels(text.feature, unit(4, DIM, seed=9)), levels(4, 20)), torch.arange(4))
    _, terms = build(LossConfig(bank=8)).loss((levels(4, 30), text), keys)
    assert min(terms, key=lambda name: float(terms[name])) == "feature/t2v"
    assert float(terms["feature/t2v"]) < 0.01 < 0.1 < min(float(t) for name, t in terms.items() if name != "feature/t2v")


def test_keys_follow_by_momentum_and_have_no_gradient() -> None:
    contrast = build(LossConfig(bank=16, momentum=0.9))
    for parameter in contrast.query.parameters():
        parameter.data += 0.5  # queries and keys apart, so that the mean is not either
    before = {name: p.clone() for name, p in contrast.key.named_parameters()}  # type: ignore[union-attr]
    queries = {name: p.clone() for name, p in contrast.query.named_parameters()}
    step(contrast, batch(0, 4))
    assert contrast.key is not None
    for name, key in contrast.key.named_parameters():
        assert key.grad is None
        assert not key.requires_grad
        torch.testing.assert_close(key, 0.9 * before[name] + 0.1 * queries[name])
    assert any(not torch.equal(p, queries[name]) for name, p in contrast.query.named_parameters())


def test_frozen_weights_are_held_once_and_left_out_of_checkpoints() -> None:
    contrast = build(LossConfig(bank=16), trained_blocks=1)
    assert contrast.key is not None
    assert contrast.key.text.word.weight.data_ptr() == contrast.query.text.word.weight.data_ptr()
    assert contrast.key.text.blocks[1].up.weight.data_ptr() != contrast.query.text.blocks[1].up.weight.data_ptr()  # type: ignore[union-attr, operator]
    names = set(contrast.learned_state())
    assert not any("text.word" in name or "text.blocks.0" in name for name in names)
    assert {"bank", "ids", "state", "query.text.blocks.1.up.weight", "key.video.cls"} <= names


@pytest.mark.parametrize("size", [1, 3, 4, 7, 30])
def test_the_bank_holds_the_newest_keys_at_any_batch_size(size: int) -> None:
    contrast, rows = build(LossConfig(bank=10)), []
    for start in range(0, 5 * size, size):
        keys = Keys((levels(size, start), levels(size, start + 1000)), torch.arange(start, start + size))
        contrast.enqueue(keys)
        rows += list(range(start, start + size))
    assert int(contrast.state[1]) == min(10, len(rows))
    assert sorted(i for i in contrast.ids.tolist() if i >= 0) == sorted(rows[-10:])
    filled = contrast.bank[:, :, contrast.ids >= 0]
    torch.testing.assert_close(filled.norm(dim=-1), torch.ones(filled.shape[:3]))
    last = int((contrast.state[0] - 1) % 10)
    assert int(contrast.ids[last]) == rows[-1]
    assert torch.equal(contrast.bank[1, 0, last], keys.levels[1].feature[-1])


def test_rows_that_are_not_filled_are_no_negatives() -> None:
    contrast = build(LossConfig(bank=1000))
    keys = Keys((levels(2, 0), levels(2, 1)), torch.arange(2))
    _, empty = contrast.loss((levels(2, 2), levels(2, 3)), keys)
    assert float(empty["semantic/t2v"]) < 2 / 0.05 + math.log(2)
    contrast.config = LossConfig(bank=1000, in_batch_keys=False)
    _, alone = contrast.loss((levels(2, 2), levels(2, 3)), keys)
    assert all(float(term) == pytest.approx(0, abs=1e-6) for term in alone.values())


def test_the_banks_do_not_change_before_the_keys_are_enqueued() -> None:
    contrast = build(LossConfig(bank=16))
    step(contrast, batch(0, 4))
    before = contrast.bank.clone()
    keys = Keys((levels(4, 0), levels(4, 1)), torch.arange(4))
    contrast.loss((levels(4, 2), levels(4, 3)), keys)
    assert torch.equal(contrast.bank, before)
    assert not contrast.bank.requires_grad


# By pairs that come twice, in and between the processes' halves, what is masked is not the same for each.
TOGETHER: dict[str, LossConfig] = {
    "momentum": LossConfig(bank=24, momentum=0.9),
    "momentum, sharded": LossConfig(bank=24, momentum=0.9, shard=True, learn_temperature=True),
    "momentum, sharded, banks alone": LossConfig(bank=16, momentum=0.9, shard=True, in_batch_keys=False),
    "momentum, sharded, nothing masked": LossConfig(bank=8, momentum=0.9, shard=True, mask_same_video=False),
    "in-batch": LossConfig("in-batch", learn_temperature=True),
    "max-margin": LossConfig("max-margin"),
}
ROWS = [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 1, 9, 9, 0, 3, 3], [4, 4, 8, 5, 5, 5, 5, 5]]


def outcome(contrast: MomentumContrast, mine: slice) -> dict[str, Any]:
    """Take three steps, and return what came of it."""
    losses = [step(contrast, chosen(rows[mine]), lr=0.02) for rows in ROWS]
    gradients = {name: p.grad for name, p in contrast.named_parameters() if p.grad is not None}
    return {"losses": losses, "state": contrast.learned_state(), "gradients": gradients, "rows": len(contrast.ids)}


def run(rank: int, folder: Path) -> None:
    """Take steps as one of two processes, each with its half of the pairs, and leave the outcomes behind."""
    td.init_process_group("gloo", f"file://{folder / 'meet'}", rank=rank, world_size=2)
    found = {}
    for name, config in TOGETHER.items():
        contrast = build(config, batch=8)
        found[name] = outcome(contrast, slice(4 * rank, 4 * rank + 4))
        state = [{key: tensor.clone() for key, tensor in found[name]["state"].items()}]
        td.broadcast_object_list(state, 0)
        before = contrast.bank.clone(), contrast.ids.clone(), contrast.state.clone()
        for tensor in (contrast.bank, contrast.ids, contrast.state):
            tensor.fill_(7)
        contrast.load_learned_state(state[0])
        assert all(map(torch.equal, before, (contrast.bank, contrast.ids, contrast.state)))
    torch.save(found, folder / f"{rank}.pt")
    td.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("together")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run, args=(rank, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_equal_one_with_the_joint_batch(together: tuple[dict[str, Any], dict[str, Any]], name: str) -> None:
    config = TOGETHER[name]
    first, second = (found[name] for found in together)
    whole = outcome(build(config, batch=8), slice(None))
    for key, tensor in whole["state"].items():
        torch.testing.assert_close(first["state"][key], tensor, atol=1e-5, rtol=1e-4, msg=key)
        if not config.shard:
            assert torch.equal(first["state"][key], second["state"][key]), key
    assert first["gradients"].keys() == whole["gradients"].keys()
    for key, gradient in whole["gradients"].items():
        torch.testing.assert_close(first["gradients"][key], gradient, atol=1e-5, rtol=1e-3, msg=key)
        assert torch.equal(first["gradients"][key], second["gradients"][key]), key
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(whole["losses"], rel=1e-5)
    assert first["rows"] == (whole["rows"] // 2 if config.shard else whole["rows"])
