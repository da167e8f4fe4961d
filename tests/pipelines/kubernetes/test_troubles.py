"""What keeps a run from its end is said in words, and does not lose the run."""

import pytest

from agent.errors import AccessDenied, JobError, NotFound, PipelineFailed, Reason
from agent.pipelines.base import RunState
from tests.pipelines.kubernetes.lab import NO_IMAGE, RIGHTS, ClusterLab, shell
from tests.pipelines.lab import ended, run_to_end, running, start, whole_log
from tests.waiting import until

IMAGE = "the image of a container can't be pulled"
ROOM = "no node of the cluster can take the pod"
SLOW = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.2; done"
LOG = "".join(f"line {number}\n" for number in range(1, 9))


async def waits_for(runner, why: str) -> None:
    async def told() -> bool:
        return (await runner.status("run")).reason == why

    await until(told, timeout=60, message=f"the reason {why!r}")


TOO_BIG = {"resources": {"requests": {"memory": "1000000Gi"}}}


@pytest.mark.parametrize(
    ("container", "why"), [({"image": NO_IMAGE}, IMAGE), (TOO_BIG, ROOM)], ids=["image", "room"]
)
async def test_a_run_that_can_not_begin_says_why_and_is_given_up(lab: ClusterLab, container, why):
    """In its status and its log while it waits, and as the reason of its failure."""
    runner = lab.runner(shell("true", **container), start_timeout=lab.patience)
    await start(runner)

    status = await ended(runner)

    assert (RunState.FAILED, f"it did not start in time: {why}") == (status.state, status.reason)
    log = await whole_log(runner)
    assert f"[waiting: {why}]\n[it did not start in time: {why}]\n" == log
    assert [] == lab.jobs()


async def test_a_run_that_waits_is_stopped(lab: ClusterLab):
    runner = lab.runner(shell("true", image=NO_IMAGE))
    await start(runner)
    await waits_for(runner, IMAGE)

    assert RunState.STOPPED == (await runner.stop("run")).state
    assert [] == lab.pods()


async def test_a_missing_service_account_is_told(lab: ClusterLab):
    runner = lab.runner(shell("true"), spec={"pod": {"serviceAccountName": "nobody"}})
    await start(runner)

    await waits_for(runner, "the service account of the pod is not there")


async def test_a_quota_on_pods_is_told(lab: ClusterLab):
    path = f"/api/v1/namespaces/{lab.namespace}/resourcequotas"
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    lab.cluster.ask("POST", path, quota)
    runner = lab.runner(shell("true"))
    await start(runner)

    await waits_for(runner, "the quota of the cluster's namespace is used up")


async def test_what_is_public_names_no_host(lab: ClusterLab, capfd):
    """The cluster's own words go to the customer's log alone."""
    runner = lab.runner(shell("true", image=NO_IMAGE), start_timeout=lab.patience)
    await start(runner)

    status = await ended(runner)

    assert "registry.invalid" not in f"{status.reason}{await whole_log(runner)}"
    assert "registry.invalid" in capfd.readouterr().err


async def test_a_run_out_of_time_is_ended_by_the_cluster(lab: ClusterLab):
    runner = lab.runner(shell("echo begun; exec sleep 1000"), timeout=2)
    status, log = await run_to_end(runner)

    assert (RunState.TIMED_OUT, None) == (status.state, status.exit_code)
    assert "begun\n[the pipeline ran out of time]\n" == log


async def test_each_attempt_is_marked_in_the_log(lab: ClusterLab):
    runner = lab.runner(shell("echo trying; exit 4"), spec={"backoffLimit": 1})
    await start(runner)
    log = await whole_log(runner)

    assert "trying\n[attempt 2]\ntrying\n" == log
    assert (RunState.FAILED, 4) == ((s := await runner.status("run")).state, s.exit_code)


async def test_a_stopped_run_has_its_grace(lab: ClusterLab):
    """What it says as it goes is in the log."""
    trap = 'trap "echo going; exit 0" TERM; echo begun; while :; do sleep 0.1; done'
    runner = lab.runner(shell(trap), stop_grace=20)
    await start(runner)
    await running(runner)
    await until(lambda: lab.directory().log.stat().st_size, message="the trap")

    status = await runner.stop("run")

    assert (RunState.STOPPED, "begun\ngoing\n") == (status.state, await whole_log(runner))
    assert ([], []) == (lab.jobs(), lab.pods())


