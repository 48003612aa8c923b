"""A policy's way: draft, shadow, enforced, retired; and how it is shown."""

from collections.abc import Mapping
from typing import Any, Literal

from hit.db import Policy
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.moderation.document import Document, diff, read
from hit.moderation.judging import fit

State = Literal["shadow", "enforced", "retired"]
VERDICTS = ("pass", "review", "block")


def draft(library: Library, name: str, table: Mapping[str, Any], by: str) -> Policy:
    """Write what a policy is to say, as a draft, which changes nothing. Raises UserError for what does not fit."""
    document = read(table, f"policy {name}")
    examples = (*document.examples_for, *document.examples_against)
    if unknown := set(examples) - library.db.stretches(examples).keys():
        raise UserError(f"policy {name}: the example {min(unknown)}", "the library knows no segment of this id", "leave it out")
    return library.db.draft_policy(name, document.to_table(), by)


def enter(library: Library, name: str, state: State, by: str, version: int | None = None) -> list[Policy]:
    """Have a version enter a state, and return it; `retired` without a version means all that are in force.

    Without one, the newest draft goes into shadow, and what is in shadow, or else that draft, is enforced. What it is judged by
    is made now, once and for all, but where the library is empty. Raises UserError where there is none that could, and where
    the policy cannot be fitted to the library's model.
    """
    versions = library.db.policies([name])
    if not versions:
        library.db.policy(name)  # which says that there is none
    if version is not None:
        chosen = [library.db.policy(name, version)]
    elif state == "retired":
        chosen = [one for one in versions if one.state in ("shadow", "enforced")] or [versions[-1]]
    else:
        waiting = [one for one in versions if one.state == "draft" or (one.state == "shadow" and state == "enforced")]
        waiting.sort(key=lambda one: (one.state == "shadow", one.version))
        chosen = waiting[-1:]
    if not chosen:
        fix = "write another draft, or name the version"
        raise UserError(f"policy {name}", "has no draft that could be put into force", fix)
    return [_enter(library, one, state, by) for one in chosen]


def _enter(library: Library, policy: Policy, state: State, by: str) -> Policy:
    if state == "shadow" and policy.state == "enforced":
        raise UserError(f"policy {policy.name}, version {policy.version}", "is enforced already", "retire it first")
    revision, made = library.stored.revision, None
    if state != "retired" and revision not in (policy.fitted or {}) and library.db.vector_count(revision):
        found = library.asked(lambda _: fit(library, policy.name, read(policy.document)))
        made = {found.revision: found.to_json()}
    return library.db.set_policy(policy.name, policy.version, state, by, made)


def differences(library: Library, name: str, before: int, after: int) -> list[dict[str, Any]]:
    """Return what differs between two versions, [{field, before, after}]. Raises NotFoundError."""
    one, two = (read(library.db.policy(name, version).document) for version in (before, after))
    return diff(one, two)


def in_force(versions: list[Policy]) -> Policy | None:
    """Return the version that is enforced, or else the one in shadow."""
    return next((one for state in ("enforced", "shadow") for one in versions if one.state == state), None)


def listed(library: Library) -> list[dict[str, Any]]:
    """Return all policies by name, each by its newest version; counts are of the one in force."""
    found: dict[str, list[Policy]] = {}
    for one in library.db.policies():
        found.setdefault(one.name, []).append(one)
    counts = library.db.verdict_counts()
    rows = []
    for name, versions in found.items():
        newest, working = versions[-1], in_force(versions)
        document: Document = read((working or newest).document)
        states = {one.state: one.version for one in versions}
        rows.append(
            {
                "name": name,
                "version": newest.version,
                "state": newest.state,
                "enforced_version": states.get("enforced"),
                "shadow_version": states.get("shadow"),
                "severity": document.severity,
                "texts": list(document.texts),
                "counts": counts.get((name, working.version)) if working else None,
                "changed_at": max(one.changed_at for one in versions),
            }
        )
    return rows


def shown(library: Library, name: str, version: int | None = None) -> dict[str, Any]:
    """Return a version of a policy, the newest unless named, with all that became of it. Raises NotFoundError."""
    versions = library.db.policies([name])
    chosen = library.db.policy(name, version)
    model = library.config.model
    kept = (chosen.fitted or {}).get(model.revision)
    fitted = {key: kept[key] for key in ("review", "block", "kind")} | {"revision": model.revision} if kept else None
    times = ("version", "state", "created_at", "changed_at", "by")
    changes = library.db.policy_changes(name)
    return {
        "name": name,
        "version": chosen.version,
        "state": chosen.state,
        "versions": [{key: getattr(one, key) for key in times} for one in reversed(versions)],
        "changes": [{key: getattr(one, key) for key in ("version", "change", "by", "at")} for one in changes],
        "document": read(chosen.document).to_table(),
        "fitted": fitted,
        "counts": library.db.verdict_counts([name]).get((name, chosen.version)),
        "model": {"id": model.id, "revision": model.revision},
    }


def version_of(library: Library, name: str, version: int | None) -> Policy:
    """Return the version that is named, or else the one in force, or else the newest. Raises NotFoundError."""
    if version is not None:
        return library.db.policy(name, version)
    return in_force(library.db.policies([name])) or library.db.policy(name)


def before(library: Library, name: str, version: int | None) -> Policy | None:
    """Return what a version is compared with: the one that is enforced, or else in shadow, but not itself."""
    try:
        versions = library.db.policies([name])
    except NotFoundError:
        return None
    return in_force([one for one in versions if one.version != version])
