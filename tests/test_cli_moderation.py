"""hit policy, hit bank, hit webhook: what is said, and in one line what is wrong."""

import json
from pathlib import Path
from typing import Any

from conftest import Run
from hit import moderation
from hit.library import Library
from hit.moderation import document, lifecycle
from toy import ToyEncoder

RED = {"texts": ["red"], "review": {"score": 1.4}, "block": {"score": 1.9}}


def said(run: Any) -> Any:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_a_policy_is_written_changed_and_shown(hit: Run, own: Path, tmp_path: Path) -> None:
    made = said(
        hit("policy", "new", own, "reds", "--text", "red", "--but-not", "pink", "review={score=1.4}", "severity=4", "--json")
    )
    assert made["document"]["exceptions"] == ["pink"] and made["document"]["severity"] == 4 and made["version"] == 1
    taken = hit("policy", "new", own, "reds", "--text", "red")
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1) and "hit policy edit" in taken.stderr
    changed = said(hit("policy", "edit", own, "reds", "block={score=1.9}", "--json"))
    assert changed["version"] == 1 and changed["document"]["block"] == {"score": 1.9}
    text = hit("policy", "show", own, "reds", "--toml").stdout
    (tmp_path / "p.toml").write_text(text)
    assert document.read(document.load(tmp_path / "p.toml")).to_table() == changed["document"]
    assert said(hit("policy", "edit", own, "reds", "--file", tmp_path / "p.toml", "--json"))["document"] == changed["document"]
    for words, complaint in (
        (("edit", own, "reds", "severty=4"), "did you mean 'severity'?"),
        (("edit", own, "reds", "review={percentle=9}"), "there is no rule"),
        (("edit", own, "blues"), "there are: reds"),
        (("show", own, "reds", "--version", "9"), "there is none"),
        (("edit", own, "reds", "--file", tmp_path / "none.toml"), "cannot be read"),
    ):
        wrong = hit("policy", *words)
        assert wrong.returncode == 2 and complaint in wrong.stderr and wrong.stderr.count("\n") == 1


def test_what_is_in_force_is_listed_tried_and_exported(hit: Run, own: Path, tmp_path: Path) -> None:
    with Library.open(own, encoder=ToyEncoder()) as library:
        lifecycle.draft(library, "reds", RED, "ann")
        lifecycle.enter(library, "reds", "shadow", "ann")
        moderation.judge(library)
    done = said(hit("policy", "enforce", own, "reds", "--json"))  # what was fitted before needs no model
    assert done["judged"]["policies"][0]["block"] == 2 and done["policy"]["state"] == "enforced"
    assert "2 block" in hit("policy", "list", own).stdout
    found = said(hit("policy", "test", own, "reds", "--json"))
    assert found["counts"] == {"pass": 3, "review": 0, "block": 2}
    assert "would be: 3 pass" in hit("policy", "test", own, "reds").stdout
    assert "red.mp4" in hit("policy", "verdicts", own, "reds", "--verdict", "block").stdout
    assert "enforced" in hit("policy", "show", own, "reds").stdout
    for name, count in (("v.csv", 6), ("v.jsonl", 5)):
        assert said(hit("policy", "export", own, "reds", tmp_path / name, "--json"))["verdicts"] == 5
        assert len((tmp_path / name).read_text().splitlines()) == count
    hit("policy", "edit", own, "reds", "note='x'")
    assert said(hit("policy", "diff", own, "reds", "1", "2", "--json"))["changes"] == [
        {"field": "note", "before": "", "after": "x"}
    ]
    assert "note" in hit("policy", "diff", own, "reds", "1", "2").stdout
    assert said(hit("policy", "retire", own, "reds", "--json"))["policy"]["state"] == "retired"


def test_the_bank(hit: Run, own: Path, made: Path) -> None:
    added = said(hit("bank", "add", own, made / "v" / "red.mp4", "--note", "known", "--json"))
    assert added["title"] == "red.mp4" and added["judged"]["policies"] == []
    assert "known" in hit("bank", "list", own).stdout
    assert said(hit("bank", "remove", own, added["id"], "--json"))["removed"] == added["id"]
    assert "there is none" in hit("bank", "remove", own, added["id"]).stderr
    assert "knows no video" in hit("bank", "add", own, "nothing").stderr


def test_webhooks(hit: Run, own: Path) -> None:
    refused = hit("webhook", "add", own, "site", "http://127.0.0.1:9/")
    assert refused.returncode == 2 and "allow_private" in refused.stderr
    (own / "serve.toml").write_text("allow_private = true\n")
    shown = hit("webhook", "add", own, "site", "http://127.0.0.1:9/?key=hidden", "--event", "policy.changed")
    assert shown.stdout.startswith("whsec_") and "not shown again" in shown.stderr
    assert said(hit("webhook", "test", own, "site", "--json")) == {"sent": 0, "failed": 1, "dead": 0}
    assert said(hit("webhook", "send", own, "--json")) == {"sent": 0, "failed": 0, "dead": 0}
    assert said(hit("webhook", "list", own, "--json"))["webhooks"][0]["queued"] == 1
    assert "site" in hit("webhook", "list", own).stdout
    with Library.open(own, encoder=ToyEncoder()) as library:
        library.db.end_delivery(library.db.deliveries()[0], "no answer")
        number = library.db.deliveries("dead")[0].id
    assert "no answer" in hit("webhook", "list", own, "--dead").stdout
    assert said(hit("webhook", "send", own, "--retry", number, "--json"))["failed"] == 1
    assert said(hit("webhook", "remove", own, "site", "--json")) == {"removed": "site"}
    assert "there is none" in hit("webhook", "remove", own, "site").stderr
