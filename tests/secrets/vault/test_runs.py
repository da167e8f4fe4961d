"""A pipeline's leased credential, from its start past the end of the agent: all parts together."""

import pytest

from agent.config.pipelines import ProcessPipeline
from agent.config.secret_stores import VaultSecretStore
from agent.pipelines.open import open_pipeline_runners
from agent.secrets.open import open_secret_stores
from tests.pipelines.lab import python, start
from tests.waiting import until

REFERENCES = {
    "USER_NAME": "secret://vault/rabbitmq/creds/ml#username",
    "PASSWORD": "secret://vault/rabbitmq/creds/ml#password",
}
WAITS = """
import os, sys, time
with open(sys.argv[1], "w") as shown:
    print(os.environ["USER_NAME"], file=shown)
time.sleep(1000)
"""


@pytest.fixture
async def agent(openbao, tmp_path):
    """The secret stores and the runner of one agent, and the file in which its run tells a name."""
    shown = tmp_path / "shown"
    vault = VaultSecretStore(
        type="vault", address=openbao.address, engine="dynamic", auth={"method": "token"}
    )
    secrets = open_secret_stores({"vault": vault}, on_secret=lambda _: None)
    command = python(WAITS, shown)
    pipeline = ProcessPipeline(
        name="it", runner="process", command=command, environment=REFERENCES, timeout=3600.0
    )
    runners = open_pipeline_runners([pipeline], state_dir=tmp_path, hold=secrets.hold)
    runner = runners.for_pipeline("it")
    yield secrets, runner, shown
    await runner.stop("run")
    await secrets.close()


async def _name(shown) -> str:
    await until(lambda: shown.exists() and shown.read_text().endswith("\n"))
    return shown.read_text().strip()


async def test_a_credential_is_revoked_when_its_run_has_ended(agent, rabbit, lease):
    """Both of its fields are of one lease, which is renewed though nobody reads it."""
    lease(1, 3600)
    secrets, runner, shown = agent
    await start(runner)
    user = await _name(shown)
    (leased,) = secrets._stores["vault"].store._dynamic._kept
    first_end = leased.lease.expires_at

    await until(lambda: leased.lease.expires_at > first_end + 2.0)
    assert (secrets.holding, {user}) == (True, rabbit.users)
    await runner.stop("run")

    await until(lambda: not rabbit.users)
    assert (secrets.holding, 1) == (False, rabbit.made)


async def test_a_run_that_outlives_the_agent_keeps_its_credential(agent, rabbit, lease, root):
    """For as long as it may last, though nobody renews it any more."""
    lease(5, 36_000)
    secrets, runner, shown = agent
    await start(runner)
    user = await _name(shown)
    (leased,) = secrets._stores["vault"].store._dynamic._kept

    await runner.close()
    await secrets.close()

    assert {user} == rabbit.users
    assert root.sys.read_lease(leased.lease_id)["data"]["ttl"] > 3500
