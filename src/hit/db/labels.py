"""Label sets, what is tagged by them and why, and what people say of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db import keywords
from hit.db.schema import Segment, Tag, Video
from hit.db.schema_review import LabelAnswer, LabelSet, Tagged
from hit.db.session import Sessions, batches
from hit.errors import NotFoundError

SOURCE = "label:"  # and the set's name: who gave a tag


@dataclass(frozen=True, slots=True)
class Listed:
    """A label set as a list shows it: its newest version, the one that is active, and how many videos bear one of its labels."""

    newest: LabelSet
    active: int | None
    tagged: int


class LabelRecords(Sessions):
    """The part of a Database that holds them."""

    # -- sets

    def label_sets(self) -> list[Listed]:
        """Return all label sets by their names."""
        videos = sa.select(Tagged.label_set, sa.func.count(sa.distinct(Tagged.video_id))).group_by(Tagged.label_set)
        with self.read() as session:
            tagged = {row[0]: row[1] for row in session.execute(videos)}
            found: dict[str, Listed] = {}
            for one in session.scalars(sa.select(LabelSet).order_by(LabelSet.name, LabelSet.version)):
                before = found.get(one.name)
                active = one.version if one.state == "active" else before.active if before else None
                found[one.name] = Listed(one, active, tagged.get(one.name, 0))
            return [found[name] for name in sorted(found)]

    def label_versions(self, name: str) -> list[LabelSet]:
        """Return the versions of a label set, the newest first. Raises NotFoundError for one that is not known."""
        with self.read() as session:
            found = list(session.scalars(_versions(name)))
        if not found:
            raise NotFoundError(f"label set {name}", "there is none of this name", "`hit labels list` names them")
        return found

    def label_set(self, name: str, version: int | None = None) -> LabelSet:
        """Return a version of a label set, the newest unless one is named. Raises NotFoundError."""
        versions = self.label_versions(name)
        found = next((one for one in versions if version in (None, one.version)), None)
        if found is None:
            raise NotFoundError(f"label set {name}", f"has no version {version}", f"the newest is {versions[0].version}")
        return found

    def put_label_set(self, name: str, document: Mapping[str, Any], by: str) -> LabelSet:
        """Write a new draft of a label set; where the newest version is a draft, it is replaced."""
        with self.write(content=False) as session:
            newest = session.scalars(_versions(name)).first()
            if newest is not None and newest.state == "draft":
                version = newest.version
                session.delete(newest)
                session.flush()
            else:
                version = newest.version + 1 if newest else 1
            made = LabelSet(name=name, version=version, state="draft", document=dict(document), fitted=None)
            made.by, made.created_at = by, datetime.now(UTC)
            session.add(made)
            return made

    def keep_fitted(self, one: LabelSet, fitted: Mapping[str, Any]) -> None:
        """Keep what was made of a version, unless it was written anew meanwhile."""
        same = LabelSet.name == one.name, LabelSet.version == one.version, LabelSet.created_at == one.created_at
        with self.write(content=False) as session:
            session.execute(sa.update(LabelSet).where(*same).values(fitted=dict(fitted)))

    def activate_labels(self, one: LabelSet, gone: Iterable[tuple[str, str]], rows: Sequence[Tagged]) -> None:
        """Have a version be the active one, and in the same moment the tags be those that it gives.

        gone: (label, video) that are tagged no longer; rows: what is new, or has changed. Videos that are removed meanwhile are
        left out. Raises NotFoundError for a version that was written anew meanwhile.
        """
        with self.write() as session:
            found = session.get(LabelSet, (one.name, one.version), populate_existing=True)
            if found is None or found.document != one.document or (one.state == "active" and found.state != "active"):
                raise NotFoundError(f"label set {one.name}", f"version {one.version} has changed meanwhile", "look at it again")
            others = sa.update(LabelSet).where(LabelSet.name == one.name, LabelSet.state == "active")
            session.execute(others.where(LabelSet.version != one.version).values(state="retired"))
            found.state = "active"
            session.flush()
            _tag(session, one.name, gone, rows)

    def retire_labels(self, name: str) -> int:
        """Retire all versions of a label set and take back what it tagged; return how many tags that were."""
        self.label_versions(name)
        with self.write() as session:
            session.execute(sa.update(LabelSet).where(LabelSet.name == name).values(state="retired"))
            given = session.execute(sa.select(Tagged.label, Tagged.video_id).where(Tagged.label_set == name)).all()
            _tag(session, name, [(label, video) for label, video in given], [])
            return len(given)

    # -- what is tagged

    def tagged_by(self, name: str, videos: Iterable[str] | None = None) -> dict[tuple[str, str], Tagged]:
        """Return what a label set has tagged, by (label, video): all, or what there is of these videos."""
        query = sa.select(Tagged).where(Tagged.label_set == name)
        with self.read() as session:
            if videos is None:
                found = list(session.scalars(query))
            else:
                found = [one for some in batches(videos) for one in session.scalars(query.where(Tagged.video_id.in_(some)))]
        return {(one.label, one.video_id): one for one in found}

    def tagged_counts(self, name: str) -> dict[str, int]:
        """Return how many videos bear each label of a set."""
        query = sa.select(Tagged.label, sa.func.count()).where(Tagged.label_set == name).group_by(Tagged.label)
        with self.read() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def tagged(self, video: str) -> list[Tagged]:
        """Return by which labels a video is tagged, and why."""
        query = sa.select(Tagged).where(Tagged.video_id == video).order_by(Tagged.label_set, Tagged.label)
        with self.read() as session:
            return list(session.scalars(query))

    # -- answers

    def answer_label(self, name: str, label: str, segment: str, yes: bool | None, by: str) -> None:
        """Note what somebody says of a segment; None takes it back. Raises NotFoundError for a segment that is not known."""
        with self.write(content=False) as session:
            if session.get(Segment, segment) is None:
                raise NotFoundError(f"segment {segment}", "the library knows no segment with this id")
            session.execute(
                sa.delete(LabelAnswer).where(
                    LabelAnswer.label_set == name, LabelAnswer.label == label, LabelAnswer.segment_id == segment
                )
            )
            if yes is not None:
                answer = LabelAnswer(label_set=name, label=label, segment_id=segment, yes=yes, by=by, at=datetime.now(UTC))
                session.add(answer)

    def label_answers(self, name: str) -> dict[str, dict[str, bool]]:
        """Return {label: {segment: yes}} of a set, in the order of the segments' ids."""
        query = sa.select(LabelAnswer).where(LabelAnswer.label_set == name)
        found: dict[str, dict[str, bool]] = {}
        with self.read() as session:
            for one in session.scalars(query.order_by(LabelAnswer.label, LabelAnswer.segment_id)):
                found.setdefault(one.label, {})[one.segment_id] = one.yes
        return found