async def test_a_stop_that_another_agent_asks_for_ends_the_run(lab: ClusterLab):
    first = lab.runner(shell("exec sleep 1000"))
    await start(first)
    await running(first)

    stopped = await lab.runner(shell("exec sleep 1000")).stop("run")

    assert RunState.STOPPED == stopped.state


async def test_a_job_that_somebody_deleted_is_not_started_again(lab: ClusterLab):
    runner = lab.runner(shell("exec sleep 1000"))
    await start(runner)
    await running(runner)
    path = f"/apis/batch/v1/namespaces/{lab.namespace}/jobs/{lab.job()['metadata']['name']}"
    lab.cluster.ask("DELETE", path, {"propagationPolicy": "Foreground"})

    status = await ended(runner)
    again = await start(runner)

    assert RunState.UNKNOWN == status.state
    assert status == again
    assert [] == lab.jobs()


async def test_the_log_stays_when_the_cluster_has_cleaned_up(lab: ClusterLab):
    runner = lab.runner(shell("echo done"), keep=60)
    status, log = await run_to_end(runner)
    name = lab.job()["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{lab.namespace}/jobs/{name}"
    lab.cluster.ask("DELETE", path, {"propagationPolicy": "Background"})

    later = lab.runner(shell("echo done"), keep=60)

    assert (status, log) == (await later.status("run"), await whole_log(later))


async def test_another_request_of_that_name_is_a_conflict(lab: ClusterLab):
    """Where the state directory is lost, the Job itself tells that it is another one."""
    parameters = {"name": {"type": "string"}}
    first = lab.runner(shell("true", "{name}"), parameters=parameters)
    await start(first, name="a")
    await first.close()
    lab.state_dir.rename(lab.state_dir.with_name("lost"))

    with pytest.raises(JobError) as failure:
        await start(lab.runner(shell("true", "{name}"), parameters=parameters), name="b")

    assert Reason.DUPLICATE_CONFLICT == failure.value.reason
    assert 1 == len(lab.jobs())


async def test_a_job_that_the_cluster_refuses_is_not_started(lab: ClusterLab):
    runner = lab.runner(shell("true", name="Not_A_Name", resources={"limits": {"memory": "x!"}}))

    with pytest.raises(PipelineFailed, match="refuses the Job that the template describes"):
        await start(runner)
    with pytest.raises(NotFound):
        await runner.status("run")


@pytest.mark.parametrize(
    ("lacking", "right"), [("jobs", "create jobs"), ("secrets", "create secrets")]
)
async def test_a_missing_right_is_named_at_the_start(cluster, tmp_path, lacking, right):
    rights = [rule for rule in RIGHTS if rule["resources"] != [lacking]]
    lab = ClusterLab(cluster, tmp_path / "state", rights=rights, secrets={"token": "tttttttt"})
    runner = lab.runner(shell("true"), environment={"TOKEN": "secret://memory/token"})

    with pytest.raises(AccessDenied, match=f"does not permit the agent to {right}") as failure:
        await start(runner)

    await lab.close()
    assert lab.namespace in failure.value.detail
    assert {1} == lab.released


@pytest.mark.parametrize(
    ("lacking", "right"), [("pods", "list pods"), ("pods/log", "get pods/log")]
)
async def test_a_right_that_is_missed_later_is_the_reason(cluster, tmp_path, lacking, right):
    rights = [rule for rule in RIGHTS if rule["resources"] != [lacking]]
    lab = ClusterLab(cluster, tmp_path / "state", rights=rights)
    runner = lab.runner(shell("true"))
    await start(runner)

    await waits_for(runner, f"the cluster does not permit the agent to {right}")
    await lab.close()


async def test_rights_to_watch_and_to_read_events_can_be_done_without(cluster, tmp_path):
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    lab = ClusterLab(cluster, tmp_path / "state", rights=[RIGHTS[0], pods, RIGHTS[2]])

    status, log = await run_to_end(lab.runner(shell("echo done")))

    await lab.close()
    assert (RunState.SUCCEEDED, "done\n") == (status.state, log)


async def test_a_secret_reaches_the_container_and_nothing_else(lab: ClusterLab):
    """Neither Job nor log show it; the Secret is owned by the Job and goes with it."""
    lab.secrets["token"] = "s3cr3t-value"
    script = 'echo "it is $TOKEN for $WHO"; sleep 1'
    environment = {"TOKEN": "secret://memory/token", "WHO": "$(TOKEN)"}
    runner = lab.runner(shell(script), environment=environment)
    await start(runner)
    await running(runner)
    made = lab.made_secrets()
    shown = str(lab.job())
    status, log = await ended(runner), await whole_log(runner)

    assert (RunState.SUCCEEDED, "it is *** for $(TOKEN)\n") == (status.state, log)
    assert "s3cr3t-value" not in shown
    assert [lab.job()["metadata"]["uid"]] == [
        one["metadata"]["ownerReferences"][0]["uid"] for one in made
    ]
    assert {1} == lab.released


async def test_the_secret_goes_with_the_job(lab: ClusterLab):
    lab.secrets["token"] = "s3cr3t-value"
    runner = lab.runner(shell("exec sleep 1000"), environment={"T": "secret://memory/token"})
    await start(runner)
    await running(runner)

    await runner.stop("run")

    await until(lambda: lab.made_secrets() == [], message="the Secret to go")


async def test_the_log_is_cut_at_its_limit(lab: ClusterLab):
    runner = lab.runner(shell("for i in 1 2 3 4 5 6; do echo line; done"), log_limit=12)
    status, log = await run_to_end(runner)

    assert (RunState.SUCCEEDED, "line\nline\nli\n[log cut after 12 bytes]\n") == (status.state, log)


async def test_a_watch_that_expires_costs_nothing(lab: ClusterLab, double):
    """Whoever waits is told 410, and looks again."""
    runner = lab.runner(shell("true", image=NO_IMAGE))
    await start(runner)
    await waits_for(runner, IMAGE)

    double.expire_watches()
    await runner.stop("run")

    assert RunState.STOPPED == (await ended(runner)).state


async def test_a_log_whose_connection_breaks_is_read_on(lab: ClusterLab, double):
    """It ends as a whole one does; only the pod tells that there is more."""
    runner = lab.runner(shell(SLOW))
    await start(runner)
    chunks = runner.log("run", follow=True)
    log = ""
    async for chunk in chunks:
        log += chunk.text
        double.break_logs()

    assert LOG == log
    assert len(double.log_requests) > 2


async def test_an_api_that_is_gone_for_a_while_costs_nothing(lab: ClusterLab, double):
    runner = lab.runner(shell(SLOW))
    await start(runner)
    await until(lambda: lab.directory().log.exists() and lab.directory().log.stat().st_size > 7)

    with double.outage():
        await waits_for(runner, "the cluster did not answer")

    assert (RunState.SUCCEEDED, LOG) == ((await ended(runner)).state, await whole_log(runner))


async def test_what_the_cluster_has_thrown_away_is_told(lab: ClusterLab, double):
    """Of a log that was rotated away while nobody read, the rest is there."""
    first = lab.runner(shell(SLOW))
    await start(first)
    await until(lambda: lab.directory().log.exists() and lab.directory().log.stat().st_size > 7)
    await first.close()
    double.rotate_logs()

    log = await whole_log(lab.runner(shell(SLOW)))

    assert "[lines may be missing here: the cluster has dropped them]\n" in log
    assert log.endswith("line 8\n")
    assert log.count("line 8") == 1


async def test_a_start_without_an_answer_is_told_and_found_later(lab: ClusterLab, double):
    runner = lab.runner(shell("true"))

    with double.outage(), pytest.raises(JobError) as failure:
        await start(runner)

    assert Reason.STORE_UNAVAILABLE == failure.value.reason
    assert (RunState.SUCCEEDED, "") == (await _started_again(runner), await whole_log(runner))


async def _started_again(runner) -> RunState:
    await start(runner)
    return (await ended(runner)).state
