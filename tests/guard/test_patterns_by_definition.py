"""The compiled patterns against the definition of the wildcards, whatever that costs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.artifact_uri import ArtifactUri
from agent.guard.patterns import anchors, compile_pattern

_SEGMENT = st.text("ab.", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
_WILD = st.text("ab?*", min_size=1, max_size=5).filter(lambda text: "**" not in text)


def _matches(pattern: list[str], segments: list[str]) -> bool:
    if not pattern:
        return not segments
    if pattern[0] == "**":
        return any(_matches(pattern[1:], segments[n:]) for n in range(len(segments) + 1))
    return (
        bool(segments)
        and _segment_matches(pattern[0], segments[0])
        and _matches(pattern[1:], segments[1:])
    )


def _segment_matches(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_segment_matches(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and _segment_matches(pattern[1:], text[1:])


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    pattern=st.lists(st.one_of(_WILD, st.just("**")), min_size=1, max_size=6),
    segments=st.lists(_SEGMENT, min_size=1, max_size=6),
    scheme=st.sampled_from(["", "s3://", "gs://"]),
)
def test_a_pattern_matches_what_its_definition_says(
    pattern: list[str], segments: list[str], scheme: str
) -> None:
    uri = ArtifactUri.parse("s3://" + "/".join(segments))
    compiled = compile_pattern(scheme + "/".join(pattern))

    assert compiled.matches(uri) == (scheme != "gs://" and _matches(pattern, segments))
    assert not compiled.matches(uri) or compiled.anchor in anchors(uri)
