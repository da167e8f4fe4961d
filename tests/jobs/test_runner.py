"""From a request to its one result, through duplicates, cancels, new sessions and new processes."""

import asyncio

import pytest

from agent.errors import JournalFailed, Outcome, Reason
from agent.protocol.messages import (
    JobAccepted,
    JobCancel,
    JobContent,
    JobLog,
    JobRefused,
    JobResult,
    JobSettled,
    OpenJob,
)
from tests.jobs.conftest import Shop, standing
from tests.waiting import until


async def test_a_job_is_accepted_and_ends_in_one_result(shop: Shop):
    shop.ask("j")

    result = await shop.result("j")

    assert [JobAccepted, JobContent, JobResult] == [type(m) for m in shop.outbox.messages]
    assert (Outcome.SUCCEEDED, 10) == (result.outcome, result.trailer.bytes)


async def test_the_same_request_again_starts_nothing(shop: Shop):
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))

    shop.ask("j", "held")
    shop.gate.set()
    await shop.result("j")

    assert ["j"] == shop.started
    assert 2 == len(shop.outbox.of(JobAccepted))


async def test_a_finished_job_asked_for_again_gets_its_result_again(shop: Shop):
    shop.ask("j")
    first = await shop.result("j")

    shop.ask("j")
    await until(lambda: len(shop.outbox.of(JobResult)) == 2)

    assert [first, first] == shop.outbox.of(JobResult)
    assert ["j"] == shop.started


async def test_a_settled_job_is_remembered_in_the_next_process(shop: Shop):
    shop.ask("j")
    await shop.result("j")
    shop.runner.deliver(JobSettled(job="j"))
    await shop.kill()
    shop.open()

    shop.ask("j")
    again = await shop.result("j")

    assert Outcome.SUCCEEDED == again.outcome
    assert ["j"] == shop.started


@pytest.mark.parametrize("settled", [False, True])
async def test_the_same_id_for_something_else_is_refused(shop: Shop, settled: bool):
    shop.ask("j")
    await shop.result("j")
    if settled:
        shop.runner.deliver(JobSettled(job="j"))

    shop.ask("j", parameters={"text": "other"})
    await until(lambda: shop.outbox.of(JobRefused))

    assert Reason.DUPLICATE_CONFLICT == shop.outbox.of(JobRefused)[0].reason


