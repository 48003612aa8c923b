"""Milvus as a store: the answers of a plain loop, embedded and from a server, and what is said when a server fails."""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hit import deployment, service, stores
from hit.errors import AwayError, UserError
from hit.library import Library
from hit.stores.milvus import Milvus
from hit.stores.milvus_address import TOKEN
from hit.types import Builds, Floats, Store
from hit.upkeep import prune, shelves
from hit.upkeep.verify import verify
from library_helpers import dump
from milvus_server import Real, Server, on_host, running
from netns import hosts
from s3 import S3, moto, s3
from serve_toy import until
from test_stores import keys, random_vectors
from test_stores import oracle as plain
from toy import PLUGIN, ToyEncoder, render
from upkeep_helpers import add
from upkeep_helpers import vectors as upkeep_vectors

DIM = 3
__all__ = ["moto", "s3"]  # fixtures
names = (f"test_{os.getpid()}_{i}" for i in itertools.count())


@pytest.fixture(params=["milvus_lite", "milvus_server"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    opened = stores.open(where, DIM, f"tests/{next(names)}")  # a partition is there sooner than a collection
    yield opened
    opened.close()


def vectors(n: int, dim: int = DIM, seed: int = 0) -> Floats:
    return random_vectors(n, dim, seed)


def oracle(content: dict[int, Floats], query: Floats, limit: int, allowed: list[int] | None = None) -> list[tuple[int, float]]:
    return plain(content, query, limit, None if allowed is None else keys(*allowed))


def search(store: Store, query: Floats, limit: int, allowed: list[int] | None = None) -> list[tuple[int, float]]:
    ((keys, scores),) = store.search(query[None], limit, None if allowed is None else np.array(allowed, np.int64))
    assert keys.dtype == np.int64 and scores.dtype == np.float32
    return list(zip(keys.tolist(), scores.tolist(), strict=True))


# -- answers: the contract of every store is in test_stores.py


def test_ties_come_in_the_order_of_keys(store: Store) -> None:
    order = np.random.default_rng(0).permutation(300)
    store.put(order, np.tile(vectors(1), (300, 1)))  # more than are fetched at first
    assert [key for key, _ in search(store, vectors(1)[0], 5)] == [0, 1, 2, 3, 4]
    assert [key for key, _ in search(store, vectors(1)[0], 5, list(range(7, 290)))] == [7, 8, 9, 10, 11]


def test_nearly_equal_rows_are_ranked_by_exact_sums(store: Store) -> None:
    rows = (vectors(1) + 1e-7 * vectors(200)).astype(np.float32)
    store.put(np.arange(200), rows)
    query = vectors(1, seed=1)[0]
    exact = (rows.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    best = np.lexsort((np.arange(200), -exact))[:9]
    assert search(store, query, 9) == list(zip(best.tolist(), exact[best].tolist(), strict=True))


def test_put_replaces_and_delete_is_seen_at_once_by_everybody(store: Store, where: str) -> None:
    assert isinstance(store, Milvus)
    other = Milvus(where, DIM, store.collection, store.partition)
    eye = np.eye(3, dtype=np.float32)
    store.put(keys(1, 2**62), eye[1:])
    store.put(keys(1), 5 * eye[:1])
    for reader in (store, other):
        assert search(reader, eye[0], 9) == [(1, 5.0), (2**62, 0.0)]
    assert (store.delete(keys(1, 1, 77)), store.count(), store.delete(keys())) == (1, 1, 0)
    for reader in (store, other):
        assert search(reader, eye[0], 9) == [(2**62, 0.0)]
        assert reader.keys().tolist() == [2**62]
    store.put(keys(1), eye[:1])
    assert other.count() == 2
    other.close()


small = st.tuples(*[st.integers(-2, 2)] * DIM)  # small integers: many exact ties


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.tuples(st.dictionaries(st.integers(0, 30), small, max_size=12), st.sets(st.integers(0, 30))), max_size=4),
    query=small,
    limit=st.integers(1, 12),
    allowed=st.none() | st.lists(st.integers(0, 40)),
)
def test_any_history_of_writes_gives_the_answers_of_a_dict(
    store: Store,
    rounds: list[tuple[dict[int, tuple[int, ...]], set[int]]],
    query: tuple[int, ...],
    limit: int,
    allowed: list[int] | None,
) -> None:
    store.delete(store.keys())
    content: dict[int, Floats] = {}
    for written, dropped in rounds:
        store.put(keys(*written), np.array(list(written.values()), np.float32).reshape(-1, DIM))
        content |= {key: np.array(row, np.float32) for key, row in written.items()}
        assert store.delete(keys(*dropped)) == len(dropped & {*content})
        content = {key: row for key, row in content.items() if key not in dropped}
    assert store.keys().tolist() == sorted(content)
    assert search(store, np.array(query, np.float32), limit, allowed) == oracle(content, np.array(query), limit, allowed)


# -- limits of a message


def watch(store: Milvus, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Return a list to which every search of the client will add its limit and its filter."""
    calls: list[tuple[int, str]] = []
    real = store._client.search

    def search(name: str, queries: Floats, within: str, **options: Any) -> Any:
        calls.append((options["limit"], within))
        return real(name, queries, within, **options)

    monkeypatch.setattr(store._client, "search", search)
    return calls


def test_pieces_join_without_a_seam(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.milvus._IDS", 40)
    monkeypatch.setattr("hit.stores.milvus._EASY", 40)
    monkeypatch.setattr("hit.stores.milvus._BYTES", 4 * DIM * 60)  # one query with 60 results in a message
    assert isinstance(store, Milvus)
    monkeypatch.setattr(store, "_window", 60)
    rows, queries = vectors(200), vectors(2, seed=1)
    content = dict(enumerate(rows))
    store.put(np.arange(200), rows)
    calls = watch(store, monkeypatch)
    every = list(range(200))
    for limit, allowed in [(50, None), (500, None), (3, every[::2]), (50, every[::2]), (3, every), (29, every[10:95])]:
        for query in queries:
            assert search(store, query, limit, allowed) == oracle(content, query, limit, allowed)
    assert max(limit for limit, _ in calls) <= 60


def test_a_filter_that_keeps_much_takes_one_message(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.milvus._EASY", 10)
    assert isinstance(store, Milvus)
    rows, query = vectors(200), vectors(1, seed=1)[0]
    store.put(np.arange(200), rows)
    calls = watch(store, monkeypatch)
    best = oracle(dict(enumerate(rows)), query, 200)
    half = [key for key, _ in best][::2]
    assert search(store, query, 5, half) == best[::2][:5]
    assert [text for _, text in calls] == [""]
    worst = [key for key, _ in best][-60:]  # nothing of it is among what an unfiltered search gives
    assert search(store, query, 5, worst) == best[-60:-55]
    assert [bool(text) for _, text in calls] == [False, False, True]


def test_fewer_results_than_there_are_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an index that loses results under a filter gives them, or a server that lags behind."""
    assert isinstance(store, Milvus)
    store.put(np.arange(20), vectors(20))
    real, levels = store._client.search, []

    def lossy(*words: Any, consistency_level: str, **options: Any) -> Any:
        levels.append(consistency_level)
        found = real(*words, consistency_level=consistency_level, **options)
        return [list(hits)[:4] for hits in found] if consistency_level in lose else found

    monkeypatch.setattr(store._client, "search", lossy)
    lose = {"Bounded"}  # too few, and then all of them
    assert [key for key, _ in search(store, vectors(1)[0], 5, list(range(10)))] and levels == ["Bounded", "Strong"]
    lose |= {"Strong"}
    with pytest.raises(UserError, match="gave 4 results where there are 5"):
        search(store, vectors(1)[0], 5, list(range(10)))
    assert len(search(store, vectors(1)[0], 5, [1, 2, 3, 4, 99])) == 4  # no more than these exist


# -- collections and addresses


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    where = f"milvus+lite:{tmp_path / 'lite'}"
    for reader in range(2):
        store, again = stores.open(where, DIM), stores.open(where, DIM)
        if not reader:
            store.put(np.arange(5), vectors(5))
        assert again.count() == 5
        store.close()
        store.close()  # twice does no harm
        assert search(again, vectors(1)[0], 1) == oracle(dict(enumerate(vectors(5))), vectors(1)[0], 1)
        again.close()


def test_a_collection_of_another_shape_is_refused(where: str) -> None:
    name = next(names)
    stores.open(where, DIM, name).close()
    with pytest.raises(UserError, match="width 3, not 4"):
        stores.open(where, 4, name)
    if where.startswith("http"):
        with pytest.raises(UserError, match="has the index FLAT"):
            Milvus(f"{where}?index=IVF_FLAT", DIM, f"hit_{name}")
        stores.open(f"{where}?index=IVF_FLAT", DIM, name).close()  # which has a collection of its own


def test_partitions_are_kept_apart(where: str) -> None:
    name = next(names)
    eye = np.eye(3, dtype=np.float32)
    one, two = (stores.open(where, DIM, f"{name}/{revision}") for revision in ("a_0", "a_1"))
    one.put(keys(1, 2), eye[:2])
    two.put(keys(1), eye[2:])
    assert (one.count(), two.count(), one.keys().tolist(), two.keys().tolist()) == (2, 1, [1, 2], [1])
    two.put(keys(1), eye[:1])  # neither writing nor removing takes anything from the other one
    assert search(one, eye[0], 5, [1, 2, 3]) == [(1, 1.0), (2, 0.0)] and search(two, eye[0], 5) == [(1, 1.0)]
    assert (two.delete(keys(1, 2)), one.count()) == (1, 2)
    two.put(keys(5), eye[:1])
    assert isinstance(two, Milvus)
    two.drop()
    again = stores.open(where, DIM, f"{name}/a_1")
    assert (one.count(), again.count()) == (2, 0)
    one.close()
    again.close()


@pytest.mark.parametrize("times", [1, 99])
def test_a_partition_that_is_loaded_again_meanwhile_is_dropped_or_named(
    milvus_server: str, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    one = Milvus(milvus_server, DIM, f"hit_{next(names)}", "of_a_0")
    if not one.partition:
        pytest.skip("Milvus Lite has no partitions")
    again, release = [None] * times, one._client.release_partitions

    def released(*words: Any, **options: Any) -> None:
        release(*words, **options)
        if again:  # a search of another machine
            again.pop()
            one._client.load_partitions(*words, **options)

    client = one._client
    monkeypatch.setattr(client, "release_partitions", released)
    if times == 1:
        one.drop()
    else:
        with pytest.raises(UserError, match="of_a_0 is in use"):
            one.drop()
    assert not hasattr(one, "_client")


def test_two_names_are_two_stores(where: str) -> None:
    one, two = stores.open(where, DIM, next(names)), stores.open(where, DIM + 1, next(names))
    one.put(keys(1), vectors(1))
    assert (one.count(), two.count()) == (1, 0)
    one.close()
    two.close()


def test_an_index_that_is_asked_for_is_built(milvus_server: str) -> None:
    store = stores.open(f"{milvus_server}?index=HNSW&ef=64", DIM, next(names))
    assert isinstance(store, Milvus)
    store.put(np.arange(50), vectors(50))
    assert len(search(store, vectors(1)[0], 40)) == 40  # more than ef
    assert store._client.describe_index(store.collection, "vector")["index_type"] == "HNSW"
    store.close()


def test_an_index_is_built_of_what_was_written(milvus_server: str) -> None:
    """Until then Milvus looks for new rows by a coarse index of its own: 54 % of the best were found among 50,000."""
    for index, built in (("FLAT", False), ("IVF_FLAT", True)):
        store = stores.open(f"{milvus_server}?index={index}", DIM, f"built/{next(names)}")
        assert isinstance(store, Milvus) and isinstance(store, Builds)
        store.put(np.arange(1000), vectors(1000))
        assert not store.due()
        store.put(np.arange(1000, 1100), vectors(100))
        assert store.due() is built
        store.build()
        assert not store.due() and store.count() == 1100
        about = store._client.describe_index(store.collection, "vector")
        assert (about["total_rows"] >= 1100) is built  # sealed
        store.close()


def test_a_narrow_filter_has_more_of_an_index_looked_at(milvus_server: str) -> None:
    """Of 64 lists of which 2 are looked at, what a filter leaves might be in none."""
    rows, query = vectors(600), vectors(1, seed=1)[0]
    store = stores.open(f"{milvus_server}?index=IVF_SQ8&nlist=64&nprobe=2", DIM, f"narrow/{next(names)}")
    assert isinstance(store, Milvus)
    store.put(np.arange(600), rows)
    few = list(range(0, 600, 30))
    assert search(store, query, 10, few) == oracle(dict(enumerate(rows)), query, 10, few)
    assert [store._effort_for(9, keys(*some))["nprobe"] for some in (range(600), range(0, 600, 2), few, [599])] == [2, 4, 57, 64]
    store.close()


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("milvus+lite:", "names no folder"),
        ("http://", "names no server"),
        ("http://host:port", "is no address"),
        ("http://host?index=BEST", "no index is called 'BEST'"),
        ("http://host?index=HNSW&nprobe=3", "'nprobe=3' is nothing that HNSW knows"),
        ("http://host?nlist=3", "'nlist=3' is nothing that FLAT knows"),
        ("http://host?index=HNSW&ef=", "'ef=' is nothing"),
        ("http://127.0.0.1:1", "cannot be reached"),
        ("pigeon://hole", "no kind of store"),
    ],
)
def test_an_address_that_is_none_is_refused_in_one_line(where: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        stores.open(where, DIM)
    assert "\n" not in str(error.value)


def test_a_library_whose_store_is_away_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        Library.create(tmp_path / "lib", encoder=ToyEncoder(), store="http://127.0.0.1:1")
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        assert not library.config.store and library.store.count() == 0


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(UserError, match=TOKEN) as error:
        stores.open("https://root:secret@milvus.example:19530", DIM)
    assert "secret" not in str(error.value)


def test_a_database_that_is_missing_is_named(milvus_server: str) -> None:
    with pytest.raises(UserError, match="has no database 'elsewhere'"):
        stores.open(f"{milvus_server}/elsewhere", DIM)


def test_databases_are_kept_apart(milvus_server: str) -> None:
    from pymilvus import MilvusClient

    MilvusClient(milvus_server).create_database("apart")
    name = next(names)
    one, two = stores.open(milvus_server, DIM, name), stores.open(f"{milvus_server}/apart", DIM, name)
    one.put(keys(1), vectors(1))
    assert (one.count(), two.count()) == (1, 0)
    one.close()
    two.close()


def test_a_library_answers_from_milvus_as_from_its_folder(
    milvus_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    for name in ("red", "green", "blue"):
        render(tmp_path / "videos" / f"{name}.mp4", [name])
    states = []
    for store in ("", milvus_server):
        path = tmp_path / ("milvus" if store else "local")
        with Library.create(path, encoder=ToyEncoder(), store=store) as library:
            library.index([tmp_path / "videos"], workers=1)
        states.append(dump(path, ToyEncoder()))
        assert states[-1]["nearest"] == states[-1]["oracle"]
    assert states[0] == states[1]


# -- faults


def test_a_server_that_was_killed_is_named_and_has_everything_when_it_is_back(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    store = stores.open(server.uri, DIM)
    try:
        store.put(np.arange(9), vectors(9))
        store.delete(keys(3))
        server.kill()
        for act in (lambda: search(store, vectors(1)[0], 1), store.count, lambda: store.put(keys(77), vectors(1)), store.keys):
            with pytest.raises(UserError, match="cannot be reached") as error:
                act()
            assert "\n" not in str(error.value)
        server.start()
        assert store.keys().tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
        assert search(store, vectors(1)[0], 3) == oracle({k: v for k, v in enumerate(vectors(9)) if k != 3}, vectors(1)[0], 3)
    finally:
        store.close()
        server.kill()


def test_a_service_is_not_ready_while_its_store_or_its_objects_are_away(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PATIENCE", 60.0)  # this machine may be busy
    server, bucket = Server(tmp_path / "data").start(), s3.bucket()
    (tmp_path / "hit.toml").write_text(f'[library]\nobjects = "{bucket}/own"\n')
    monkeypatch.setenv(deployment.VARIABLE, str(tmp_path / "hit.toml"))
    try:
        Library.create(tmp_path / "lib", encoder=ToyEncoder(), store=server.uri).close()
        with service.Service(tmp_path / "lib", service.ServeConfig(jobs=False), ToyEncoder()) as served:
            assert served.unready() == {}
            server.kill()
            assert served.unready() == {}  # as it was a moment ago
            monkeypatch.setattr(service, "_HOLDS", 0.0)
            assert list(served.unready()) == ["store"]
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # where its client tries for minutes
            served.db.keep_in(f"{bucket}/other")
            monkeypatch.setattr(service, "_PATIENCE", 1.0)
            assert list(served.unready())[-1] == "objects"
    finally:
        server.kill()


def test_what_a_store_does_not_let_go_is_told_and_pruned_later(
    tmp_path: Path, milvus_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drop = Milvus.drop

    def kept(store: Milvus) -> None:
        if not (store.partition or store.collection).endswith("_0"):  # the next generation
            return drop(store)
        store.close()
        raise UserError(store.where, "its partition is in use, and stays")

    with Library.create(tmp_path / "lib", encoder=ToyEncoder(), store=milvus_server) as library:
        add(library, [0])
        old = library.path / library.stored.name
        with monkeypatch.context() as patch:
            patch.setattr(Milvus, "drop", kept)
            shelves.rebuild(library)
        assert "in use, and stays" in caplog.text and old.exists() and library.stored.generation == 1
        prune.prune(library)
        assert not old.exists()


@pytest.mark.slow
def test_a_server_that_is_cut_off_is_given_up_and_found_again(tmp_path: Path) -> None:
    """No connection is refused or reset here: nothing answers, as from a machine without power."""
    with hosts(1) as (host,), on_host(host, tmp_path / "milvus") as server:
        if not isinstance(server, Real):
            pytest.skip("no real Milvus here")
        store = stores.open(server.uri, DIM)
        store.put(np.arange(9), vectors(9))
        host.cut()
        for act in (lambda: search(store, vectors(1)[0], 1), store.count):
            begun = time.monotonic()
            with pytest.raises(AwayError, match="cannot be reached"):
                act()
            print(f"given up after {time.monotonic() - begun:.1f} s")
        host.join()
        assert store.count() == 9
        store.close()


def test_a_server_that_is_killed_while_a_library_writes_to_it_loses_nothing(tmp_path: Path) -> None:
    with (
        running(tmp_path / "milvus") as server,
        Library.create(tmp_path / "lib", encoder=ToyEncoder(), store=server.uri) as library,
    ):
        library.store.put(np.arange(10**6, 10**6 + 40), upkeep_vectors(40))  # of no segment: what writes too late may leave this
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(lambda: [add(library, [number], segments=40) for number in range(1000)])
            until(lambda: library.db.counts()["segments"] > 100)
            server.kill()
            with pytest.raises(AwayError, match="cannot be reached") as error:
                writing.result()
        assert "\n" not in str(error.value)
        kept = library.db.counts()["segments"]
        server.start()
        assert verify(library, full=True)["sound"] is False, "what is of no segment is found"
        with Library.open(library.path, encoder=ToyEncoder()) as again:  # which makes it good
            assert verify(again, full=True)["sound"]
            assert again.store.count() == again.db.counts()["segments"] == kept > 100


def test_a_server_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.milvus._CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(UserError, match="does not answer"):
        stores.open(f"http://127.0.0.1:{mute.getsockname()[1]}", DIM)


@pytest.fixture
def doorman() -> Iterator[Callable[[grpc.StatusCode], str]]:
    """Return a function that starts a gRPC server that answers every call with one error, as Milvus does for a wrong token."""
    running: list[grpc.Server] = []

    def start(code: grpc.StatusCode) -> str:
        def refuse(_: object, context: grpc.ServicerContext) -> None:
            tokens.append(dict(context.invocation_metadata()).get("authorization"))
            context.abort(code, "auth check failure, please check username and password are correct")

        class Refuse(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, _: object) -> Any:
                return grpc.unary_unary_rpc_method_handler(refuse)

        served = grpc.server(futures.ThreadPoolExecutor(1))
        served.add_generic_rpc_handlers((Refuse(),))
        port = served.add_insecure_port("127.0.0.1:0")
        served.start()
        running.append(served)
        return f"http://127.0.0.1:{port}"

    yield start
    for served in running:
        served.stop(None)


tokens: list[str | None] = []


def test_a_wrong_token_is_named_and_not_shown(doorman: Callable[[grpc.StatusCode], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "root:secret")
    tokens.clear()
    with pytest.raises(UserError, match=f"does not let us in .set {TOKEN}") as error:
        stores.open(doorman(grpc.StatusCode.UNAUTHENTICATED), DIM)
    assert tokens[0] == "cm9vdDpzZWNyZXQ="  # "root:secret": it was sent
    assert "secret" not in str(error.value)


def test_a_server_that_is_no_milvus_is_named(doorman: Callable[[grpc.StatusCode], str]) -> None:
    with pytest.raises(UserError, match="is no Milvus"):
        stores.open(doorman(grpc.StatusCode.UNIMPLEMENTED), DIM)


def test_a_second_process_is_kept_out_of_an_embedded_one(tmp_path: Path) -> None:
    where = f"milvus+lite:{tmp_path / 'lite'}"
    store = stores.open(where, DIM)
    code = (
        f"from hit import stores\ntry: stores.open({where!r}, 3)\nexcept Exception as error: print(type(error).__name__, error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    store.close()
    assert "UserError" in told.stdout and "another process has it open" in told.stdout
    assert (told.stdout.count("\n"), told.stderr) == (1, "")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "milvus_lite.adapter.grpc.server", None)
    with pytest.raises(UserError, match=r"milvus-lite, which is not installed .pip install 'hit-video\[milvus\]'"):
        stores.open(f"milvus+lite:{tmp_path}", DIM)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs pymilvus"):
        stores.open("http://127.0.0.1:1", DIM)


def test_a_process_that_forgets_to_close_ends_all_the_same(tmp_path: Path) -> None:
    where = f"milvus+lite:{tmp_path / 'lite'}"
    code = f"import numpy as np\nfrom hit import stores\nstores.open({where!r}, 3).put(np.arange(2), np.ones((2, 3)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True).stderr == b""
    store = stores.open(where, DIM)
    assert store.count() == 2
    store.close()
    assert not [thread for thread in threading.enumerate() if "milvus" in thread.name.lower()]
