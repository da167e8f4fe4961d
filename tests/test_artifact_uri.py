"""Whether two URIs mean the same place is decided once, here, and by whole segments."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.artifact_uri import MAX_URI_CHARACTERS, ArtifactUri

SEGMENTS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1
    ).filter(lambda segment: segment not in (".", "..")),
    max_size=5,
).map(tuple)
ROOT = ArtifactUri.parse("s3://acme/zenml")


@given(SEGMENTS)
@example(("%2e%2e", "a%2Fb"))
def test_what_is_written_is_read_back(segments: tuple[str, ...]) -> None:
    uri = ArtifactUri("s3", "acme", segments)

    assert uri == ArtifactUri.parse(str(uri))
    assert uri == ArtifactUri.parse(f"{uri}/")


@given(st.text())
@example("s3://acme/zenml/../payroll/x")
@example("s3://acme/\ud800")
def test_any_text_is_refused_or_has_one_normal_form(text: str) -> None:
    try:
        uri = ArtifactUri.parse(text)
    except ValueError:
        return
    assert uri == ArtifactUri.parse(str(uri))
    assert not {"", ".", ".."} & set(uri.segments)
    str(uri).encode()


@given(SEGMENTS, SEGMENTS)
def test_within_is_by_whole_segments(root: tuple[str, ...], below: tuple[str, ...]) -> None:
    outer = ArtifactUri("s3", "acme", root)
    inner = ArtifactUri("s3", "acme", root + below)

    assert inner.within(outer)
    assert outer.within(inner) == (not below)
    assert not ArtifactUri("s3", "other", root + below).within(outer)


@pytest.mark.parametrize("uri", ["s3://acme/zenml", "s3://acme/zenml/", "S3://acme/zenml/a/b"])
def test_root_and_what_is_below_are_within(uri: str) -> None:
    assert ArtifactUri.parse(uri).within(ROOT)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://acme/zenml-other-tenant/x",
        "s3://acme/zenm",
        "s3://acme/ZENML/x",
        "s3://acme",
        "s3://ACME/zenml/x",
        "s3://acme.evil/zenml/x",
        "gs://acme/zenml/x",
        "s3://acme/%7Aenml/x",
        "s3://user@acme/zenml/x",
    ],
)
def test_look_alikes_are_not_within(uri: str) -> None:
    assert not ArtifactUri.parse(uri).within(ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "s3://acme/zenml/../payroll/x",
        "s3://acme/zenml/./x",
        "s3://acme/zenml/..",
        "s3://acme//zenml",
        "s3://acme/zenml//",
        "s3://acme/zenml\\..\\x",
        "s3://acme/zenml/x\n",
        "s3://acme/zenml/\x00",
        "s3://acme/zenml/\x7f",
        "s3://acme/zenml/\ud800",
        "s3:///zenml",
        "s3://",
        "s3:/acme/zenml",
        "acme/zenml",
        "",
        "://acme",
        "s 3://acme",
        "\u017f3://acme",
        "file://host/srv",
        "file://..",
        "s3://acme/" + "x" * MAX_URI_CHARACTERS,
    ],
)
def test_what_could_mean_two_things_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="URI") as refusal:
        ArtifactUri.parse(text)

    assert len(text) < 6 or text not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "key"), [("s3://b/a%2Fb", "a%2Fb"), ("s3://b/a+b?c#d", "a+b?c#d"), ("s3://b/", "")]
)
def test_keys_are_taken_as_they_stand(text: str, key: str) -> None:
    assert key == ArtifactUri.parse(text).key


def test_file_has_no_bucket() -> None:
    uri = ArtifactUri.parse("file:///srv/artifacts/")

    assert ("", ("srv", "artifacts"), "file:///srv/artifacts") == (
        uri.bucket,
        uri.segments,
        str(uri),
    )
