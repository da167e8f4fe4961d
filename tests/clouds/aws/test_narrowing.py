"""The policy that narrows a session says exactly what may be read."""

import pytest

from agent.artifact_uri import ArtifactUri
from agent.clouds.aws.narrowing import reading_policy
from agent.clouds.aws.sts import compact
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
from tests.doubles.sts import running_sts


def _policy(*uris, **options):
    return reading_policy([ArtifactUri.parse(uri) for uri in uris], **options)


def test_a_prefix():
    assert {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:GetObjectVersion"],
                "Resource": ["arn:aws:s3:::acme/zenml", "arn:aws:s3:::acme/zenml/*"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation"],
                "Resource": ["arn:aws:s3:::acme"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": ["arn:aws:s3:::acme"],
                "Condition": {"StringLike": {"s3:prefix": ["zenml/*"]}},
            },
            {
                "Effect": "Allow",
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
            },
        ],
    } == _policy("s3://acme/zenml")


def test_a_bucket_is_listed_without_a_condition():
    objects, bucket, _ = _policy("s3://acme")["Statement"]

    assert ["arn:aws:s3:::acme/*"] == objects["Resource"]
    assert {
        "Effect": "Allow",
        "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::acme"],
    } == bucket


def test_a_bucket_beside_a_prefix_of_another():
    _, whole, located, listing, _ = _policy("s3://acme", "s3://other/zenml")["Statement"]

    assert ["arn:aws:s3:::acme"] == whole["Resource"]
    assert ["arn:aws:s3:::other"] == located["Resource"] == listing["Resource"]
    assert {"StringLike": {"s3:prefix": ["zenml/*"]}} == listing["Condition"]


def test_prefixes_of_one_bucket_do_not_open_another():
    objects, located, *listings, _ = _policy("s3://a/x", "s3://a/y", "s3://b/z")["Statement"]

    assert [
        f"arn:aws:s3:::{place}" for place in ("a/x", "a/x/*", "a/y", "a/y/*", "b/z", "b/z/*")
    ] == objects["Resource"]
    assert ["arn:aws:s3:::a", "arn:aws:s3:::b"] == located["Resource"]
    assert [(["arn:aws:s3:::a"], ["x/*", "y/*"]), (["arn:aws:s3:::b"], ["z/*"])] == [
        (each["Resource"], each["Condition"]["StringLike"]["s3:prefix"]) for each in listings
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_place_within_another_adds_nothing(order):
    uris = ["s3://acme/zenml", "s3://acme/zenml/runs", "s3://acme/zenml"]

    assert _policy("s3://acme/zenml") == _policy(*uris[::order])


def test_a_neighbour_with_the_same_beginning_is_another_place():
    assert 4 == len(_policy("s3://acme/a", "s3://acme/a-evil")["Statement"][0]["Resource"])


def test_signs_of_a_pattern_stand_for_themselves():
    objects, *_ = _policy("s3://acme/a*b?c${aws:username}")["Statement"]

    literal = "arn:aws:s3:::acme/a${*}b${?}c${$}{aws:username}"
    assert [literal, f"{literal}/*"] == objects["Resource"]


def test_only_characters_that_sts_takes():
    assert compact(_policy("s3://acme/modèle/模型")).isascii()


@pytest.mark.parametrize(
    ("options", "partition"),
    [
        ({"role_arn": "arn:aws-cn:iam::1:role/x"}, "aws-cn"),
        ({"role_arn": "arn:aws-us-gov:iam::1:role/x", "region": "us-gov-west-1"}, "aws-us-gov"),
        ({"method": "federation-token", "region": "cn-north-1"}, "aws-cn"),
        ({"method": "federation-token", "region": "us-gov-east-1"}, "aws-us-gov"),
        ({"method": "federation-token", "region": "eu-west-1"}, "aws"),
        ({"role_arn": "arn:aws:iam::1:role/x"}, "aws"),
    ],
)
async def test_a_policy_speaks_of_the_cloud_that_the_login_is_for(monkeypatch, options, partition):
    """STS is asked with the policy as it is sent to it."""
    monkeypatch.setenv("ID", "TESTKEY")
    key = dict.fromkeys(("access_key_id", "secret_access_key"), "secret://env/ID")
    secrets = open_secret_stores({"env": EnvSecretStore(type="env")}, on_secret=lambda _: None)
    with running_sts() as sts:
        given = {"method": "iam-role", "endpoint_url": sts.endpoint_url, **key, **options}
        aws = AwsConnector(type="aws", **given)
        readable = {"it": [ArtifactUri.parse("s3://acme/zenml")]}
        connector = open_connectors({"it": aws}, secrets, readable=readable)["it"]
        await connector.credentials()
        await connector.close()

    assert compact(_policy("s3://acme/zenml", partition=partition)) == sts.requests[0]["Policy"]
