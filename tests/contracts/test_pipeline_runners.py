"""What every pipeline runner promises, shown on each of them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import BadParameters, NotFound
from agent.pipelines.base import PipelineRunner, RunState
from tests.pipelines.kubernetes import lab as clusters
from tests.pipelines.kubernetes.lab import ClusterLab
from tests.pipelines.lab import Lab, ended, run_to_end, running, shell, start, whole_log
from tests.pipelines.supervisors import end_supervisors
from tests.servers.kubernetes import Cluster

Make = Callable[[], PipelineRunner]

GREETING = "greetings, {name}\n"
LONG_RUN = "first line\n"


class PipelineRunnerContract:
    """Each fixture makes a runner of one pipeline, ``it``, anew for each call, on the same state.

    - *greeter* writes "greetings, {name}"; its parameter ``name`` is text of at most 9 characters.
    - *failure* ends with exit code 3.
    - *endless* writes "first line" and goes on until it is stopped.
    - *counter* notes each of its starts; *starts* returns how many there were.
    """

    async def test_a_run_succeeds_and_leaves_its_log(self, greeter: Make):
        """The parameter's value arrives, the state and the exit code are kept."""
        status, log = await run_to_end(greeter(), name="world")

        assert ("run", "it", RunState.SUCCEEDED, 0) == (
            status.run,
            status.pipeline,
            status.state,
            status.exit_code,
        )
        assert GREETING.format(name="world") == log

    async def test_a_failure_keeps_its_exit_code(self, failure: Make):
        status, _ = await run_to_end(failure())

        assert (RunState.FAILED, 3) == (status.state, status.exit_code)

    async def test_a_name_is_started_once(self, counter: Make, starts: Callable[[], int]):
        """The second start returns the status of the first, also after its end."""
        runner = counter()
        first, _ = await run_to_end(runner)

        again = await start(runner)

        assert first == again
        assert 1 == starts()

    async def test_many_start_one_name_at_once(self, counter: Make, starts: Callable[[], int]):
        """Several runners, as of several agents: one run."""
        runners = [counter() for _ in range(4)]

        await asyncio.gather(*(start(runner) for runner in runners for _ in range(2)))

        await ended(runners[0])
        assert 1 == starts()

    async def test_another_runner_knows_the_run(self, endless: Make):
        """What one runner has started, one that comes after it follows and stops."""
        first = endless()
        await start(first)
        await first.close()

        second = endless()

        await running(second)
        assert RunState.STOPPED == (await second.stop("run")).state

    async def test_the_log_is_live(self, endless: Make):
        """The first line is there while the run goes on."""
        runner = endless()
        await start(runner)

        chunk = await anext(aiter(runner.log("run", follow=True)))

        assert (0, LONG_RUN) == (chunk.offset, chunk.text)
        assert RunState.RUNNING == (await runner.status("run")).state
        await runner.stop("run")

    async def test_the_log_is_read_from_any_position(self, greeter: Make):
        runner = greeter()
        _, log = await run_to_end(runner, name="world")

        assert log[7:] == await whole_log(runner, offset=7)
        assert "" == await whole_log(runner, offset=1000)

    async def test_stopping_twice_is_as_stopping_once(self, endless: Make):
        runner = endless()
        await start(runner)

        stopped = await runner.stop("run")

        assert RunState.STOPPED == stopped.state
        assert stopped == await runner.stop("run")

    async def test_a_stop_does_not_change_how_a_run_ended(self, greeter: Make):
        runner = greeter()
        status, _ = await run_to_end(runner, name="world")

        assert status == await runner.stop("run")

    @pytest.mark.parametrize(
        "parameters", [{}, {"name": 7}, {"name": "far too long"}, {"name": "x", "other": 1}]
    )
    async def test_parameters_must_fit(self, greeter: Make, parameters):
        """Missing, of the wrong type, out of bounds, unknown: nothing is started."""
        runner = greeter()

        with pytest.raises(BadParameters):
            await start(runner, **parameters)
        with pytest.raises(NotFound):
            await runner.status("run")

    async def test_an_unknown_pipeline_is_not_started(self, greeter: Make):
        with pytest.raises(NotFound):
            await greeter().start(run="run", pipeline="other", parameters={})

    @pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "../run", "a\0b", "-x", "x" * 129])
    async def test_only_plain_names_are_names_of_runs(self, greeter: Make, name):
        with pytest.raises(BadParameters):
            await start(greeter(), name, name="world")
        with pytest.raises(NotFound):
            await greeter().status(name)

    async def test_an_unknown_run_is_not_found(self, greeter: Make):
        runner = greeter()

        for ask in (runner.status, runner.stop):
            with pytest.raises(NotFound):
                await ask("run")
        with pytest.raises(NotFound):
            await anext(aiter(runner.log("run", follow=True)))


class TestProcessRunner(PipelineRunnerContract):
    @pytest.fixture
    def lab(self, tmp_path: Path):
        yield Lab(tmp_path / "state")
        end_supervisors(tmp_path / "state")

    @pytest.fixture
    def greeter(self, lab: Lab) -> Make:
        command = shell('echo "greetings, $1"', "{name}")
        parameters = {"name": {"type": "string", "maxLength": 9}}
        return lambda: lab.runner(command, parameters=parameters)

    @pytest.fixture
    def failure(self, lab: Lab) -> Make:
        return lambda: lab.runner(shell("exit 3"))

    @pytest.fixture
    def endless(self, lab: Lab) -> Make:
        return lambda: lab.runner(shell("echo first line; exec sleep 1000"))

    @pytest.fixture
    def counter(self, lab: Lab, tmp_path: Path) -> Make:
        return lambda: lab.runner(shell('echo started >> "$1"', tmp_path / "starts"))

    @pytest.fixture
    def starts(self, tmp_path: Path) -> Callable[[], int]:
        return lambda: len((tmp_path / "starts").read_text().splitlines())


class TestKubernetesRunner(PipelineRunnerContract):
    @pytest.fixture
    async def lab(self, cluster: Cluster, tmp_path: Path):
        lab = ClusterLab(cluster, tmp_path / "state")
        yield lab
        await lab.close()

    @pytest.fixture
    def greeter(self, lab: ClusterLab) -> Make:
        container = clusters.shell('echo "greetings, $1"', "{name}")
        parameters = {"name": {"type": "string", "maxLength": 9}}
        return lambda: lab.runner(container, parameters=parameters)

    @pytest.fixture
    def failure(self, lab: ClusterLab) -> Make:
        return lambda: lab.runner(clusters.shell("exit 3"))

    @pytest.fixture
    def endless(self, lab: ClusterLab) -> Make:
        return lambda: lab.runner(clusters.shell("echo first line; exec sleep 1000"))

    @pytest.fixture
    def counter(self, lab: ClusterLab) -> Make:
        return lambda: lab.runner(clusters.shell("exit 0"))

    @pytest.fixture
    def starts(self, lab: ClusterLab) -> Callable[[], int]:
        """Each start of a container is a pod of its own."""
        return lambda: len(lab.pods())
