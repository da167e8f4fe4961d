"""Signs a SAS token with a user delegation key. Asking for the key is `storage`'s part.

The SDK signs in the form of the newest version that it knows, which private clouds and emulators
need not know. This form, of late 2020, is understood by all of them.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from agent.secret import Secret

if TYPE_CHECKING:
    from azure.storage.blob import UserDelegationKey

_VERSION = "2020-12-06"
_READ_AND_LIST = "rl"
_CONTAINER = "c"


@dataclass(frozen=True, slots=True)
class Grant:
    """To read and list one container from *starts* to *ends*."""

    account: str
    container: str
    starts: datetime
    ends: datetime

    def signed(self, key: "UserDelegationKey") -> Secret:
        """Return the SAS token that proves it."""
        signature = hmac.digest(
            base64.b64decode(key.value or ""), self._text(key).encode(), hashlib.sha256
        )
        parameters = {
            "sp": _READ_AND_LIST,
            "st": _time(self.starts),
            "se": _time(self.ends),
            "skoid": key.signed_oid,
            "sktid": key.signed_tid,
            "skt": key.signed_start,
            "ske": key.signed_expiry,
            "sks": key.signed_service,
            "skv": key.signed_version,
            "spr": "https",
            "sv": _VERSION,
            "sr": _CONTAINER,
            "sig": base64.b64encode(signature).decode(),
        }
        return Secret(urlencode(parameters))

    def _text(self, key: "UserDelegationKey") -> str:
        """Return what is signed: every field that a SAS can have in a line, most are empty."""
        lines = [
            _READ_AND_LIST,
            _time(self.starts),
            _time(self.ends),
            f"/blob/{self.account}/{self.container}",
            key.signed_oid,
            key.signed_tid,
            key.signed_start,
            key.signed_expiry,
            key.signed_service,
            key.signed_version,
            *[""] * 4,  # other users, a correlation, addresses
            "https",
            _VERSION,
            _CONTAINER,
            *[""] * 7,  # a snapshot, an encryption scope, headers of the answer
        ]
        return "\n".join(line or "" for line in lines)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
