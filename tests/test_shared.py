"""One library on several machines: folders that join it, settings that all share, and one writer among all of them.

What is a machine here is a folder: nothing but the database and the store of vectors is common to two of them.
"""

import errno
import os
import shutil
import signal
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tiny_model
from hit import deployment, files, settings
from hit.cli import app
from hit.db import shared
from hit.db.schema import Shared
from hit.errors import AwayError, UserError
from hit.files import BusyError
from hit.library import Library
from hit.zeroshot import open_encoder
from postgres import Postgres
from toy import ToyEncoder

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, 'hit ')"


@pytest.fixture
def url(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an empty database's URL, which the hit.toml names that holds here, with a server for vectors."""
    found = postgres.database()
    (tmp_path / "hit.toml").write_text(f'[library]\ndatabase = "{found}"\nstore = "http://vectors:19530"\n')
    monkeypatch.setenv(deployment.VARIABLE, str(tmp_path / "hit.toml"))
    monkeypatch.setattr(Library, "_mend", lambda self: None)  # that server is none
    return found


def machine(folder: Path) -> Library:
    """Open the library as another machine does, whose folder is this."""
    return Library.open(folder, encoder=ToyEncoder(), mend=False)


def make(folder: Path, url: str, store: str = "http://vectors:19530") -> Library:
    """Make a library as `create` does, but do not look for its store."""
    folder.mkdir()
    reference = settings.reference(folder, None, ToyEncoder())
    settings.write(folder, settings.LibraryConfig(reference, database=url, store=store, id="00c0ffee"))
    return machine(folder)


# -- joining


def test_a_machine_that_has_nothing_joins(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url).close()
    for opened in (machine(tmp_path / "two"), Library.prepare(tmp_path / "three", None)):
        with opened as library:
            assert library.config == settings.read(tmp_path / "one")
    assert (tmp_path / "two" / "library.toml").read_bytes() == (tmp_path / "one" / "library.toml").read_bytes()
    (tmp_path / "four" / "thumbnails").mkdir(parents=True)  # which is shared by other means
    machine(tmp_path / "four").close()


def test_a_machine_that_is_to_serve_joins(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url).close()
    done = CliRunner().invoke(app, ["serve", str(tmp_path / "two"), "--check", "--json"])
    assert done.exit_code == 0, done.output
    assert settings.read(tmp_path / "two") == settings.read(tmp_path / "one")


def test_what_joins_is_told_in_one_line_why_it_cannot(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a library"):  # the database is empty, and stays so
        Library.open(tmp_path / "two")
    assert not (tmp_path / "two").exists() and shared.peek(url) is None
    make(tmp_path / "one", url).close()
    (tmp_path / "full" / "photos").mkdir(parents=True)
    with pytest.raises(UserError, match="not a library, and not empty"):
        Library.open(tmp_path / "full")
    assert [one.name for one in (tmp_path / "full").iterdir()] == ["photos"]
    (tmp_path / "hit.toml").write_text('[library]\ndatabase = "postgresql://me:secret@host/name"')
    with pytest.raises(UserError, match="PGPASSWORD") as error:
        Library.open(tmp_path / "two")
    assert "secret" not in str(error.value)


def test_a_database_of_one_machine_is_not_joined_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hit.toml").write_text(f'[library]\ndatabase = "sqlite:///{tmp_path}/x.db"\n')
    monkeypatch.setenv(deployment.VARIABLE, str(tmp_path / "hit.toml"))
    with pytest.raises(UserError, match="not a library"):
        Library.open(tmp_path / "two")
    assert [one.name for one in tmp_path.iterdir()] == ["hit.toml"]


def test_a_library_whose_vectors_are_on_one_machine_is_not_joined(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url, store="").close()
    with pytest.raises(UserError, match=r"store of one machine .*hit library move"):
        Library.open(tmp_path / "two")


def test_a_library_whose_arrays_are_on_one_machine_is_not_joined(url: str, tmp_path: Path) -> None:
    one, rows = make(tmp_path / "one", url), np.ones((3, ToyEncoder().dim), np.float32)
    with one, machine(tmp_path / "early") as early:  # there is nothing yet that it could lack
        with one.db.write() as session:
            assert one.db._append(session, "toy-1", rows) == [0, 1, 2]
        with pytest.raises(UserError, match="holds 0 rows, not 3") as error, early.db.write() as session:
            early.db._append(session, "toy-1", rows)
        assert "\n" not in str(error.value) and early.db.stored("toy-1", ToyEncoder().dim).rows == 3
    assert not (tmp_path / "early" / "embeddings").exists()
    with pytest.raises(UserError, match=r"files of one machine .*hit library move"):
        machine(tmp_path / "two")
    assert not (tmp_path / "two").exists()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "embeddings").symlink_to(tmp_path / "one" / "embeddings")  # shared
    with machine(tmp_path / "two") as two, two.db.write() as session:
        assert two.db._append(session, "toy-1", rows) == [3, 4, 5]


def test_a_new_library_is_where_the_deployment_says(url: str, tmp_path: Path) -> None:
    with Library.create(tmp_path / "one", encoder=ToyEncoder()) as library:
        assert (library.config.database, library.config.store) == (url, "http://vectors:19530")
        assert shared.settings(library.db) == {
            key: value
            for key, value in tomllib.loads((tmp_path / "one" / "library.toml").read_text()).items()
            if key != "database"
        }
    with Library.create(tmp_path / "own", encoder=ToyEncoder(), database=f"sqlite:///{tmp_path}/x.db", store="local") as library:
        assert (library.config.store, shared.settings(library.db)) == ("", None)
    with pytest.raises(UserError, match="records of another library"):  # it is joined, not made a second time
        Library.create(tmp_path / "two", encoder=ToyEncoder())


# -- settings


def test_settings_that_one_machine_changes_are_all_machines(url: str, tmp_path: Path) -> None:
    with make(tmp_path / "one", url) as one, machine(tmp_path / "two") as two:
        turned = replace(one.config, model=replace(one.config.model, revision="toy-2"))
        with one.writing():
            one.change(turned)
        assert two.config != turned and two.renew() and two.config == turned
        assert settings.read(tmp_path / "two") == turned
        assert not two.renew() and not one.renew()
        with two.writing():
            two.change(replace(turned, store="http://other:1"))
    with machine(tmp_path / "one") as again:  # it was away meanwhile
        assert again.config.store == settings.read(tmp_path / "one").store == "http://other:1"


def test_who_may_not_write_its_copy_of_the_settings_goes_by_those_of_all(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, data: bytes) -> None:
        raise PermissionError(errno.EACCES, "denied", str(path))

    with make(tmp_path / "one", url) as one, machine(tmp_path / "two") as two:
        with one.writing():
            one.change(replace(one.config, store="http://other:1"))
        monkeypatch.setattr(files, "write_whole", denied)  # root, who runs the tests, may write anywhere
        assert two.renew() and two.config.store == "http://other:1" != settings.read(tmp_path / "two").store


def test_each_machine_has_its_own_way_to_the_database(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url).close()
    detour = url + "&application_name=detour"
    (tmp_path / "hit.toml").write_text(f'[library]\ndatabase = "{detour}"\n')
    with machine(tmp_path / "two") as two, two.writing():
        two.change(replace(two.config, store="http://other:1"))
    with machine(tmp_path / "one") as one:
        assert one.config == replace(settings.read(tmp_path / "two"), database=url)


def test_a_library_of_before_tells_its_database(url: str, tmp_path: Path) -> None:
    with make(tmp_path / "one", url) as library, library.db.write() as session:
        session.delete(session.get_one(Shared, 1))
    with machine(tmp_path / "one") as library:
        assert (shared.settings(library.db) or {})["id"] == "00c0ffee"


def test_a_folder_whose_database_became_another_librarys_is_refused(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url).close()
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    settings.write(tmp_path / "other", replace(settings.read(tmp_path / "one"), id="0000beef"))
    with pytest.raises(UserError, match="records of another library"):
        machine(tmp_path / "other")


# -- the model


def test_each_machine_looks_for_the_model_where_it_may_be(url: str, tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "there" / "best")
    config = settings.LibraryConfig(settings.reference(tmp_path / "one", model, open_encoder(model)))
    (tmp_path / "hit.toml").write_text("[libra")
    assert settings.model_here(tmp_path / "one", config) == model, "nothing more is asked than need be"
    (tmp_path / "hit.toml").write_text("")
    shutil.move(tmp_path / "there", tmp_path / "gone")
    with pytest.raises(AwayError, match=rf"revision {config.model.revision} is not on this machine .copy it to .*two/model"):
        settings.model_here(tmp_path / "two", config)
    models = tmp_path / "models"
    shutil.copytree(tmp_path / "gone" / "best", models / "b")
    tiny_model.write(models / "a", seed=1)  # another revision
    (tmp_path / "hit.toml").write_text(f'[library]\nmodels = "{models}"')
    assert settings.model_here(tmp_path / "two", config) == models / "b"
    shutil.copytree(models / "a", tmp_path / "two" / "model")
    assert settings.model_here(tmp_path / "two", config) == models / "b", "not just any model"
    shutil.rmtree(models)
    shutil.copytree(tmp_path / "gone" / "best", tmp_path / "two" / "model", dirs_exist_ok=True)
    assert settings.model_here(tmp_path / "two", config) == tmp_path / "two" / "model"


def test_a_machine_loads_the_model_that_another_one_went_over_to(url: str, tmp_path: Path) -> None:
    before, after = (tiny_model.write(tmp_path / name, seed=seed) for seed, name in enumerate(("before", "after")))
    with make(tmp_path / "one", url) as one:
        references = [settings.reference(one.path, model, open_encoder(model)) for model in (before, after)]
        with one.writing():
            one.change(replace(one.config, model=references[0]))
        with Library.open(tmp_path / "two", mend=False) as two:
            assert two.encoder.revision == references[0].revision and two.judge is None
            shutil.rmtree(before)
            (tmp_path / "hit.toml").write_text("[libra")
            assert two.judge is None, "it is remembered that there is none, and nothing looked at again"
            (tmp_path / "hit.toml").write_text("")
            with one.writing():
                one.change(replace(one.config, model=references[1]))
            assert two.renew() and two.encoder.revision == references[1].revision
        with Library.open(tmp_path / "one", mend=False) as again:
            assert again.encoder.revision == references[1].revision


# -- one writer


def test_one_machine_writes_at_a_time(url: str, tmp_path: Path, postgres: Postgres) -> None:
    with make(tmp_path / "one", url) as one, machine(tmp_path / "two") as two:
        with (
            one.writing(),
            pytest.raises(BusyError, match=rf"another process is writing to it: .*:{os.getpid()}"),
            two.writing(0),
        ):
            raise AssertionError
        with two.writing(0), one.db.write():  # what people do at once does not wait for a writer
            pass
        with one.writing(0):
            pass


def test_libraries_of_one_server_do_not_wait_for_each_other(url: str, tmp_path: Path, postgres: Postgres) -> None:
    with make(tmp_path / "one", url) as one:
        other = tmp_path / "other"
        other.mkdir()
        settings.write(other, replace(one.config, id="ffffffff", database=postgres.database()))
        with machine(other) as library, one.writing(0), library.writing(0):
            pass


def test_a_writer_that_lost_its_turn_changes_nothing_more(url: str, tmp_path: Path, postgres: Postgres) -> None:
    with make(tmp_path / "one", url) as one, machine(tmp_path / "two") as two:
        with pytest.raises(AwayError, match="alone might write was lost") as error, one.writing():
            one.db.save_search("first", {})
            postgres.execute(CUT)
            with two.writing(5):  # the turn is free
                two.db.save_search("second", {})
                with pytest.raises(AwayError, match="was lost"):
                    one.db.save_search("third", {})
            one.db.save_search("fourth", {})
        assert "\n" not in str(error.value)
        assert list(one.db.saved_searches()) == ["first", "second"]
        with one.writing(0):
            one.db.save_search("fifth", {})


def test_the_turn_goes_with_the_process(url: str, tmp_path: Path) -> None:
    make(tmp_path / "one", url).close()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with machine(tmp_path / "one") as library, library.writing():
            os.write(writer, b"!")
            os.kill(os.getpid(), signal.SIGKILL)
    os.read(reader, 1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with machine(tmp_path / "two") as two, two.writing(10):
        pass
