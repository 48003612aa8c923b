"""Workers for work on many files: results as they come, and a worker that dies or hangs costs its own item only.

Workers are processes of this machine, or actors of a Ray cluster: what is asked of them, and what comes of it, is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from hit.errors import UserError
from hit.pool.local import Processes
from hit.pool.team import Beat, Limits, NodeLostError, Place, Team, WorkerLostError
from hit.pool.worker import beat, one_by_one, portable

__all__ = ["Beat", "Limits", "NodeLostError", "WorkerLostError", "beat", "portable", "run", "stream"]

LOCAL = ("", "local")

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
    limits: Limits | None = None,
    where: str = "",
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, its result or the exception it ended in) in the order of completion.

    `workers` processes (0: as many as there are cores) are spawned as items come, and each has one item at a time, so
    that `items` may be endless. `initializer(*initargs)` runs once in each; what it raises is raised here. Function and
    items must pickle. Closing the generator, or Ctrl-C, kills the workers at once. `where` is as in `stream`.
    """
    for item, part in stream(partial(one_by_one, function), items, workers, initializer, initargs, limits, where):
        if isinstance(part, Exception):
            yield item, part
        elif part is not None:
            yield item, part[0]


def stream(
    function: Callable[[Iterator[Item]], Iterator[tuple[int, Any]]],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
    limits: Limits | None = None,
    where: str = "",
    *,
    gpus: bool = False,
) -> Iterator[tuple[Item, Any]]:
    """Yield (item, part) as parts come, in other things as `run`.

    Each worker calls `function` once with an iterator over items, from which it may draw as many as it likes to have at once,
    in any of its threads. It yields (which item in the order in which it drew them, part), and as the last part of each item
    None. Where a worker dies or breaks a limit it is replaced; the items that it had at once are given to others again, each
    alone, and what was said of them is said again. An item that was alone ends in an exception.

    `where` names who works: "local" or nothing for processes of this machine, "ray" for a Ray of this machine that ends with
    the work, HOST:PORT for a Ray cluster, of which this machine is a node; with `gpus`, each worker gets its share of one
    there. A machine that is lost costs none of its items an attempt. Raises UserError where there is no such cluster, and
    where it is lost with its head.
    """
    limits = limits or Limits()
    with closing(_place(where, workers, gpus)) as place:
        team: Team[Item] = Team(place, (function, initializer, tuple(initargs), limits.memory), limits, items)
        try:
            while True:
                yield from team.gather()
                if not team.workers:
                    break
                for worker in team.ready():
                    yield from team.hear(worker)
            team.dismiss()
        finally:
            team.kill()


def _place(where: str, workers: int, gpus: bool) -> Place:
    if where in LOCAL:
        return Processes(workers)
    try:
        from hit.pool.ray import Cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError(f"pool {where}", "Ray is not installed", "pip install 'hit-video[ray]'") from None
    return Cluster(where, workers, gpus)
