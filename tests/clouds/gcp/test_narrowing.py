"""Tokens are narrowed to the artifact stores that they are for, or not handed out."""

import pytest
from structlog.testing import capture_logs

from agent.errors import CredentialUnavailable, UsageError

PREFIX = "projects/_/buckets/b/objects"


def rules(google):
    (boundary,) = google.boundaries
    return boundary["accessBoundary"]["accessBoundaryRules"]


async def test_a_token_is_narrowed_to_reading_the_stores_of_its_connector(connect, google, seen):
    connector = connect(readable=["gs://b/ml/models", "gs://whole", "s3://elsewhere/x"])

    credentials = await connector.credentials()

    narrow, whole = rules(google)
    assert "//storage.googleapis.com/projects/_/buckets/b" == narrow["availableResource"]
    assert ["inRole:roles/storage.objectViewer"] == narrow["availablePermissions"]
    assert (
        f"resource.name == '{PREFIX}/ml/models' || "
        f"resource.name.startsWith('{PREFIX}/ml/models/') || "
        "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('ml/models/')"
    ) == narrow["availabilityCondition"]["expression"]
    assert {"availableResource", "availablePermissions"} == whole.keys()
    assert credentials.token.reveal().startswith("narrowed-")
    assert credentials.token in seen


async def test_a_quote_in_a_prefix_ends_no_string(connect, google):
    await connect(readable=["gs://b/it's' || true || '"]).credentials()

    (rule,) = rules(google)
    expression = rule["availabilityCondition"]["expression"]
    assert f"'{PREFIX}/it\\'s\\' || true || \\'/'" in expression


async def test_a_token_that_cannot_be_narrowed_is_not_handed_out(connect, google):
    google.narrows = False

    with pytest.raises(CredentialUnavailable) as failure:
        await connect(readable=["gs://b"]).credentials()

    detail = f"the token could not be narrowed: {google.host} answered 400 invalid_request"
    assert detail == failure.value.detail


async def test_narrowing_is_left_out_where_the_configuration_says_so(connect, google):
    credentials = await connect(readable=["gs://b"], narrow=False).credentials()

    assert credentials.token.reveal().startswith("issued-")
    assert ["/token"] == google.paths()


async def test_a_connector_without_stores_is_narrowed_to_its_resource(connect, google):
    await connect(resource_type="gcs-bucket", resource_id="gs://b/x").credentials()

    assert "//storage.googleapis.com/projects/_/buckets/b" == rules(google)[0]["availableResource"]


async def test_roots_within_others_need_no_rule(connect, google):
    await connect(readable=["gs://b/x/y", "gs://b/x", "gs://b/x", "gs://b/xy"]).credentials()

    assert 2 == len(rules(google))


async def test_more_prefixes_than_google_takes_are_narrowed_by_bucket(connect, google):
    with capture_logs() as logs:
        connector = connect(readable=[f"gs://b{n % 2}/{n}" for n in range(11)])
    await connector.credentials()

    assert ["//storage.googleapis.com/projects/_/buckets/b0",
            "//storage.googleapis.com/projects/_/buckets/b1"] == [
        rule["availableResource"] for rule in rules(google)
    ]  # fmt: skip
    (told,) = logs
    assert ("credential.widened", "ml", 11, 2) == (
        told["event"], told["connector"], told["roots"], told["buckets"]
    )  # fmt: skip


def test_more_buckets_than_google_takes_are_refused_at_the_start(connect):
    with pytest.raises(UsageError, match="11 buckets"):
        connect(readable=[f"gs://b{n}" for n in range(11)])


@pytest.mark.parametrize("resource_id", ["gs://b/x", "s3://b", "b"])
def test_a_resource_that_does_not_hold_the_stores_is_refused(connect, resource_id):
    with pytest.raises(UsageError, match="resource_id"):
        connect(readable=["gs://b/xy"], resource_id=resource_id)


async def test_a_given_token_without_an_end_is_narrowed_once_for_a_while(connect, google):
    google.endless = True
    connector = connect("oauth2-token", readable=["gs://b"])

    first = await connector.credentials()

    assert first is await connector.credentials()
    assert ["/v1/token"] == google.paths()
    assert first.expires_at is not None


async def test_identity_asks_with_the_token_as_it_was_before(connect, google):
    """Google's service for that knows nothing of narrowed ones."""
    await connect("oauth2-token", readable=["gs://b"]).identity()

    token = google.requests[-1][1]["access_token"]
    assert token.startswith("issued-")
