"""Makes obstore clients that know nothing but what they are told. Requests are made elsewhere."""

import atexit
import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent.artifacts.s3.address import Address
from agent.artifacts.s3.gate import way_out
from agent.credentials import AwsCredentials
from agent.errors import CredentialUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential, S3Store

_CONNECT = timedelta(seconds=5)
# obstore would cut a transfer after 30 s in all, however well it goes. The reader may be slow:
# what bounds a transfer is its job's deadline, and `s3` bounds each block.
_WHOLE_TRANSFER = timedelta(days=7)
_EXIT_SECONDS = 0.05
# Who asks tries again, with the credentials of that moment; obstore would use these ones.
_RETRY: "RetryConfig" = {
    "max_retries": 0,
    "retry_timeout": timedelta(),
    "backoff": {
        "init_backoff": timedelta(),
        "max_backoff": timedelta(),
        "base": 2,
    },
}


def make_client(bucket: str, credentials: AwsCredentials) -> "S3Store":
    """Return a client with a connection pool of its own, for *bucket* with *credentials*.

    obstore reads each option that is not given from an AWS_* variable, so everything that says
    where to go and as whom is given here. Credentials go in by a callback, because a key that is
    given as an option would still be paired with a session token from the environment.

    Raises:
        StoreUnavailable: The file with the CA can't be read.
        CredentialUnavailable: A credential has characters that no HTTP header can hold.
    """
    from obstore.store import S3Store

    _exit_after_obstore()
    _require_sendable(credentials)
    address = Address.of(bucket, credentials)
    return S3Store(
        bucket,
        credential_provider=lambda: _revealed(credentials),
        # This key wins over `endpoint`, and so would AWS_ENDPOINT_URL_S3.
        aws_endpoint_url_s3=address.url,
        virtual_hosted_style_request=address.virtual_hosted,
        region=address.region,
        request_payer=credentials.s3.requester_pays,
        skip_signature=False,
        s3_express=False,
        imdsv1_fallback=False,
        client_options=_client_options(address.url, credentials),
        retry_config=_RETRY,
    )


@cache
def _exit_after_obstore() -> None:
    """Have the end of the process wait a moment for obstore's threads.

    They can't be joined. One that has just handed over a result still has to let go of it, and
    aborts the process when it finds the interpreter gone: seen in one of ten runs that ended with
    their first read (https://github.com/PyO3/pyo3-async-runtimes/issues/40).
    """
    atexit.register(time.sleep, _EXIT_SECONDS)


def _revealed(credentials: AwsCredentials) -> "S3Credential":
    token = credentials.session_token
    return {
        "access_key_id": credentials.access_key_id.reveal(),
        "secret_access_key": credentials.secret_access_key.reveal(),
        "token": None if token is None else token.reveal(),
        # The connector minds the expiry: newer credentials get a client of their own.
        "expires_at": None,
    }


def _require_sendable(credentials: AwsCredentials) -> None:
    """Refuse what obstore would panic at, such as the newline at the end of a file."""
    for name, value in _revealed(credentials).items():
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise CredentialUnavailable(detail=f"{name} has characters that no header can hold")


def _client_options(url: str, credentials: AwsCredentials) -> "ClientConfig":
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "allow_invalid_certificates": False,
        "connect_timeout": _CONNECT,
        "timeout": _WHOLE_TRANSFER,
    }
    # obstore follows redirects, and connects where nobody looks: only the gate can stop it.
    if (gate := way_out(url)) is not None:
        options["proxy_url"] = gate
    if credentials.ca_file is not None:
        options["root_certificate"] = _read(credentials.ca_file)
    return options


def _read(ca_file: Path) -> bytes:
    try:
        return ca_file.read_bytes()
    except OSError as error:
        raise StoreUnavailable(detail=f"{ca_file}: {error.strerror}") from error
