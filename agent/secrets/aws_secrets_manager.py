"""What AWS Secrets Manager is asked for."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.clouds.aws.boto import Endpoint, Service
from agent.credentials import AwsCredentials
from agent.secret import Secret
from agent.secrets.base import SecretValue
from agent.secrets.fields import WHOLE, text_fields

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_LEAST_OF_ID = 32
"""Characters that the id of a version has; AWS's and customers' stages have fewer."""


class SecretsManager:
    """Texts, whose JSON members can be named as fields, and bytes, which are given as base64.

    A name is a secret's, or its ARN; a version is an id or a stage, as AWSPREVIOUS.
    """

    title = "AWS Secrets Manager"

    def __init__(self, endpoint: Endpoint) -> None:
        self._service: Service[SecretsManagerClient]
        self._service = Service("secretsmanager", endpoint, url=endpoint.url)

    async def read(self, key: AwsCredentials, name: str, version: str | None) -> SecretValue:
        wanted = {"SecretId": name, **_named(version)}
        return _value(
            await self._service.ask(key, lambda client: client.get_secret_value(**wanted))
        )


def _named(version: str | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"VersionId" if len(version) >= _LEAST_OF_ID else "VersionStage": version}


def _value(answer: Mapping[str, Any]) -> SecretValue:
    if "SecretString" in answer:
        return SecretValue(text_fields(answer["SecretString"]))
    binary = base64.b64encode(answer["SecretBinary"]).decode()
    return SecretValue({WHOLE: Secret(binary)})
