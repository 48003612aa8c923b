"""How lines of the log look: for people, or an object each for programs; all bear the request and the job that they are about."""

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

from hit import deployment, traces
from hit.deployment import Log

_JSON = json.JSONEncoder(default=str)
LINE = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"


class Line(logging.Formatter):
    """Lines for people."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name for it
        """Return a record's line, before what an error's traceback adds."""
        line = super().formatMessage(record)
        job, request = traces.current_job(), traces.current_id()
        if request in line:  # it says so itself, or there is none
            return f"{line} (job {job})" if job else line
        return f"{line} (job {job}, request {request})" if job else f"{line} (request {request})"


class Json(logging.Formatter):
    """Lines for programs: {time, level, logger, process, message}, and where there are such request, job, trace, error.

    What a record has as `fields` is in it, too. An error is its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        ids = {"request": traces.current_id(), "job": traces.current_job(), "trace": traces.trace_id()}
        told |= {key: value for key, value in ids.items() if value}
        told |= getattr(record, "fields", {})
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return _JSON.encode(told)


def config(log: Log) -> dict[str, Any]:
    """Return what `logging.config` takes. What uvicorn says below WARNING, hit says, or nobody; as of spans sent again."""
    formatter: dict[str, Any] = {"()": Json} if log.format == "json" else {"()": Line, "fmt": LINE}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen", "stream": "ext://sys.stderr"}},
        "loggers": {"hit": {"level": log.level.upper()}, "uvicorn": {"level": "WARNING"}, "opentelemetry": {"level": "ERROR"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }


def set_up(log: Log | None = None) -> None:
    """Have this process log to stderr as it is told, or as hit.toml says. Raises UserError for one that does not fit."""
    logging.config.dictConfig(config(log or deployment.read().log))
