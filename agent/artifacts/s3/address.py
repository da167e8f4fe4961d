"""Where a bucket is reached: its name is in the host's name, or in the path. No I/O lives here."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from agent.credentials import AwsCredentials

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Address:
    """The end point as one bucket is asked at it."""

    url: str
    """Without a slash at its end; holds the bucket where *virtual_hosted* says so."""
    bucket: str
    region: str
    virtual_hosted: bool

    @classmethod
    def of(cls, bucket: str, credentials: AwsCredentials) -> Self:
        """Return where *credentials* are good for *bucket*.

        Without an end point that is AWS, where the host's name holds the bucket; one that is given
        gets it in the path. Their `addressing` may say otherwise.
        """
        region = credentials.region or DEFAULT_REGION
        url = (credentials.endpoint_url or _aws(region)).rstrip("/")
        if credentials.s3.addressing == "auto":
            # Amazon's certificate is for one label before the host, so not for a bucket with a dot.
            virtual = credentials.endpoint_url is None and "." not in bucket
        else:
            virtual = credentials.s3.addressing == "virtual"
        return cls(_with_bucket(url, bucket) if virtual else url, bucket, region, virtual)

    def url_of(self, key: str) -> str:
        """Return the URL of an object, escaped as its signature needs it."""
        path = key if self.virtual_hosted else f"{self.bucket}/{key}"
        return f"{self.url}/{quote(path, safe='/~')}"


def _aws(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _with_bucket(url: str, bucket: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