@pytest.mark.parametrize(
    ("kind", "parameters", "reason"),
    [
        ("dance", {}, Reason.UNSUPPORTED),
        ("stream", {"unknown": 1}, Reason.BAD_PARAMETERS),
        ("stream", {"text": 1}, Reason.BAD_PARAMETERS),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything(shop: Shop, kind, parameters, reason):
    shop.ask("j", kind, parameters=parameters)
    await until(lambda: shop.outbox.of(JobRefused))

    assert reason == shop.outbox.of(JobRefused)[0].reason
    assert [] == shop.started
    assert shop.journal.find("j") is None


async def test_what_the_policy_denies_leaves_no_trace_but_the_refusal(shop: Shop):
    shop.allowed = False
    shop.ask("j")
    await until(lambda: shop.outbox.of(JobRefused))

    assert Reason.POLICY_DENIED == shop.outbox.of(JobRefused)[0].reason
    assert ([], None) == (shop.started, shop.journal.find("j"))


async def test_what_is_denied_is_denied_however_busy_the_agent_is(shop: Shop):
    """The policy comes before the capacity: being busy must not hide what is not allowed."""
    shop.limit = 1
    shop.ask("a", "held")
    await until(lambda: shop.outbox.of(JobLog))
    shop.allowed = False

    shop.ask("b")
    await until(lambda: shop.outbox.of(JobRefused))

    assert Reason.POLICY_DENIED == shop.outbox.of(JobRefused)[0].reason


async def test_many_requests_in_one_read_fill_the_places_and_no_more(shop: Shop):
    for n in range(20):
        shop.ask(f"j{n}", "held")
    await until(lambda: len(shop.outbox.of(JobRefused)) == 16)

    await until(lambda: len(shop.started) == 4)
    assert 4 == len(shop.outbox.of(JobAccepted))


async def test_more_than_the_limit_is_busy_and_can_be_offered_again(shop: Shop):
    shop.limit = 1
    shop.ask("a", "held")
    shop.ask("b")
    await until(lambda: shop.outbox.of(JobRefused))
    refused = shop.outbox.of(JobRefused)[0]
    shop.gate.set()
    await shop.result("a")

    shop.ask("b")

    assert ("b", Reason.BUSY) == (refused.job, refused.reason)
    assert refused.retry_after_s
    assert Outcome.SUCCEEDED == (await shop.result("b")).outcome


async def test_results_that_nobody_settles_use_up_the_room(shop: Shop, monkeypatch):
    """Else a control plane could fill the agent's memory with them."""
    monkeypatch.setattr("agent.jobs.runner.MAX_UNSETTLED", 2)
    for job in ("a", "b"):
        shop.ask(job)
        await shop.result(job)

    shop.ask("c")
    await until(lambda: shop.outbox.of(JobRefused))
    shop.runner.deliver(JobSettled(job="a"))
    shop.ask("d")

    assert Outcome.SUCCEEDED == (await shop.result("d")).outcome
    assert [("c", Reason.BUSY)] == [(r.job, r.reason) for r in shop.outbox.of(JobRefused)]


async def test_cancelling_a_job_that_waits_for_its_turn_gets_a_result(shop: Shop):
    """As after a restart, before the job was begun again."""
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    await shop.kill()
    shop.open()

    shop.runner.deliver(JobCancel(job="j"))

    assert Outcome.CANCELLED == (await shop.result("j")).outcome


async def test_a_draining_agent_takes_no_job_and_finishes_those_it_has(shop: Shop):
    shop.ask("a", "held")
    await until(lambda: shop.started)
    draining = asyncio.create_task(shop.runner.drain(30))
    await until(lambda: shop.runner.draining)

    shop.ask("b")
    await until(lambda: shop.outbox.of(JobRefused))
    shop.gate.set()
    await draining

    assert Reason.DRAINING == shop.outbox.of(JobRefused)[0].reason
    assert ["a"] == [result.job for result in shop.outbox.of(JobResult)]


async def test_a_cancel_that_comes_with_its_request_still_gets_a_result(shop: Shop):
    shop.ask("j", "held")
    shop.runner.deliver(JobCancel(job="j"))

    assert Outcome.CANCELLED == (await shop.result("j")).outcome


async def test_cancelling_undoes_what_was_begun(shop: Shop):
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    shop.runner.deliver(JobCancel(job="j"))
    shop.runner.deliver(JobCancel(job="j"))

    assert Outcome.CANCELLED == (await shop.result("j")).outcome
    assert ["j"] == shop.aborted
    assert 1 == len(shop.outbox.of(JobResult))


async def test_a_deadline_ends_a_job_and_undoes_it(shop: Shop):
    shop.ask("j", "held", deadline_s=0.05)

    result = await shop.result("j")

    assert (Outcome.TIMED_OUT, Reason.DEADLINE) == (result.outcome, result.reason)
    assert ["j"] == shop.aborted


async def test_cancelling_an_unknown_job_does_nothing(shop: Shop):
    shop.runner.deliver(JobCancel(job="nobody"))

    assert [] == shop.outbox.messages


async def test_a_failure_says_its_reason_and_no_secret(shop: Shop):
    shop.ask("j", parameters={"fail": True})

    result = await shop.result("j")

    assert (Outcome.FAILED, Reason.NOT_FOUND) == (result.outcome, result.reason)
    assert "*** is not there" == result.message
    assert ["j"] == shop.outbox.dropped


async def test_an_answer_that_fits_into_no_message_fails_as_too_large(shop: Shop):
    """It would break the link each time it is told again."""
    shop.ask("j", parameters={"text": "x" * 900_000})

    result = await shop.result("j")

    assert (Outcome.FAILED, Reason.TOO_LARGE) == (result.outcome, result.reason)


async def test_a_job_that_only_reads_is_never_told_as_durable(shop: Shop):
    shop.outbox.reader_waits = True
    shop.ask("j")
    await until(lambda: shop.outbox.content.get("j"))
    shop.ask("j")

    assert [False, False] == [accepted.durable for accepted in shop.outbox.of(JobAccepted)]


async def test_a_bug_in_a_handler_ends_its_job_and_nothing_else(shop: Shop):
    shop.ask("a", "broken")
    shop.ask("b")

    broken = await shop.result("a")

    assert (Outcome.FAILED, Reason.INTERNAL) == (broken.outcome, broken.reason)
    assert "s3cr3t" not in broken.message
    assert Outcome.SUCCEEDED == (await shop.result("b")).outcome


async def test_a_new_process_goes_on_where_the_receiver_stands(shop: Shop):
    shop.outbox.reader_waits = True
    shop.ask("j")
    await until(lambda: shop.outbox.content.get("j"))
    await shop.kill()
    shop.open()

    assert [OpenJob(job="j", state="running")] == shop.runner.open_jobs()
    shop.runner.new_session([standing("j", have_bytes=4, etag="v1")])
    result = await shop.result("j")

    assert (4, b"bytes."[-6:]) == (shop.outbox.offsets["j"], shop.outbox.content["j"])
    assert 10 == result.trailer.bytes


async def test_a_new_process_tells_a_result_again_until_it_is_settled(shop: Shop):
    shop.ask("j")
    first = await shop.result("j")
    await shop.kill()
    shop.open()

    assert [OpenJob(job="j", state="finished")] == shop.runner.open_jobs()
    shop.runner.new_session([standing("j", have_bytes=10)])

    assert [first] == shop.outbox.of(JobResult)
    shop.runner.deliver(JobSettled(job="j"))
    assert [] == shop.runner.open_jobs()


async def test_a_finished_job_is_begun_again_when_its_content_was_lost(shop: Shop):
    shop.ask("j")
    await shop.result("j")
    shop.runner.open_jobs()
    shop.outbox.messages.clear()

    shop.runner.new_session([standing("j", have_bytes=3)])
    await shop.result("j")

    assert shop.outbox.content["j"] == b"ten bytes."[3:]


async def test_what_the_control_plane_has_forgotten_is_forgotten(shop: Shop):
    shop.ask("running", "held")
    shop.ask("finished")
    await until(lambda: shop.outbox.of(JobLog))
    await shop.result("finished")
    shop.runner.open_jobs()

    shop.runner.new_session([])
    await until(lambda: not shop.runner.tasks)

    assert [] == shop.runner.open_jobs()
    assert [] == shop.journal.unsettled()
    assert [] == shop.aborted


async def test_a_running_job_is_begun_again_in_a_new_session(shop: Shop):
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    shop.runner.open_jobs()
    shop.outbox.messages.clear()

    shop.runner.new_session([standing("j", have_log=2)])
    await until(lambda: shop.outbox.of(JobLog))
    shop.gate.set()
    await shop.result("j")

    assert ["gun\n"] == [log.text for log in shop.outbox.of(JobLog)]
    assert ["j", "j"] == shop.started


async def test_an_attempt_of_the_old_session_takes_not_one_step_more(shop: Shop):
    """Not even when what it waited for came first: it would send into a session that is gone."""
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    shop.runner.open_jobs()

    shop.gate.set()
    shop.runner.new_session([standing("j")])
    await shop.result("j")

    assert ["j", "j"] == shop.started


async def test_a_job_accepted_between_hello_and_welcome_is_not_forgotten(shop: Shop):
    shop.runner.open_jobs()
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    shop.outbox.messages.clear()

    shop.runner.new_session([])
    await until(lambda: shop.outbox.of(JobLog))
    shop.gate.set()

    assert Outcome.SUCCEEDED == (await shop.result("j")).outcome
    assert isinstance(shop.outbox.messages[0], JobAccepted)


async def test_a_policy_that_was_narrowed_stops_a_job_from_a_former_process(shop: Shop):
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobLog))
    await shop.kill()
    shop.allowed = False
    shop.open()

    shop.runner.open_jobs()
    shop.runner.new_session([standing("j")])

    assert Reason.POLICY_DENIED == (await shop.result("j")).reason
    assert ["j"] == shop.started


async def test_no_job_is_accepted_when_the_journal_has_failed(shop: Shop):
    shop.journal._writer.failed = JournalFailed("disk full")
    shop.ask("j", "held")
    await until(lambda: shop.outbox.of(JobRefused))

    assert Reason.INTERNAL == shop.outbox.of(JobRefused)[0].reason
    assert [] == shop.started
    shop.journal._writer.failed = None
