"""What jobs of the control plane do with runs in a cluster."""

import yaml

from agent.artifacts.open import open_artifact_stores
from agent.config.pipelines import KubernetesPipeline
from agent.connectors.open import open_connectors
from agent.guard.policy import Decision
from agent.jobs.kind import Ticket, Tools
from agent.jobs.outputs import Log, Result
from agent.jobs.pipelines import TRIGGER_PIPELINE, TriggerPipeline
from agent.pipelines.base import RunState
from agent.pipelines.open import open_pipeline_runners
from agent.secrets.open import open_secret_stores
from tests.pipelines.kubernetes.lab import ClusterLab, connector, job, shell

SLOW = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.1; done"
LOG = "".join(f"line {number}\n" for number in range(1, 9))
WAIT = TriggerPipeline(pipeline="it", wait=True)


def tools(lab: ClusterLab, script: str) -> Tools:
    """All that an agent has, with a template in a file and a connector by its name."""
    template = lab.state_dir.with_name("job.yaml")
    template.write_text(yaml.safe_dump(job(shell(script))))
    pipeline = KubernetesPipeline(
        name="it",
        runner="kubernetes",
        template_file=template,
        connector="cluster",
        namespace=lab.namespace,
        stop_grace=2,
    )
    secrets = open_secret_stores({}, on_secret=lambda _: None)
    connectors = open_connectors({"cluster": connector(lab.kubeconfig)}, secrets)
    return Tools(
        artifacts=open_artifact_stores([], connectors, block_bytes=lambda: 65536),
        connectors=connectors,
        pipelines=open_pipeline_runners(
            [pipeline],
            state_dir=lab.state_dir,
            hold=lab.hold,
            connectors=connectors,
            secrets=secrets,
        ),
        decide=lambda _: Decision(allowed=True, rule=0, why=""),
    )


async def test_begun_again_by_the_next_agent_the_log_goes_on(lab: ClusterLab):
    """The control plane has some of it already: it gets the rest, once, and one result."""
    first = tools(lab, SLOW)
    outputs = TRIGGER_PIPELINE.run(WAIT, first, Ticket("job"))
    begun = await anext(outputs)
    await outputs.aclose()
    await first.pipelines.close()
    assert isinstance(begun, Log)

    second = tools(lab, SLOW)
    ticket = Ticket("job", have_log=begun.end)
    rest = [output async for output in TRIGGER_PIPELINE.run(WAIT, second, ticket)]

    await second.pipelines.close()
    assert LOG == begun.text + "".join(one.text for one in rest if isinstance(one, Log))
    assert isinstance(rest[-1], Result)
    assert 1 == len(lab.jobs())


async def test_a_job_that_is_cancelled_takes_its_run_with_it(lab: ClusterLab):
    agent = tools(lab, "echo begun; exec sleep 1000")
    outputs = TRIGGER_PIPELINE.run(WAIT, agent, Ticket("job"))
    await anext(outputs)
    await outputs.aclose()

    assert TRIGGER_PIPELINE.abort is not None
    await TRIGGER_PIPELINE.abort(WAIT, agent, Ticket("job"))

    status = await agent.pipelines.for_run("job").status("job")
    await agent.pipelines.close()
    assert RunState.STOPPED == status.state
    assert [] == lab.jobs()