def _versions(name: str) -> sa.Select[Any]:
    return sa.select(LabelSet).where(LabelSet.name == name).order_by(LabelSet.version.desc())


def _tag(session: Session, name: str, gone: Iterable[tuple[str, str]], rows: Sequence[Tagged]) -> None:
    """Write what a set tags, and the videos' tags with it; a tag that a user gave, or another set gives too, stays."""
    source, touched = SOURCE + name, set()
    for label, video in gone:
        of = Tagged.label == label, Tagged.video_id == video
        session.execute(sa.delete(Tagged).where(Tagged.label_set == name, *of))
        tag = session.get(Tag, (video, label))
        if tag is not None and tag.source == source:
            touched.add(video)
            if other := session.scalar(sa.select(sa.func.min(Tagged.label_set)).where(*of)):
                tag.source = SOURCE + other
            else:
                session.delete(tag)
    there: set[str] = set()
    for some in batches({row.video_id for row in rows}):
        there |= set(session.scalars(sa.select(Video.id).where(Video.id.in_(some))))
    for row in rows:
        if row.video_id in there:
            new = session.get(Tagged, (name, row.label, row.video_id)) is None
            session.merge(row)
            if new and session.get(Tag, (row.video_id, row.label)) is None:
                session.add(Tag(video_id=row.video_id, name=row.label, source=source))
                touched.add(row.video_id)
    session.flush()
    keywords.refresh(session, touched)
