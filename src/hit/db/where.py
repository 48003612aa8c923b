"""Filters (see `hit.filters`) as conditions of SQL, on SQLite and PostgreSQL alike.

SQL's third truth value is kept out: every condition is true or false, so that `not` is the complement. Values are always bound.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import sqlalchemy as sa

from hit.db.schema import Embedding, File, Line, Segment, Tag, Video
from hit.filters import And, Node, Not, Op, Or, Term, Value

_WIDE = 100  # conditions in a row: SQLite takes no expression that is 1,000 deep, and thousands of them are slow to write
_ROOT = "abcdefghijklmnopqrstuvwxyz0123456789_-"  # what the names of roots are made of
_DAY = 24 * 60 * 60
Condition = sa.ColumnElement[bool]
Column = sa.ColumnElement[Any]


def rows(revision: str, node: Node) -> sa.Select[Any]:
    """Return the query for the rows, ascending, of this revision's vectors whose segments a filter lets through."""
    query = sa.select(Embedding.row).join(Segment, Segment.id == Embedding.segment_id).join(Video, Video.id == Segment.video_id)
    return query.where(of(revision), clause(node)).order_by(Embedding.row)


def of(revision: str) -> Condition:
    """Return the condition that a vector is of this revision, so put that SQLite does not go through all that are."""
    return (Embedding.revision == revision).is_(True)


def some(node: Node) -> Condition:
    """Return the condition on `videos` that a filter lets one of their segments through."""
    if _of_segments(node):
        return Video.id.in_(sa.select(Segment.video_id).join(Video, Video.id == Segment.video_id).where(clause(node)))
    # All of a video's segments or none, and there are thousands of times as many.
    return sa.exists().where(Segment.video_id == Video.id) & clause(node, Video.id.expression)


def _of_segments(node: Node) -> bool:
    match node:
        case And(nodes) | Or(nodes):
            return any(map(_of_segments, nodes))
        case Not(inner):
            return _of_segments(inner)
        case Term():
            return node.field in ("start", "end", "length") or not (node.field in _FACTS or node.field in _OF_VIDEOS)


def clause(node: Node, video: Column = Segment.video_id.expression) -> Condition:
    """Return a filter as a condition on `segments` joined to `videos`; it is never NULL. `video`: where the video's id is."""
    match node:
        case And(nodes):
            return sa.and_(*(clause(one, video) for one in nodes))
        case Or(nodes):
            return sa.or_(*(clause(one, video) for one in nodes))
        case Not(inner):
            return sa.not_(clause(inner, video))
        case Term():
            return _term(node, video)


def _term(term: Term, video: Column) -> Condition:
    if term.field in _FACTS:
        column = _FACTS[term.field]
        return sa.and_(column.is_not(None), _test(column, term))
    if term.field in _OF_VIDEOS:
        owner, column = _OF_VIDEOS[term.field]
        # A set of videos that is worked out once, where EXISTS would be asked for each segment.
        return video.in_(sa.select(owner).where(_test(column, term)))
    lines = sa.select(Line.segment_id).where(_test(Line.text.expression, term))
    return Segment.id.in_(lines if term.field == "text" else lines.where(Line.expert == term.field))


def _test(column: Column, term: Term) -> Condition:
    if not term.values:
        return sa.false()
    if term.op == "contains":
        return contains(column, str(term.values[0]))
    if isinstance(term.values[0], date):
        if len(term.values) > _WIDE:
            return _among_dates(column, [value for value in term.values if isinstance(value, date)])
        return sa.or_(*(_when(column, term.op, value) for value in term.values))
    if term.op == "in":
        return column.in_(term.values)
    return _COMPARE[term.op](column, term.values[0])


def contains(column: Column, text: str) -> Condition:
    """Return the condition that a column has a text in it.

    Upper and lower case are alike, character by character; SQLite by itself knows only those of ASCII.
    """
    if all(c.isascii() or c.lower() == c.upper() for c in text):
        return column.icontains(text, autoescape=True)
    return column.regexp_match("".join(map(_either_case, text)))  # ten times slower on SQLite


def _either_case(c: str) -> str:
    cases = "".join(sorted({one for one in (c, c.lower(), c.upper()) if len(one) == 1}))
    return f"[{cases}]" if len(cases) > 1 else re.sub(r"[^\w\s]", r"\\\g<0>", c, flags=re.ASCII) if c.isascii() else c


def _when(column: Column, op: Op, value: Value) -> Condition:
    """Compare with an instant, or with a day as the stretch of time that it is."""
    assert isinstance(value, date)
    if isinstance(value, datetime):
        first = last = value
    else:
        first, last = datetime.combine(value, time.min, UTC), datetime.combine(value, time.max, UTC)
    match op:
        case "lt" | "gte":
            return _COMPARE[op](column, first)
        case "lte" | "gt":
            return _COMPARE[op](column, last)
    return column.between(first, last)


def _among_dates(column: Column, values: Sequence[date]) -> Condition:
    """Tell whether a time since 1970 is one of many instants, or on one of many days."""
    seconds = sa.extract("epoch", column)
    days = [int(datetime.combine(one, time.min, UTC).timestamp()) for one in values if not isinstance(one, datetime)]
    instants = [one for one in values if isinstance(one, datetime)]
    return sa.or_(column.in_(instants), (seconds - seconds % _DAY).in_(days))


_COMPARE: Mapping[str, Callable[[Column, Any], Condition]] = {
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
}


def basename(path: Column) -> Column:
    """Return what follows the last slash: all that is left when the characters that are no slash are taken off the end.

    Without a slash, what follows the root's name: what is left when its characters, and a colon, are taken off the beginning.
    """
    folder = sa.func.rtrim(path, sa.func.replace(path, "/", ""))
    bare = sa.func.ltrim(path, _ROOT, type_=sa.String())
    last = sa.func.substr(path, sa.func.length(folder) + 1)
    right = sa.and_(~path.contains("/"), bare.startswith(":"))
    return sa.type_coerce(sa.case((right, sa.func.substr(bare, 2)), else_=last), sa.String())


def _number(column: Any) -> Column:
    return sa.type_coerce(column, sa.Double())  # or PostgreSQL would round what an integer is compared with


_FACTS: Mapping[str, Column] = {
    "duration": Video.duration.expression,
    "width": _number(Video.width),
    "height": _number(Video.height),
    "rate": Video.rate.expression,
    "codec": Video.codec.expression,
    "audio": Video.has_audio.expression,
    "added": Video.added_at.expression,
    "video": Video.id.expression,
    "start": Segment.start.expression,
    "end": Segment.end.expression,
    "length": Segment.end - Segment.start,
}
_OF_VIDEOS: Mapping[str, tuple[Column, Column]] = {
    "path": (File.video_id.expression, File.path.expression),
    "name": (File.video_id.expression, basename(File.path.expression)),
    "tag": (Tag.video_id.expression, Tag.name.expression),
}
