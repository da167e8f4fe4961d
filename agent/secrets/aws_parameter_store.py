"""What the Parameter Store of AWS Systems Manager is asked for."""

from typing import TYPE_CHECKING

from agent.clouds.aws.boto import Endpoint, Service
from agent.credentials import AwsCredentials
from agent.secrets.base import SecretValue
from agent.secrets.fields import text_fields

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class ParameterStore:
    """Parameters, decrypted where they are encrypted; JSON members can be named as fields.

    A name with slashes gets the one before it that AWS demands; it may be an ARN. A version is a
    number or a label.
    """

    title = "AWS Parameter Store"

    def __init__(self, endpoint: Endpoint) -> None:
        self._service: Service[SSMClient] = Service("ssm", endpoint, url=endpoint.url)

    async def read(self, key: AwsCredentials, name: str, version: str | None) -> SecretValue:
        full = _full(name) + (f":{version}" if version is not None else "")
        answer = await self._service.ask(
            key, lambda client: client.get_parameter(Name=full, WithDecryption=True)
        )
        return SecretValue(text_fields(answer["Parameter"]["Value"]))


def _full(name: str) -> str:
    return f"/{name}" if "/" in name and not name.startswith(("/", "arn:")) else name
