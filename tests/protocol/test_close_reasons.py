"""What the agent reads out of a refusal or a close, whatever a peer writes there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.close_reasons import (
    BY_CODE,
    CLOSE_POLICIES,
    LONGEST_RETRY_AFTER,
    Refusal,
    describe,
    understand,
)


@pytest.mark.parametrize("reason", CLOSE_POLICIES)
def test_every_reason_is_understood_from_its_text_and_from_its_code(reason):
    policy = CLOSE_POLICIES[reason]
    expected = Refusal(reason, policy.final, policy.retry_after)

    assert expected == understand(describe(reason))
    assert expected == understand("", code=policy.code)


@pytest.mark.parametrize("reason", CLOSE_POLICIES)
def test_every_reason_fits_into_a_close_frame(reason):
    assert len(describe(reason, retry_after=3600.25)) <= 123


def test_codes_are_private_and_distinct():
    assert len(CLOSE_POLICIES) == len(BY_CODE)
    assert all(4000 <= code <= 4999 for code in BY_CODE)


def test_the_named_time_wins_over_the_usual_one():
    assert 42 == understand(describe("overloaded", retry_after=42)).retry_after


def test_a_time_is_believed_up_to_an_hour():
    text = describe("overloaded", retry_after=1e9)

    assert understand(text).retry_after == LONGEST_RETRY_AFTER


@pytest.mark.parametrize("text", ["", "no", "[]", "{}", '{"reason":7}', '{"reason":"new"}'])
def test_what_is_not_understood_is_worth_trying_again(text):
    assert not understand(text, code=4999).final


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateways_bare_401_or_403_is_final(status):
    assert understand("<html>no</html>", status=status).final


@given(st.text(max_size=300), st.integers(0, 5000), st.integers(0, 600))
def test_anything_is_understood_somehow(text, code, status):
    refusal = understand(text, code=code, status=status)

    assert refusal.retry_after is None or 0 <= refusal.retry_after <= LONGEST_RETRY_AFTER
