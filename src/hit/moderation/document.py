"""A policy as it is written: texts, examples, exceptions, where its lines are, and what happens beyond them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomli_w

from hit import config, filters
from hit.errors import UserError
from hit.tagging.thresholds import Rule

_LONGEST = 2000  # characters of a text
_MOST = 200  # texts, or examples
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """What a version of a policy says; see docs/policies.md. `read` checks one. Times are seconds.

    texts: what is meant, said in several ways. exceptions: what must not be shown for it to count. examples_for,
    examples_against: ids of segments. review, block: rules for the scores from which a video goes to people, or is blocked.
    scope: a filter; only what it lets through is looked at. window: over how many seconds scores are averaged. min_duration: how
    long evidence must last in all. audit_share: of what passes, to be looked at all the same. bank: whether known clips count.
    """

    texts: tuple[str, ...]
    exceptions: tuple[str, ...] = ()
    examples_for: tuple[str, ...] = ()
    examples_against: tuple[str, ...] = ()
    review: Mapping[str, float] | None = None
    block: Mapping[str, float] | None = None
    severity: int = 3
    audit_share: float = 0.0
    window: float | None = None
    min_duration: float = 0.0
    scope: str = ""
    reviewers: int = 1
    bank: bool = False
    note: str = ""

    @property
    def review_rule(self) -> Rule:
        """The rule for the line from which on people look."""
        return Rule.from_table(self.review, "review") if self.review else DEFAULT

    @property
    def block_rule(self) -> Rule | None:
        """The rule for the line from which on a video is blocked, if there is one."""
        return Rule.from_table(self.block, "block") if self.block else None

    @property
    def node(self) -> filters.Node | None:
        """The filter."""
        return filters.given(self.scope) if self.scope.strip() else None

    def to_table(self) -> dict[str, Any]:
        """Return all of it as JSON has it; the inverse of `read`."""
        table = {field.name: getattr(self, field.name) for field in fields(self)}
        table |= {name: list(table[name]) for name in ("texts", "exceptions", "examples_for", "examples_against")}
        rule = self.block_rule
        return {**table, "review": self.review_rule.to_table(), "block": rule.to_table() if rule else None}


DEFAULT = Rule("percentile", 99.5)


def read(table: Table, where: str = "the policy") -> Document:
    """Return the document that a table is; `where` opens every error. Raises UserError for what does not fit."""
    if "texts" not in table:
        raise UserError(where, "has no texts", 'say what is meant, such as texts = ["a fight", "people hit each other"]')
    made = config.build(Document, {**table, **({} if table.get("texts") else {"texts": ()})}, where)
    if not made.texts:
        raise UserError(where, "has no texts", "say in words what is meant")
    for name in ("texts", "exceptions", "examples_for", "examples_against"):
        values = getattr(made, name)
        if any(not value.strip() or len(value) > _LONGEST for value in values) or len(values) > _MOST:
            raise UserError(f"{where}: {name}", f"at most {_MOST}, each of 1 to {_LONGEST} characters")
    bounds = {"severity": (1, 5), "audit_share": (0, 1), "window": (0, 3600), "min_duration": (0, 1e6), "reviewers": (1, 2)}
    for name, (low, high) in bounds.items():
        value = getattr(made, name)
        if value is not None and not low <= value <= high:
            raise UserError(f"{where}: {name}", f"{value:g} is not from {low:g} to {high:g}")
    if both := set(made.examples_for) & set(made.examples_against):
        raise UserError(f"{where}: examples", f"{min(both)} is for and against it", "leave one out")
    if len(made.note) > _LONGEST:
        raise UserError(f"{where}: note", f"is longer than {_LONGEST} characters")
    _ = made.node
    review, block = made.review_rule, made.block_rule
    if block and block.kind == review.kind and block.value < review.value:
        raise UserError(f"{where}: review", "is above block, so that block is reached before review", "let review begin earlier")
    return made


def load(path: Path) -> dict[str, Any]:
    """Read a TOML file as a table, without a look at what it says. Raises UserError for one that cannot be read."""
    if (table := config.read(path)) is None:
        raise UserError(path, "cannot be read: No such file", "name a TOML file")
    return table


def to_toml(document: Document) -> str:
    """Write a document as `load` reads it."""
    return tomli_w.dumps(
        {name: value for name, value in document.to_table().items() if value is not None}, multiline_strings=True
    )


def diff(before: Document, after: Document) -> list[dict[str, Any]]:
    """Return what differs between two documents, [{field, before, after}]."""
    one, two = before.to_table(), after.to_table()
    return [{"field": name, "before": one[name], "after": two[name]} for name in one if one[name] != two[name]]
