"""Artifact URIs, normalised once, so that policy and stores compare the same thing.

Nothing else in the agent splits a URI. Comparison is by scheme, bucket and whole path segments: a
textual prefix would let ``s3://acme/zenml-other`` pass for ``s3://acme/zenml``.
"""

import re
from dataclasses import dataclass
from typing import Self

MAX_URI_CHARACTERS = 4096
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ArtifactUri:
    """A URI ``scheme://bucket/segment/segment``; `bucket` is empty for ``file:///path``."""

    scheme: str
    bucket: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the one normal form of *text*.

        A trailing slash is dropped. Object keys are taken as they stand: nothing is
        percent-decoded, so what the policy saw is what the store is asked for.

        Raises:
            ValueError: *text* has no scheme, an empty, ``.`` or ``..`` segment, a control
                character, half of a surrogate pair, a backslash, or is too long. The message never
                repeats *text*.
        """
        if len(text) > MAX_URI_CHARACTERS:
            raise ValueError(f"a URI has at most {MAX_URI_CHARACTERS} characters")
        if _FORBIDDEN.search(text):
            raise ValueError("a URI has no control characters, backslashes and half characters")
        scheme, separator, rest = text.partition("://")
        if not separator or not scheme.isalnum() or not scheme.isascii():
            raise ValueError("a URI starts with a scheme, as in s3://bucket/key or file:///path")
        bucket, _, path = rest.partition("/")
        segments = tuple(path.removesuffix("/").split("/")) if path.removesuffix("/") else ()
        if any(segment in ("", ".", "..") for segment in segments):
            raise ValueError("a URI has no empty, '.' or '..' segments")
        scheme = scheme.lower()
        if scheme == "file" and bucket:
            raise ValueError("a file URI has three slashes, as in file:///srv/artifacts")
        if scheme != "file" and not bucket:
            raise ValueError("a URI names a bucket after the scheme, as in s3://bucket/key")
        return cls(scheme, bucket, segments)

    def within(self, root: "ArtifactUri") -> bool:
        """Say whether this is *root* or lies below it."""
        return (self.scheme, self.bucket) == (root.scheme, root.bucket) and self.segments[
            : len(root.segments)
        ] == root.segments

    @property
    def key(self) -> str:
        """The segments joined by slashes, without a leading one: the object's key."""
        return "/".join(self.segments)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".removesuffix("/")
