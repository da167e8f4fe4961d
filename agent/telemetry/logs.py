"""The agent's own log: structlog and, through the same renderer, what libraries log.

How an event becomes a line is `log_lines`' part, how the line gets out is `stderr`'s.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Literal, cast

import structlog
from structlog.typing import FilteringBoundLogger

from agent.telemetry.log_lines import (
    LONGEST_TEXT,
    Redact,
    console_line,
    exception_report,
    json_line,
    redacted,
    texts_of,
)
from agent.telemetry.stderr import Stderr

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]
Event = MutableMapping[str, Any]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_RENDERERS = {"json": json_line, "console": console_line}
_FIRST = ("timestamp", "level", "event", "job")


def get_logger() -> FilteringBoundLogger:
    """Return the log. It may be taken at import, and follows every later `configure`."""
    return cast(FilteringBoundLogger, structlog.get_logger())


def configure(level: Level, format: Format, redact: Redact) -> None:
    """Send all logs of the process to standard error, every text in them through *redact*.

    Libraries are held at WARNING whatever *level* says, since their debug logs print credentials:
    websockets the Authorization header, urllib3 signed URLs, botocore session tokens. *redact*
    is called from any thread and must not log. May be called again, as after a changed
    configuration.
    """
    lines = _Lines(format, redact, Stderr())
    _configure_structlog(lines, _LEVELS[level])
    _take_over_library_logs(lines)
    _take_over_uncaught_exceptions()


def _configure_structlog(lines: "_Lines", level: int) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lines.render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Renders events and writes them: structlog's last processor and its logger in one."""

    def __init__(self, format_: Format, redact: Redact, out: Stderr) -> None:
        self._line = _RENDERERS[format_]
        self._redact = redact
        self._out = out

    def render(self, _logger: object, _method: str, event: Event) -> str:
        """Return *event* as one redacted line."""
        if exc := _exception_of(event.pop("exc_info", None)):
            event["exception"] = exception_report(exc)
        ordered = {key: event.pop(key) for key in _FIRST if key in event} | dict(event)
        plain = redacted(ordered, _as_it_is)
        # One look at all texts at once: nearly always there is nothing to redact in any of them.
        together = "\n".join(texts_of(plain))
        if len(together) <= LONGEST_TEXT and self._redact(together) == together:
            return self._line(plain)
        return self._line(redacted(ordered, self._redact))

    def write(self, line: str) -> None:
        """Write *line*, then say how many were lost before it, if there is room again."""
        if self._out.write_line(line) and (dropped := self._out.take_dropped()):
            self._out.write_line(
                self._line({"level": "warning", "event": "log.dropped", "lines": dropped})
            )

    debug = info = warning = error = critical = write


def _as_it_is(text: str) -> str:
    return text


def _exception_of(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as exc, _):
            return exc
        case None | False | (None, None, None):
            return None
    return sys.exception()


class _LibraryHandler(logging.Handler):
    """Brings records of the standard library's `logging` to the same lines."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        event: Event = {
            "level": record.levelname.lower(),
            "event": "library.logged",
            "logger": record.name,
            "message": _message(record),
            "exc_info": record.exc_info,
        }
        structlog.contextvars.merge_contextvars(None, "", event)
        structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "", event)
        self._lines.write(self._lines.render(None, "", event))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # A library's mistake in its own format string.
        return str(record.msg)


def _take_over_library_logs(lines: _Lines) -> None:
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if type(handler) in (_LibraryHandler, logging.StreamHandler):
            root.removeHandler(handler)
    root.addHandler(_LibraryHandler(lines))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _take_over_uncaught_exceptions() -> None:
    """The interpreter's own reports go to standard error as they are, unredacted."""
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _uncaught(
    kind: type[BaseException], exc: BaseException | None, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    get_logger().critical("exception.uncaught", exc_info=(kind, exc or kind(), trace))


def _as_it_stands(text: str) -> str:
    return text


_configure_structlog(_Lines("json", _as_it_stands, Stderr()), logging.INFO)
