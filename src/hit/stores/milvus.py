"""Vectors in Milvus: embedded (`milvus+lite:PATH`, for tests and one process), a server or a cluster (`http(s)://host:port/database`).

Milvus finds the candidates, with some to spare; they are scored and put in order here, from their vectors, so that every store
gives the same answers. Reads are `Bounded`: they do not wait for the servers' clocks, which cost 200 ms a query when measured.
In exchange a write ends with one `Strong` read, after which its change is seen by everybody who asks that server.

A write is durable when Milvus acknowledges it: it is in its log then. Of FLAT a flush would make nothing but many small segments,
and servers ration it. Other indexes it is that has them built: until then a server looks for new rows by a coarse index of its
own, which found 54 % of 50,000 rows, and 27 % under a filter. Milvus Lite is told to flush after each write: it searches 20,000
rows in 70 ms then, and in 1,400 ms before.

A library has one collection for each width of its vectors, and in it a partition for each revision of a model and generation of
its array: to go over to another model makes and drops partitions, and never a collection. The same key in another partition is
another vector; not so for Milvus Lite, which has a collection for each instead.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hit.arrays import among, products
from hit.errors import AwayError, UserError
from hit.stores import given, lite, milvus_address
from hit.stores.milvus_address import TOKEN, Address
from hit.types import Floats, Keys, Progress

_CONNECT = 10.0  # seconds to find a server
_CALL = 120.0  # seconds for an answer
_BYTES = 1 << 24  # vectors in one message: a quarter of what a server takes
_ROWS = 16384  # results that a server gives for a query at most
_IDS = 20_000  # keys named in one filter
_EASY, _WIDE = 2000, 400  # keys whose naming costs no more than the search (10,000 take four times as much), and results
_SPARE = 16  # candidates beyond twice the limit
_MANY = 1024  # new rows that are worth a flush
_TRIES = 3
_AWAY = "cannot be reached, or does not answer", "see that the server runs there"
_NOT_LOADED = (101, 201)  # Milvus' codes for it: of a collection, of a partition


class Milvus:
    """Vectors of width `dim` in a partition of a collection, made where they are missing, or in all of one. Keys are below 2**63.

    Raises UserError for an address that is none, a server that does not answer or let one in, or a collection of another shape.
    """

    def __init__(self, where: str, dim: int, collection: str, partition: str = "") -> None:
        address = milvus_address.parse(where)
        self.where, self.dim, self.collection, self.partition = where, dim, collection, partition
        self._effort = address.effort
        self._most = {"nprobe": address.build.get("nlist", 1), "ef": _ROWS}  # more would find nothing more, or is refused
        self._new = 0  # rows written since the last flush
        self._turn = threading.Lock()  # Milvus Lite loses its count of writes that come at once
        self._window = max(1, min(_ROWS, _BYTES // (4 * dim)))  # results of one query in one message
        uri = lite.open(address.path) if address.path else address.uri
        self._embedded = address.path
        try:
            with self._told():
                self._client = _connect(uri, address.database)
                self._lite = self._client.get_server_version(timeout=_CALL).startswith("milvus_lite")
                self._built = address.index != "FLAT" and not self._lite
                if self._lite and partition:
                    self.collection, self.partition = f"{collection}_{partition}", ""
                self._prepare(address)
        except BaseException:
            self.close()
            raise

    def put(self, keys: Keys, vectors: Floats) -> None:
        """Write vectors (N, dim) under keys (N,); a key that exists is replaced. Durable on return.

        Raises ValueError for vectors that are not finite and keys that are negative or not distinct, UserError for another width.
        """
        vectors = given.vectors(self.where, self.dim, vectors)
        keys = given.keys(keys, len(vectors))
        with self._turn, self._told():
            for start in range(0, len(keys), self._window):
                some = slice(start, start + self._window)
                rows = [{"id": key, "vector": row} for key, row in zip(keys[some].tolist(), vectors[some], strict=True)]
                self._ask("upsert", rows, **self._where)
            if len(keys):
                if self._lite:
                    self._ask("flush")
                self._count()  # a strong read: see above
                self._new += len(keys)

    def build(self, progress: Progress | None = None) -> None:
        """Have what was written sealed, and so its index built; a server that rations that is waited for."""
        if self._built:
            with self._turn, self._told():
                self._ask("flush")
                self._new = 0

    def due(self) -> bool:
        """Tell whether so much was written that `build` is worth it."""
        return self._built and self._new >= _MANY

    def search(self, queries: Floats, limit: int, allowed: Keys | None = None) -> list[tuple[Keys, Floats]]:
        """Return for each query (Q, dim) the `limit` best (keys, scores), best first, among `allowed` keys if given.

        Equal scores come in the order of their keys (unless thousands tie). Raises ValueError for a limit below 1 or queries that
        are not finite, UserError where Milvus gives fewer results than there are.
        """
        queries = given.vectors(self.where, self.dim, queries)
        given.limit(limit)
        chosen = None if allowed is None else np.unique(np.asarray(allowed, np.int64))
        if not len(queries) or (chosen is not None and not len(chosen)):
            return given.nothing(queries)
        with self._told():
            if chosen is not None and len(chosen) > _EASY and (found := self._sift(queries, limit, chosen)):
                return found
            if limit > self._window // 2 and chosen is None:
                chosen = self.keys()  # more than one message can hold: piece by piece
            size = _IDS if limit <= self._window // 2 else self._window
            pieces = [None] if chosen is None else [chosen[i : i + size] for i in range(0, len(chosen), size)]
            found = given.nothing(queries)
            for piece in pieces:
                parts = self._best(queries, limit, piece)
                found = [
                    given.best(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]), limit)
                    for a, b in zip(found, parts, strict=True)
                ]
            return found

    def delete(self, keys: Keys) -> int:
        """Remove keys, at once and durably; return how many there were."""
        keys, found = np.unique(np.asarray(keys, np.int64)), 0
        with self._turn, self._told():
            for start in range(0, len(keys), _ROWS):
                some = keys[start : start + _ROWS].tolist()
                rows = self._ask("query", ids=some, output_fields=["id"], **self._strong)
                there = [row["id"] for row in rows]
                if there:
                    self._ask("delete", ids=there, **self._where)
                found += len(there)
            if found:
                self._count()  # a strong read: see above
        return found

    def count(self) -> int:
        """Return the number of vectors."""
        with self._told():
            return self._count()

    def keys(self) -> Keys:
        """Return all keys, ascending."""
        found: list[int] = []
        with self._told():
            pages = self._ask("query_iterator", batch_size=_ROWS, output_fields=["id"], **self._strong)
            with contextlib.closing(pages):
                while page := pages.next():
                    found += [row["id"] for row in page]
        return np.unique(np.array(found, np.int64))

    def close(self) -> None:
        """Let go of the connection."""
        if hasattr(self, "_client"):
            self._client.close()
            del self._client
        if self._embedded:
            lite.release(self._embedded)
            self._embedded = None

    def drop(self) -> None:
        """Do away with the partition, or the collection, and let go of the connection. Raises UserError where it stays loaded."""
        with contextlib.closing(self), self._told():
            if self.partition:
                self._drop()
            else:
                self._client.drop_collection(self.collection, timeout=_CALL)

    def _drop(self) -> None:
        from pymilvus import MilvusException

        for _ in range(_TRIES):
            self._client.release_partitions(self.collection, [self.partition], timeout=_CALL)
            try:
                self._client.drop_partition(self.collection, self.partition, timeout=_CALL)
                return
            except MilvusException as error:  # a search of another machine has had it loaded again meanwhile
                if "loaded" not in str(error):
                    raise
        raise UserError(self.where, f"its partition {self.partition} is in use, and stays", f"drop it from {self.collection}")

    def _prepare(self, address: Address) -> None:
        """Make the collection, or see that it is what we would make, and the partition."""
        from pymilvus import DataType

        client, name, part = self._client, self.collection, self.partition

        def make() -> None:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
            index = client.prepare_index_params()
            index.add_index("vector", index_type=address.index, metric_type="IP", params=dict(address.build))
            client.create_collection(name, schema=schema, index_params=index, timeout=_CALL)

        _once(lambda: client.has_collection(name, timeout=_CALL), make)
        fields = {f["name"]: f for f in client.describe_collection(name, timeout=_CALL)["fields"]}
        if set(fields) != {"id", "vector"}:
            raise UserError(self.where, f"its collection {name} is not one of this program's", "name another database")
        if (dim := int(fields["vector"]["params"]["dim"])) != self.dim:
            raise UserError(
                self.where, f"its collection {name} holds vectors of width {dim}, not {self.dim}", "name another database"
            )
        kind = client.describe_index(name, "vector", timeout=_CALL)["index_type"]
        if kind != address.index:
            raise UserError(self.where, f"its collection {name} has the index {kind}", f"say ?index={kind}, or drop it")
        if part:
            _once(
                lambda: client.has_partition(name, part, timeout=_CALL),
                lambda: client.create_partition(name, part, timeout=_CALL),
            )
        self._load()

    def _load(self) -> None:
        if self.partition:
            self._client.load_partitions(self.collection, [self.partition], timeout=_CALL)
        else:
            self._client.load_collection(self.collection, timeout=_CALL)

    def _ask(self, method: str, *words: Any, **options: Any) -> Any:
        """Call a method of the client on the collection. Where the server was started anew, the partition is loaded anew."""
        from pymilvus import MilvusException

        try:
            return getattr(self._client, method)(self.collection, *words, timeout=_CALL, **options)
        except MilvusException as error:
            if error.code not in _NOT_LOADED:
                raise
        self._load()
        return getattr(self._client, method)(self.collection, *words, timeout=_CALL, **options)

    def _count(self, ids: Keys | None = None) -> int:
        return int(self._ask("query", _within(ids), output_fields=["count(*)"], **self._strong)[0]["count(*)"])

    @property
    def _where(self) -> dict[str, Any]:
        """What has a write be one to the partition."""
        return {"partition_name": self.partition} if self.partition else {}

    @property
    def _strong(self) -> dict[str, Any]:
        """What has a read be one of the partition, and see all that was written before."""
        return {"consistency_level": "Strong", **({"partition_names": [self.partition]} if self.partition else {})}

    def _sift(self, queries: Floats, limit: int, chosen: Keys) -> list[tuple[Keys, Floats]] | None:
        """Answer under a filter that keeps much from what an unfiltered search finds, if that is enough for every query."""
        rows = int(chosen[-1]) + 1  # keys number the rows of an array: about how many there are
        wide = 2 * limit * rows // len(chosen) + _SPARE
        if wide > (self._window // 2 if len(chosen) > _IDS else _WIDE):
            return None
        found = []
        for keys, scores in self._best(queries, wide, None):
            kept = among(keys, chosen)
            found.append((keys[kept][:limit], scores[kept][:limit]))
        return found if all(len(keys) == limit for keys, _ in found) else None

    def _best(self, queries: Floats, limit: int, ids: Keys | None) -> list[tuple[Keys, Floats]]:
        """Return the `limit` best of `ids` (at most a message's fill), or of all (and at most half a message's fill)."""
        most = self._window if ids is None else min(self._window, len(ids))
        size = min(2 * limit + _SPARE, most)
        answers: dict[int, tuple[Keys, Floats]] = {}
        while len(answers) < len(queries):
            still = [q for q in range(len(queries)) if q not in answers]
            batch = max(1, _BYTES // (4 * self.dim * size))
            for start in range(0, len(still), batch):
                some = still[start : start + batch]
                for q, (keys, reported, vectors) in zip(some, self._fetch(queries[some], limit, size, ids), strict=True):
                    scores = products(vectors, queries[q])
                    norms = np.linalg.norm(queries[q]) * np.linalg.norm(vectors, axis=1).max(initial=0)
                    worst = reported.min(initial=np.inf) + 2 * np.finfo(np.float32).eps * self.dim * norms
                    best = given.best(keys, scores, limit)
                    # Nothing that was not fetched scores above `worst`: it could only tie with the last, or not even that.
                    if len(keys) < size or size == most or best[1][-1] > worst:
                        answers[q] = best
            size = min(4 * size, most)
        return [answers[q] for q in range(len(queries))]

    def _fetch(self, queries: Floats, limit: int, size: int, ids: Keys | None) -> list[tuple[Keys, Floats, Floats]]:
        """Return for each query up to `size` (keys, Milvus' scores, vectors); `limit` at least, if there are as many."""
        wanted = min(limit, size)
        for level in ("Bounded", *["Strong"] * _TRIES):
            effort = self._effort_for(size, ids) if level == "Bounded" else {name: self._most[name] for name in self._effort}
            options = {**self._strong, "search_params": {"metric_type": "IP", "params": effort}, "consistency_level": level}
            hits = self._ask("search", queries, _within(ids), limit=size, output_fields=["vector"], **options)
            found = [_unpack(some, self.dim) for some in hits]
            least = min(len(keys) for keys, _, _ in found)
            if least >= wanted:
                return found
            if level == "Strong" and least >= (there := min(wanted, self._count(ids))):
                return found
        raise UserError(
            self.where, f"Milvus gave {least} results where there are {there}", "make it search more, or use index=FLAT"
        )

    def _effort_for(self, size: int, ids: Keys | None) -> dict[str, int]:
        """Return how much of the index is to be looked at: under a filter as much more of it as the filter leaves out.

        Otherwise what remains would be looked for among a few of the lists, or of the neighbours, and not be found.
        """
        share = 1.0 if ids is None else len(ids) / (int(ids[-1]) + 1)  # keys number the rows of an array, more or less
        least = {"nprobe": 1, "ef": size}
        return {name: max(least[name], min(self._most[name], round(value / share))) for name, value in self._effort.items()}

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what a user can mend into one line. Everything else is raised as it is."""
        import grpc
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            if not (complaint := _complaint(error)):
                raise
            raise (AwayError if complaint == _AWAY else UserError)(self.where, *complaint) from None


def _once(there: Callable[[], bool], make: Callable[[], None]) -> None:
    """Make what is not there; another process may be quicker."""
    from pymilvus import MilvusException

    if not there():
        try:
            make()
        except MilvusException:
            if not there():
                raise


def server(where: str) -> str:
    """Return the version of the Milvus at an address, where nothing is made. Raises UserError as `Milvus` does."""
    import grpc
    from pymilvus import MilvusException

    address = milvus_address.parse(where)
    if address.path:
        return "milvus_lite"
    try:
        with contextlib.closing(_connect(address.uri, address.database)) as client:
            return str(client.get_server_version(timeout=_CONNECT))
    except (MilvusException, grpc.RpcError) as error:
        raise UserError(where, *(_complaint(error) or (" ".join(str(error).split()), ""))) from None


def _connect(uri: str, database: str) -> Any:
    from pymilvus import MilvusClient

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what goes wrong is raised as well
    # Of its own: channels that share one remember that a server was away, and do not look for a while whether it is back.
    options = {"grpc.use_local_subchannel_pool": 1}
    token = os.environ.get(TOKEN, "")
    client = MilvusClient(uri, token=token, db_name=database, timeout=_CONNECT, dedicated=True, grpc_options=options)
    if database and database not in client.list_databases(timeout=_CALL):
        client.close()
        raise UserError(uri, f"has no database '{database}'", "create it, or name another")
    return client


def _complaint(error: BaseException) -> tuple[str, str] | None:
    """Return why the server and we do not come together, and what to do; None where that is not the reason."""
    import grpc
    from pymilvus import MilvusException
    from pymilvus.client.types import Status
    from pymilvus.exceptions import ErrorCode

    chain: list[BaseException] = []  # pymilvus raises errors from others, and some from themselves
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error
    codes = [e.code() if isinstance(e, grpc.RpcError) else getattr(e, "code", None) for e in chain]
    text = " ".join(str(getattr(chain[0], "message", chain[0])).split())
    said = grpc.StatusCode
    if {said.UNAUTHENTICATED, said.PERMISSION_DENIED} & {*codes} or "auth check failure" in text:
        return "does not let us in", f"set {TOKEN}, as in user:password"
    if said.UNIMPLEMENTED in codes:
        return "is no Milvus server, or one too old", "give the port of its gRPC service, mostly 19530"
    if {Status.CONNECT_FAILED, said.UNAVAILABLE, said.DEADLINE_EXCEEDED} & {*codes} or "Retry timeout" in text:
        return _AWAY
    if isinstance(chain[0], MilvusException) and codes[0] in (ErrorCode.RATE_LIMIT, ErrorCode.FORCE_DENY):
        return f"takes no more: {text}", "wait, or give it more room"
    return None


def _within(ids: Keys | None) -> str:
    return "" if ids is None else f"id in {ids.tolist()}"


def _unpack(hits: Any, dim: int) -> tuple[Keys, Floats, Floats]:
    """Return keys (n,), scores (n,) and vectors (n, dim) of one query's results, each key once."""
    keys, first = np.unique(np.array([hit["id"] for hit in hits], np.int64), return_index=True)
    scores = np.array([hit["distance"] for hit in hits], np.float32)[first]
    vectors = np.array([hit["entity"]["vector"] for hit in hits], np.float32).reshape(-1, dim)[first]
    return keys, scores, vectors
