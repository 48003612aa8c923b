"""Workers that are actors of a Ray cluster: Ray places them, carries what is said, and notices machines that are lost."""

import logging
import math
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any

import ray
from ray import exceptions

import hit
from hit.errors import UserError
from hit.pool.local import environment
from hit.pool.team import ASLEEP, ONE_THREAD, Limits, NodeLostError, Setup, Worker
from hit.pool.worker import serve

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between two looks at which machines there are
REACH = 5.0  # seconds in which a head must answer the first time
LOST = 20.0  # seconds of silence after which the head is taken for lost; Ray itself ends the process after a minute
FETCH = 30.0  # seconds in which what is there must have come: `ray.get` waits for ever for what is on a machine that was cut off
SCARCE = 30.0  # seconds without a free core after which one is told of it
AHEAD = 16  # messages of a worker that wait to be heard
SHARE = 8  # workers that share a GPU at most: each holds the experts, and decodes on a core of its own
STORE = 1 << 29  # bytes of the object store of a Ray of one's own


class Cluster:
    """A Ray: an own one of this machine ("ray"), or one that is there (HOST:PORT)."""

    def __init__(self, where: str, workers: int, gpus: bool) -> None:
        self._name, self._workers, self._gpus, self._lost = f"pool {where}", workers, gpus, False
        if where != "ray":
            _reach(where)
        self._begun = self._checked = time.monotonic()
        self._own = not ray.is_initialized()
        if self._own:
            with _signals():
                connect(where, workers)
        self._path = os.pathsep.join(filter(None, sys.path)) if where == "ray" else ""
        self._watch = _Watch()

    @property
    def room(self) -> int:
        """As many as were asked for, else one per core, or per share of a GPU."""
        cores, gpus = self._watch.cores, self._watch.gpus
        return self._workers or max(1, min(cores, gpus * self._share()) if self._gpus and gpus else cores)

    def _share(self) -> int:
        """Return how many workers share a GPU."""
        gpus = max(1, self._watch.gpus)
        return math.ceil(self._workers / gpus) if self._workers else min(SHARE, max(1, self._watch.cores // gpus))

    def hire(self, setup: Setup, limits: Limits, alone: bool) -> "Actor":
        """Have Ray start an actor where there is room."""
        variables = ONE_THREAD | ({"PYTHONPATH": self._path} if self._path else {})
        share = 1 / self._share() if self._gpus and self._watch.gpus else 0
        handle = _Member.options(  # type: ignore[attr-defined]
            num_cpus=1, num_gpus=share, max_restarts=0, max_task_retries=0, max_concurrency=2, runtime_env={"env_vars": variables}
        ).remote(pickle.dumps(setup), Path.cwd(), limits.output)
        return Actor(handle, limits, alone)

    def wait(self, workers: Sequence["Actor"], seconds: float | None) -> list[Worker]:
        """Return those of whom a message is there, and those whose machines are lost; after POLL seconds at most."""
        self._check(workers)
        for worker in workers:
            worker.lost = worker.lost or worker.node in self._watch.dead
        if lost := [worker for worker in workers if worker.lost]:
            return list(lost)
        talks = {worker.talk: worker for worker in workers}
        ready, _ = ray.wait(list(talks), timeout=POLL if seconds is None else min(POLL, seconds))
        if ready:
            ready, _ = ray.wait(list(talks), num_returns=len(talks), timeout=0)
        return [talks[one] for one in ready]

    def _check(self, workers: Sequence["Actor"]) -> None:
        now = time.monotonic()
        if now > self._checked + POLL + ASLEEP:  # we have been stopped, or our reader took its time
            self._watch.heard = now
        self._checked = now
        if now > self._watch.heard + LOST:
            self._lost = True
            for worker in workers:
                worker.killed = True  # with their head; to ask it for that would take long
            why = f"its head has not answered for {LOST:g} s"
            raise UserError(self._name, why, "see to it, then give the same command: it goes on from what is done")
        if any(worker.placed for worker in workers):
            self._begun = math.inf
        elif now > self._begun + SCARCE:
            self._begun = math.inf
            log.warning("%s: no free core yet, others may be at work there; it begins when there is one", self._name)

    def close(self) -> None:
        """Let go of the Ray, and end one's own."""
        self._watch.stop()
        if self._own:
            _within(FETCH if not self._lost else REACH, ray.shutdown)


class Actor(Worker):
    """A worker's near end."""

    forgiven = 1  # what looks like a crash may have been the first sign of a machine's end

    def __init__(self, handle: Any, limits: Limits, alone: bool) -> None:
        super().__init__(limits, alone)
        self._handle, self._sent, self._end = handle, 0, ""
        self._held: list[bytes] = []
        self.talk = handle.talk.options(num_returns="streaming", _generator_backpressure_num_objects=AHEAD).remote()
        self.placed = self.lost = self.killed = False
        self.node = self.ip = ""

    def send(self, message: bytes) -> None:
        """Call it, once it is known to be initialised: what a worker says just before it dies may be lost."""
        self._held.append(message)
        self._flush()

    def _flush(self) -> None:
        while self.ready and self._held:
            self._handle.hear.remote(self._sent, self._held.pop(0))  # numbered: calls may overtake each other
            self._sent += 1

    def take(self) -> tuple[bytes, int, Any]:
        """As any worker; but before it is initialised it says where and what it is."""
        if self.placed or self.late:
            said = super().take()
            self._flush()
            return said
        hello = self.receive(math.inf)
        assert hello is not None, "a greeting is short"
        self.node, self.ip, version = pickle.loads(hello)  # noqa: S301 from our own worker
        if version != hit.__version__:
            why = f"it has hit-video {version}, and this machine {hit.__version__}"
            raise UserError(f"node {self.ip}", why, "install the same version on all machines of the cluster")
        self.placed = True
        return b"", -1, None

    def receive(self, most: float) -> bytes | None:
        """Fetch its next message."""
        if self.lost:
            raise NodeLostError(f"the machine {self.ip} was lost with {self.items()}")
        try:
            message: bytes = ray.get(next(self.talk), timeout=FETCH)
        except StopIteration:
            raise EOFError from None
        except (exceptions.ActorUnavailableError, exceptions.ObjectLostError, exceptions.GetTimeoutError) as error:
            raise NodeLostError(f"the machine {self.ip} could not be reached: {line(error)}") from None
        except (exceptions.RayActorError, exceptions.OutOfMemoryError) as error:
            self._end = str(error)
            if "its node has died" in self._end:
                raise NodeLostError(f"the machine {self.ip} was lost with {self.items()}") from None
            if not self.placed and (missing := re.search(r"No module named '?([\w.]+)", self._end)):
                why = f"has a machine without the package {missing[1]}"
                raise UserError("the cluster", why, "install the same packages on all machines of it") from None
            raise EOFError from None
        return message or None  # empty: it was too long to be sent

    def epitaph(self) -> str:
        """Return what Ray says of its end."""
        found = re.search(r"Worker exit detail: (.+?)(?: Some common causes| [A-Z]\w+: |$)", self._end, re.DOTALL)
        return f"on {self.ip or 'no machine yet'}: {found[1] if found else line(self._end) or 'it ended by itself'}"

    def leave(self) -> None:
        """Make room for others: what it has said is heard."""
        self.kill()

    def dismiss(self) -> None:
        """Do nothing: it is gone."""

    def kill(self) -> None:
        """Have Ray kill it."""
        if not self.killed:
            self.killed = True
            _within(REACH, lambda: ray.kill(self._handle))


class _Watch:
    """A thread that looks which machines there are."""

    def __init__(self) -> None:
        self.dead: set[str] = set()  # nodes
        self.cores = self.gpus = 0
        self._end = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(POLL)

    def _follow(self) -> None:
        while not self._end.wait(POLL):
            with suppress(Exception):  # the head's silence is what counts, however Ray puts it
                self._look()

    def _look(self) -> None:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        living = [node["Resources"] for node in nodes if node["Alive"]]
        self.dead = {node["NodeID"] for node in nodes if not node["Alive"]}
        self.cores, self.gpus = (int(sum(one.get(kind, 0) for one in living)) for kind in ("CPU", "GPU"))
        self.heard = time.monotonic()


# -- connecting


def connect(where: str, workers: int = 0) -> None:
    """Begin a Ray, or become a part of one. Raises UserError where it cannot be."""
    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    with environment({"RAY_USAGE_STATS_ENABLED": "0"}):
        if where == "ray":
            cores = workers or os.cpu_count()
            ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=STORE, **quiet)
        else:
            try:
                ray.init(":".join(_address(where)), **quiet)
            except (RuntimeError, ConnectionError, ValueError, exceptions.RayError) as error:
                raise _problem(where, error) from error
    # Ray prints what it notices to standard output, where our JSON is.
    ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: log.debug("%s", " ".join(data["lines"]))


def _address(where: str) -> tuple[str, str]:
    """Return a cluster's host and port."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"pool {where}", "is no pool", "say local, ray or HOST:PORT of a Ray cluster's head")
    return host, port


def _reach(where: str) -> None:
    host, port = _address(where)
    try:
        socket.create_connection((host, int(port)), REACH).close()
    except (OSError, ValueError, OverflowError) as error:  # ValueError: no name of a host; OverflowError: no port
        why = f"nothing answers there within {REACH:g} s: {getattr(error, 'strerror', None) or error}"
        raise UserError(f"pool {where}", why, f"start it with `ray start --head --port={port}`, or name another") from None


def _problem(where: str, error: Exception) -> UserError:
    said = f"{error} {error.__cause__ or ''}"
    if "ersion mismatch" in said:
        found = re.findall(r"Ray: ([\w.]+)\s+Python: ([\w.]+)", said)
        versions = " and ".join(f"Ray {one} on Python {two}" for one, two in found) or line(said)
        return UserError(f"pool {where}", f"its versions are not those here: {versions}", "install the same on all machines")
    if "Authentication" in said or "AuthToken" in said:
        return UserError(f"pool {where}", "asks for a token", "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's")
    fix = f"give the command on a machine of it, or make this one such: `ray start --address={':'.join(_address(where))}`"
    return UserError(f"pool {where}", f"cannot be joined from here: {line(error)}", fix)


@contextmanager
def _signals() -> Iterator[None]:
    """Have Ray leave our signals as they are."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)


def line(error: object) -> str:
    """Return what an error says, as one line that is not long."""
    return " ".join(str(error).split())[:200]


def _within(seconds: float, action: Any) -> None:
    """Do something that would wait for ever where the cluster is gone."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)


# -- in the worker


def _ip() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


@ray.remote
class _Member:
    """A worker's far end."""

    def __init__(self, setup: bytes, folder: Path, most: float) -> None:
        self._setup, self._line = setup, _Line(most)
        with suppress(OSError):  # a machine that has no such folder has what is named in full
            os.chdir(folder)

    def talk(self) -> Iterator[bytes]:
        """Say all there is to be said: pickled who and where this is, then messages, see `hit.pool.worker`."""
        yield pickle.dumps((ray.get_runtime_context().get_node_id(), _ip(), hit.__version__))
        threading.Thread(target=self._serve, daemon=True).start()
        while (message := self._line.said.get()) is not None:
            yield message

    def hear(self, number: int, message: bytes) -> None:
        """Take what is said to this worker."""
        self._line.hear(number, message)

    def _serve(self) -> None:
        try:
            serve(self._line, lambda: pickle.loads(self._setup))  # noqa: S301 from our own driver
        finally:
            self._line.said.put(None)


class _Line:
    """What a worker hears and speaks through. Who speaks waits until he is heard."""

    def __init__(self, most: float) -> None:
        self.said: Queue[bytes | None] = Queue(AHEAD)
        self._most = most
        self._heard: dict[int, bytes] = {}
        self._next = 0
        self._change = threading.Condition()

    def hear(self, number: int, message: bytes) -> None:
        with self._change:
            self._heard[number] = message
            self._change.notify_all()

    def recv_bytes(self) -> bytes:
        with self._change:
            self._change.wait_for(lambda: self._next in self._heard)
            self._next += 1
            return self._heard.pop(self._next - 1)

    def send_bytes(self, message: bytes) -> None:
        self.said.put(message if len(message) <= self._most + 64 else b"")
