"""The configuration of a running agent: changed without a restart, and wrong without harm."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from demo.world import ROOT, World
from tests.faults.worlds import AgentLog, done, metric

DENIAL = {"deny": ["fetch-artifact"], "artifacts": [f"{ROOT}/model"]}


@pytest.fixture
def config(world: World) -> Iterator[str]:
    """The configuration's text; it is in force again at the end."""
    text = world.config_file.read_text()
    yield text
    change(world, text)
    world.until(lambda: done(world, "fetch-artifact", uri=f"{ROOT}/model")["state"] == "succeeded")


@pytest.fixture(scope="module")
def uri(world: World) -> str:
    return world.put("model", b"content")


def denying(config: str) -> str:
    """Return *config* with a rule more."""
    return config.replace("  rules:\n", f"  rules:\n  - {DENIAL}\n")


def change(world: World, text: str) -> None:
    """Write *text* and tell the agent by SIGHUP."""
    world.config_file.write_text(text)
    world.agent.process.send_signal(signal.SIGHUP)


def reloads(world: World, outcome: str) -> float:
    return metric(world, f'cloud_agent_config_reloads_total{{outcome="{outcome}"}}')


def test_sighup_puts_a_changed_policy_in_force(world: World, uri: str, config: str):
    before, log = reloads(world, "applied"), AgentLog(world)

    change(world, denying(config))
    world.until(lambda: log.events("config.applied"))

    job = done(world, "fetch-artifact", uri=uri)
    assert ("refused", "policy_denied") == (job["state"], job["reason"])
    assert before + 1 == reloads(world, "applied")


def test_a_changed_file_is_noticed_without_a_signal(world: World, uri: str, config: str):
    log = AgentLog(world)

    world.config_file.write_text(denying(config))
    world.until(lambda: log.events("config.applied"))

    assert "policy_denied" == done(world, "fetch-artifact", uri=uri)["reason"]


@pytest.mark.parametrize("wrong", ["policy: [", "polici: {}\n", "policy: {rules: [{allow: [x]]}\n"])
def test_a_wrong_file_changes_nothing_and_is_named(world: World, uri: str, config: str, wrong: str):
    before, log = reloads(world, "rejected"), AgentLog(world)

    change(world, f"{denying(config)}{wrong}")
    world.until(lambda: log.events("config.rejected"))

    assert str(world.config_file) in log.events("config.rejected")[0]["why"]
    assert before + 1 == reloads(world, "rejected")
    assert "succeeded" == done(world, "fetch-artifact", uri=uri)["state"]


def test_what_needs_a_restart_is_said(world: World, config: str):
    log = AgentLog(world)

    change(world, config.replace("name: prod-eu", "name: prod-us"))
    world.until(lambda: log.events("config.needs_restart"))

    assert ["agent.name"] == log.events("config.needs_restart")[0]["keys"]


def test_a_wrong_configuration_shows_every_mistake_at_once(world: World, tmp_path):
    file = tmp_path / "agent.yaml"
    file.write_text(
        "control_plan: {}\n"
        "agent: {name: prod-eu, max_concurrent_jobs: many}\n"
        "connectors:\n"
        "  ml: {type: aws, method: secret-key}\n"
        "artifact_stores:\n"
        "  - {name: a, uri: 's3://b', connector: missing}\n"
        "  - {name: c}\n"
    )

    ended = subprocess.run(
        [*world.agent_command("run")[:3], "run", "-c", str(file)], capture_output=True, text=True
    )

    assert 2 == ended.returncode
    assert "Traceback" not in ended.stderr
    for line, key in ((1, "control_plan"), (2, "max_concurrent_jobs"), (4, "ml"), (7, "uri")):
        assert any(f":{line}" in text and key in text for text in ended.stderr.splitlines())
