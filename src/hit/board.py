"""What TensorBoard shows of a training."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from hit.step import Outcome, Setup


class Board:
    """What TensorBoard shows of a training; nothing is written by any process but the first."""

    def __init__(self, folder: Path, step: int, first: bool) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1) if first else None

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    def step(self, setup: Setup, step: int, outcome: Outcome, seconds: float) -> None:
        """Write the scalars of a step."""
        if not self._writer:
            return
        pairs = setup.batches.size * setup.settings.captions
        scalars = {f"loss/{name}": value for name, value in {**outcome.terms, "total": outcome.loss}.items()}
        scalars |= {"throughput/pairs a second": pairs / max(seconds, 1e-9), "temperature": setup.contrast.temperature().item()}
        scalars["bank/age of the oldest row in steps"] = int(setup.contrast.state[1]) / len(outcome.keys.ids)
        for group in setup.optimizer.param_groups:
            scalars[f"learning rate/{group['side']} peak {group['peak']:g}"] = group["lr"]
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    @torch.no_grad()
    def validation(
        self, setup: Setup, step: int, outcome: Outcome, ways: Mapping[str, Mapping[str, Mapping[str, float]]]
    ) -> None:
        """Write recall on the held-out clips, and how similar right and wrong pairs are."""
        if not self._writer:
            return
        for way, levels in ways.items():
            for level, scores in levels.items():
                for k in ("R1", "R5", "R10"):
                    self._writer.add_scalar(f"validation {way} {k}/{level}", scores[k], step)
        for level, way, (query, own, against) in setup.contrast.matchings(outcome.query, outcome.keys, outcome.first):
            vectors, ids = torch.cat([against.keys, against.bank]), torch.cat([against.key_ids, against.bank_ids])
            cosines = query @ vectors.T
            wrong = against.key_ids[own][:, None] != ids
            self._writer.add_histogram(f"similarity/{level} {way} positive", cosines.gather(1, own[:, None]).float(), step)
            self._writer.add_histogram(f"similarity/{level} {way} negative", cosines[wrong].float(), step)
