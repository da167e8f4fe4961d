"""Signs a request to S3 that obstore can't make, by AWS's signature version 4.

Loads nothing: botocore's signer would bring a tenth of the agent's memory with it. Who sends the
request is not known here.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from agent.credentials import AwsCredentials

_NO_BODY = hashlib.sha256(b"").hexdigest()
_USUAL_PORTS = {"http": 80, "https": 443}


def signed_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    region: str,
    credentials: AwsCredentials,
    now: datetime,
) -> dict[str, str]:
    """Return *headers* with those that a request without a body needs; *now* is in UTC.

    *url* has no query, and its path is signed as it stands, so it must be escaped already.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {
        **{name.lower(): value for name, value in headers.items()},
        "host": _host(url),
        "x-amz-content-sha256": _NO_BODY,
        "x-amz-date": stamp,
    }
    if credentials.session_token is not None:
        signed["x-amz-security-token"] = credentials.session_token.reveal()
    names = ";".join(sorted(signed))
    fields = [f"{name}:{signed[name]}" for name in sorted(signed)]
    canonical = [method, urlsplit(url).path or "/", "", *fields, "", names, _NO_BODY]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signature = _hmac(_key(credentials, scope), text).hex()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id.reveal()}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _host(url: str) -> str:
    """Return what goes into the header: no port where it is the scheme's own."""
    parts = urlsplit(url)
    if parts.port == _USUAL_PORTS.get(parts.scheme):
        return parts.netloc.rpartition(":")[0]
    return parts.netloc


def _key(credentials: AwsCredentials, scope: str) -> bytes:
    key = f"AWS4{credentials.secret_access_key.reveal()}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
