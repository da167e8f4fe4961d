"""The policy that narrows a session to reading some places of S3. Who asks for it is not known.

It takes away only: a session never may what its role or key may not.
"""

from collections.abc import Sequence
from typing import Any

from agent.artifact_uri import ArtifactUri
from agent.clouds.aws.sts import Policy

# In a policy these stand for more than themselves.
_LITERAL = str.maketrans({"*": "${*}", "?": "${?}", "$": "${$}"})


# For buckets that are encrypted with a key of the customer's: S3 alone may use it for us.
_DECRYPT: dict[str, Any] = {
    "Effect": "Allow",
    "Action": "kms:Decrypt",
    "Resource": "*",
    "Condition": {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
}


def reading_policy(places: Sequence[ArtifactUri], *, partition: str = "aws") -> Policy:
    """Return what reads, lists and locates *places*, buckets or prefixes of them, and no others."""
    buckets: dict[str, list[str]] = {}
    for place in _outermost(places):
        buckets.setdefault(place.bucket, []).append(place.key.translate(_LITERAL))
    arns = {bucket: f"arn:{partition}:s3:::{bucket}" for bucket in buckets}
    objects = [
        f"{arns[bucket]}/{below}"
        for bucket, prefixes in buckets.items()
        for prefix in prefixes
        for below in ([prefix, f"{prefix}/*"] if prefix else ["*"])
    ]
    whole = [arns[bucket] for bucket, prefixes in buckets.items() if not all(prefixes)]
    partly = {arns[bucket]: prefixes for bucket, prefixes in buckets.items() if all(prefixes)}
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allowed(["s3:GetObject", "s3:GetObjectVersion"], objects),
            *([_allowed(["s3:GetBucketLocation", "s3:ListBucket"], whole)] if whole else []),
            *([_allowed(["s3:GetBucketLocation"], list(partly))] if partly else []),
            *(_listing(bucket, prefixes) for bucket, prefixes in partly.items()),
            _DECRYPT,
        ],
    }


def _outermost(places: Sequence[ArtifactUri]) -> list[ArtifactUri]:
    return [
        place
        for place in dict.fromkeys(places)
        if not any(place != other and place.within(other) for other in places)
    ]


def _listing(bucket: str, prefixes: Sequence[str]) -> dict[str, Any]:
    below = [f"{prefix}/*" for prefix in prefixes]
    condition = {"StringLike": {"s3:prefix": below}}
    return {**_allowed(["s3:ListBucket"], [bucket]), "Condition": condition}


def _allowed(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
