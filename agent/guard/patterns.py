"""The patterns of policy rules, compiled so that no pattern can take more than linear time.

In a pattern ``*`` stands for any characters within one segment, ``?`` for one character, and
``**``, alone between slashes, for any number of segments, none included. All else stands for
itself, case included; nothing is decoded, since the stores decode nothing either.
"""

import re
from dataclasses import dataclass
from itertools import takewhile

from agent.artifact_uri import MAX_URI_CHARACTERS, ArtifactUri

_LONGEST_ANCHOR = 3
_WHOLE_SEGMENTS = r"(?:/[^/]*)*"


@dataclass(frozen=True, slots=True)
class ArtifactPattern:
    """Matches whole artifact URIs; *scheme* None stands for every scheme.

    *anchor* is what every URI that it matches begins with, as `anchors` returns it.
    """

    scheme: str | None
    path: re.Pattern[str]
    anchor: tuple[str, ...]

    def matches(self, uri: ArtifactUri) -> bool:
        if self.scheme is not None and self.scheme != uri.scheme:
            return False
        return self.path.fullmatch("".join(f"/{part}" for part in _parts(uri))) is not None


def anchors(uri: ArtifactUri) -> list[tuple[str, ...]]:
    """Return every anchor that a pattern which matches *uri* can have."""
    parts = (uri.scheme, *_parts(uri))
    return [parts[:length] for length in range(min(len(parts), _LONGEST_ANCHOR) + 1)]


def _parts(uri: ArtifactUri) -> tuple[str, ...]:
    return (uri.bucket, *uri.segments) if uri.bucket else uri.segments


def compile_pattern(text: str) -> ArtifactPattern:
    """Return the pattern of an artifact URI that *text* writes.

    ``s3://ml/prod/**`` matches ``s3://ml/prod`` and everything below it. Without a scheme, as in
    ``**/pii/**``, a pattern is held against the bucket and the segments of every scheme.

    Raises:
        ValueError: *text* can't match any URI, or not what its author seems to mean.
    """
    scheme, separator, rest = text.rpartition("://")
    if separator and not (scheme.isalnum() and scheme.isascii()):
        raise ValueError("a pattern starts with a plain scheme, as in s3://bucket/**, or with none")
    if scheme.lower() == "file":
        if not rest.startswith("/"):
            raise ValueError("a file pattern has three slashes, as in file:///srv/artifacts/**")
        rest = rest[1:]
    segments = _segments(rest)
    anchor = (scheme.lower(), *takewhile(_is_literal, segments))[:_LONGEST_ANCHOR]
    return ArtifactPattern(
        scheme=scheme.lower() or None,
        path=re.compile(_regex(segments)),
        anchor=anchor if scheme else (),
    )


def compile_name(text: str) -> re.Pattern[str]:
    """Return the pattern of a name, as of a pipeline: one segment, to be used with ``fullmatch``.

    Raises:
        ValueError: *text* is not one segment, or contains ``**``.
    """
    segments = _segments(text)
    if len(segments) != 1 or segments == ["**"]:
        raise ValueError("a pattern of names has no slashes and no '**', as in train-*")
    return re.compile(_segment_regex(segments[0]))


def _segments(text: str) -> list[str]:
    if len(text) > MAX_URI_CHARACTERS:
        raise ValueError(f"a pattern has at most {MAX_URI_CHARACTERS} characters")
    if any(ord(c) < 0x20 or ord(c) == 0x7F or c == "\\" for c in text):
        raise ValueError("a pattern has no control characters and no backslashes")
    segments = text.removesuffix("/").split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError("a pattern has no empty, '.' or '..' segments")
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("'**' stands alone between slashes, as in s3://bucket/**/name")
    return segments


def _is_literal(segment: str) -> bool:
    return "*" not in segment and "?" not in segment


def _regex(segments: list[str]) -> str:
    """Return a regex over ``/segment/segment``.

    Between two ``**`` the leftmost match is as good as any, so each is an atomic group that is
    never tried again; only the last run, which has to end at the end, is tried at every segment.
    """
    first, *runs = _runs_between_double_stars(segments)
    regex = "".join(first)
    if not runs:
        return regex
    *middle, last = runs
    for run in middle:
        if run:
            regex += f"(?>{_WHOLE_SEGMENTS}?{''.join(run)}(?=/|\\Z))"
    return regex + _WHOLE_SEGMENTS + "".join(last)


def _runs_between_double_stars(segments: list[str]) -> list[list[str]]:
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append("/" + _segment_regex(segment))
    return runs


def _segment_regex(segment: str) -> str:
    first, *pieces = (re.escape(piece).replace(r"\?", "[^/]") for piece in segment.split("*"))
    if not pieces:
        return first
    *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle) + rf"[^/]*{last}(?=/|\Z)"
