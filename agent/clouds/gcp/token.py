"""What logins to Google Cloud pass on among themselves. No I/O lives here."""

from dataclasses import dataclass
from datetime import datetime

from agent.secret import Secret


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, with what was said of it when it was issued."""

    secret: Secret
    expires_at: datetime | None = None
    project_id: str | None = None
    principal: str | None = None
    """Whose it is; None where only Google's service for that knows."""
    whole: Secret | None = None
    """What it was before it was narrowed; None where it was not."""
