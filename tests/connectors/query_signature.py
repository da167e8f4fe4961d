"""Who a query-signed request is from, by the rules of AWS's signature version 4 that STS applies.

Neither SeaweedFS nor moto does for STS; EKS has STS answer this question.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit


def signer_of(url: str, headers: Mapping[str, str], secrets: Mapping[str, str]) -> str | None:
    """Return the key id that signed a GET of *url* with *headers*; None where nobody did.

    *secrets* holds the secret of each key id.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    signature = query.pop("X-Amz-Signature")
    key_id, *scope = query["X-Amz-Credential"].split("/")
    began = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    life = timedelta(seconds=int(query["X-Amz-Expires"]))
    if key_id not in secrets or not began <= datetime.now(UTC) <= began + life:
        return None
    sent = {"host": parts.netloc, **headers}
    names = query["X-Amz-SignedHeaders"].split(";")
    canonical = [
        "GET",
        parts.path,
        "&".join(f"{_quoted(name)}={_quoted(query[name])}" for name in sorted(query)),
        *(f"{name}:{sent.get(name, '')}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(b"").hexdigest(),
    ]
    text = "\n".join(canonical).encode()
    signed = [query["X-Amz-Algorithm"], query["X-Amz-Date"], "/".join(scope)]
    signed.append(hashlib.sha256(text).hexdigest())
    key = f"AWS4{secrets[key_id]}".encode()
    for step in (*scope, "\n".join(signed)):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return key_id if hmac.compare_digest(key.hex(), signature) else None


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
