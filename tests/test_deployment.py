"""hit.toml: where it is found, what it says, and what is wrong with one that does not fit."""

from pathlib import Path

import pytest

from hit import deployment
from hit.deployment import Deployment, Log, Places
from hit.errors import UserError

WHOLE = """
pool = "ray://10.0.0.1:10001"
trace = "http://10.0.0.1:4318"
[library]
database = "postgresql://hit@10.0.0.1/videos"
store = "http://10.0.0.1:19530"
objects = "s3://bucket/hit"
[roots]
videos = "s3://bucket/videos"
archive = "/srv/archive"
[serve]
workers = 4
[log]
format = "json"
"""


def test_without_a_file_all_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert deployment.read() == Deployment()
    assert Deployment().pool == "local" and not any(vars(Places()).values())


def test_the_file_of_the_working_folder_holds_and_a_variable_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hit.toml").write_text('pool = "ray"')
    (tmp_path / "other.toml").write_text(WHOLE)
    assert deployment.read() == Deployment(pool="ray")
    monkeypatch.setenv("HIT_CONFIG", str(tmp_path / "other.toml"))
    assert deployment.read() == Deployment(
        pool="ray://10.0.0.1:10001",
        library=Places("postgresql://hit@10.0.0.1/videos", "http://10.0.0.1:19530", "s3://bucket/hit"),
        roots={"videos": "s3://bucket/videos", "archive": "/srv/archive"},
        serve={"workers": 4},
        log=Log("json"),
        trace="http://10.0.0.1:4318",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pol = 'ray'", "unknown key 'pol' .did you mean 'pool'"),
        ("[log]\nformat = 'xml'", "'xml' is not one of 'line', 'json'"),
        ("[library]\nobject = 's3://b'", "unknown key 'object' .did you mean 'objects'"),
        ("[roots]\nvideos = 'here'", "root videos: 'here' is another folder wherever it is read"),
        ("[roots]\nvideos = 's3://KEY:SECRET@bucket/x'", "^root videos: its credentials are not taken from a URL [^S]*$"),
        ("[roots]\nvideos = 'https://KEY:SECRET@host/x'", "^root videos: no videos are kept by 'https' [^S]*$"),
        ("[roots]\nvideos = 'S3://bucket'", "no videos are kept by 'S3'"),
        ("[roots]\nvideos = 's3:///x'", "'s3:///x' names no bucket"),
        ("[roots]\nvideos = 'file://host/x'", "'file://host/x' is no folder of this machine"),
        ("[roots]\nc = '/x'", "roots: 'c' is no name for one"),
        ("[roots]\nlibrary = '/x'", "'library' is taken"),
        ("pool =", "not a TOML file"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hit.toml").write_text(text)
    with pytest.raises(UserError, match=complaint):
        deployment.read()


def test_a_file_that_is_named_and_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIT_CONFIG", "/nowhere/hit.toml")
    with pytest.raises(UserError, match=r"/nowhere/hit.toml: there is no such file .see to HIT_CONFIG"):
        deployment.read()
