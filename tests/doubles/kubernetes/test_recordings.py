"""The double of Kubernetes answers as the real API server did whose exchanges were recorded."""

import pytest

from tests.doubles.kubernetes.api import KubernetesApi
from tests.doubles.kubernetes.authentication import ADMIN, Authentication, User
from tests.doubles.kubernetes.replay import Replay, exchanges
from tests.doubles.kubernetes.storage import Key, Storage

BOOTSTRAP = "01-bootstrap"
RECORDINGS = {
    "02-discovery": 10,
    "13-who-may-what": 50,
    "15-service-secret-configmap": 13,
    "19-official-client": 4,
    "22-no-anonymous": 5,
}
"""How many exchanges of each file the double has a notion of."""


class Recorded:
    """A double as the bootstrap left the recorded server, and the tokens of those who ask."""

    def __init__(self, *, anonymous: bool = True) -> None:
        self.storage = Storage()
        tokens = {"admin-token": ADMIN, "nobody-token": User("nobody")}
        self.authentication = Authentication(self.storage, tokens, anonymous=anonymous)
        # The recorded server is older than SelfSubjectReview.
        api = KubernetesApi(self.storage, self.authentication, self_subject_review=False)
        self.replay = Replay(api, self.token)

    def token(self, who: str) -> str | None:
        match who:
            case "anonymous":
                return None
            case "admin" | "nobody":
                return f"{who}-token"
            case "agent":
                return self.of_agent(3600)
            case "agent, expired":
                return self.of_agent(-1)
            case "agent, forged":
                return self.of_agent(3600)[:-4] + "AAAA"
            case "agent, audience vault" | "deleted account":
                return self.replay.received[f"<token:{who}>"]
        return "garbage"

    def of_agent(self, seconds: int) -> str:
        account = self.storage.get(Key("", "serviceaccounts", "mlops", "cloud-agent"))
        return self.authentication.token(account, ["https://kubernetes.default.svc"], seconds)

    def play(self, recording: str) -> tuple[int, list[str]]:
        """Replay all of it; returns how many exchanges, and every difference."""
        played = list(exchanges(recording))
        return len(played), [found for one in played for found in self.replay.differences(one)]


def test_the_bootstrap_is_answered_alike():
    assert (16, []) == Recorded().play(BOOTSTRAP)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recording_is_answered_alike(recording):
    """Status, reason, details with causes, messages, and the fields of objects."""
    recorded = Recorded(anonymous=recording != "22-no-anonymous")
    recorded.play(BOOTSTRAP)
    recorded.replay.received |= {
        "<token:agent>": recorded.of_agent(3600),
        "<token:expired>": recorded.of_agent(-1),
        "<token:forged signature>": recorded.of_agent(3600)[:-4] + "AAAA",
    }

    assert (RECORDINGS[recording], []) == recorded.play(recording)
