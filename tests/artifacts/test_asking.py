"""One question to a store: what is tried again, with which credentials, and what is not."""

import pytest
from structlog.testing import capture_logs

from agent.artifacts.asking import ask
from agent.credentials import AwsCredentials
from agent.errors import (
    AccessDenied,
    CredentialUnavailable,
    JobError,
    NotFound,
    StoreUnavailable,
)
from agent.retrying import TRIES
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import aws_credentials
from tests.servers.seaweedfs import READER

OLD, NEW = aws_credentials("http://store"), aws_credentials("http://store", READER)


class Scripted:
    """A store that answers each question with the next of *answers*; remembers who asked."""

    def __init__(self, *answers: str | JobError) -> None:
        self._answers = list(answers)
        self.asked_with: list[AwsCredentials] = []

    async def __call__(self, credentials: AwsCredentials) -> str:
        self.asked_with.append(credentials)
        answer = self._answers.pop(0)
        if isinstance(answer, JobError):
            raise answer
        return answer


async def test_a_good_answer_takes_one_question() -> None:
    store = Scripted("data")

    assert "data" == await ask(GivenConnector(OLD), store, store="training")
    assert [OLD] == store.asked_with


async def test_a_store_that_does_not_answer_is_asked_again() -> None:
    store = Scripted(StoreUnavailable(), StoreUnavailable(), "data")
    connector = GivenConnector(OLD, NEW)

    assert "data" == await ask(connector, store, store="training")
    assert [OLD] * 3 == store.asked_with
    assert [] == connector.invalidated


@pytest.mark.parametrize("tries", [1, 2, TRIES])
async def test_a_store_that_never_answers_is_asked_so_often(tries: int) -> None:
    failures = [StoreUnavailable(detail=str(number)) for number in range(tries)]
    store = Scripted(*failures)

    with pytest.raises(StoreUnavailable) as failure:
        await ask(GivenConnector(OLD), store, store="training", tries=tries)

    assert (tries, failures[-1]) == (len(store.asked_with), failure.value)


async def test_refused_credentials_are_dropped_and_others_tried_once() -> None:
    store = Scripted(AccessDenied(detail="ExpiredToken"), "data")
    connector = GivenConnector(OLD, NEW)

    with capture_logs() as logs:
        assert "data" == await ask(connector, store, store="training")

    assert [OLD, NEW] == store.asked_with
    assert [OLD] == connector.invalidated
    assert [("credential.refused", "training", "given", "ExpiredToken")] == [
        (line["event"], line["store"], line["connector"], line["code"]) for line in logs
    ]


async def test_the_second_refusal_is_the_last() -> None:
    store = Scripted(AccessDenied(detail="one"), AccessDenied(detail="two"))
    connector = GivenConnector(OLD, NEW)

    with pytest.raises(AccessDenied) as refusal:
        await ask(connector, store, store="training")

    assert [OLD, NEW] == store.asked_with
    assert refusal.value.detail == "the store refuses connector given: two"
    assert refusal.value.__cause__ is None


async def test_others_are_asked_as_patiently_as_the_first() -> None:
    store = Scripted(StoreUnavailable(), AccessDenied(), StoreUnavailable(), "data")

    assert "data" == await ask(GivenConnector(OLD, NEW), store, store="training")
    assert [OLD, OLD, NEW, NEW] == store.asked_with


async def test_what_the_store_says_of_the_object_is_final() -> None:
    store = Scripted(NotFound())

    with pytest.raises(NotFound):
        await ask(GivenConnector(OLD), store, store="training")

    assert [OLD] == store.asked_with


async def test_without_credentials_nothing_is_asked() -> None:
    store = Scripted()

    with pytest.raises(CredentialUnavailable):
        await ask(EmptyConnector(AwsCredentials), store, store="training")

    assert [] == store.asked_with
