"""A store or a vault that fails, refuses or is away: a bounded end with its reason, and recovery
without a restart."""

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from demo.world import World
from tests.faults.worlds import AgentLog, done, metric, submit
from tests.servers.processes import Server, spawn
from tests.servers.seaweedfs import READER, s3_client

BOUND = 20.0
SOON = 3.0
RESOLVED = 'cloud_agent_credential_resolutions_total{outcome="ok",store_type="vault"}'


@pytest.fixture(scope="module")
def uri(world: World) -> str:
    """An object of a store whose key, in Vault, is not kept by the agent for long."""
    config = yaml.safe_load(world.config_file.read_text())
    config["secret_stores"]["fresh"] = {**config["secret_stores"]["vault"], "cache": "10ms"}
    connector = config["connectors"]["ml-s3"]
    config["secret_stores"]["files"] = {"type": "file", "root": str(world.directory / "keys")}
    for name, store in (("ml-s3", "fresh"), ("rotated", "vault"), ("beside", "files")):
        keys = ("access_key_id", "secret_access_key")
        references = {key: f"secret://{store}/ml/{name}#{key}" for key in keys}
        config["connectors"][name] = {**connector, **references}
    for name in ("rotated", "beside"):
        config["artifact_stores"].append(
            {"name": name, "uri": f"s3://artifacts/{name}", "connector": name}
        )
        config["policy"]["rules"].append(
            {"allow": ["fetch-artifact"], "artifacts": [f"s3://artifacts/{name}/**"]}
        )
    world.config_file.write_text(yaml.safe_dump(config))
    set_key(world, "ml-s3", READER.secret_access_key.reveal())
    world.agent.stop()
    world.start_agent()
    return world.put("object", b"content")


def set_key(world: World, name: str, secret: str) -> None:
    """Write the reader's key with this secret into Vault."""
    key = {"access_key_id": READER.access_key_id, "secret_access_key": secret}
    world.vault.client().secrets.kv.v2.create_or_update_secret(path=f"ml/{name}", secret=key)


@contextmanager
def silent(server: Server) -> Iterator[None]:
    """Have *server* accept connections and say nothing."""
    server._signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server._signal(signal.SIGCONT)


@contextmanager
def sealed(world: World) -> Iterator[None]:
    """Seal the vault for the time of the block."""
    log = (world.directory / "vault/openbao.log").read_text()
    key = re.search(r"Unseal Key: (\S+)", log)[1]
    world.vault.client().sys.seal()
    try:
        yield
    finally:
        world.vault.client().sys.submit_unseal_key(key)


def fetch(world: World, uri: str) -> tuple[str, str | None, float]:
    """Fetch *uri*; return state, reason, and how long that took."""
    started = time.monotonic()
    job = done(world, "fetch-artifact", uri=uri)
    return job["state"], job["reason"], time.monotonic() - started


@pytest.mark.parametrize("away", ["sealed", "silent"])
def test_without_its_vault_a_job_ends_soon_and_the_next_one_recovers(
    world: World, uri: str, away: str
):
    assert "succeeded" == fetch(world, uri)[0]
    log = AgentLog(world)

    with sealed(world) if away == "sealed" else silent(world.vault._server):
        state, reason, seconds = fetch(world, uri)

    assert ("failed", "credential_unavailable") == (state, reason)
    assert seconds < BOUND
    assert ["fresh"] == [event["store"] for event in log.events("secret.unavailable")]
    assert ["ml-s3"] == [event["connector"] for event in log.events("credential.unavailable")]
    assert "succeeded" == fetch(world, uri)[0]


def test_a_vault_that_hangs_holds_up_no_job_with_other_credentials(world: World, uri: str):
    (world.directory / "keys/ml").mkdir(parents=True)
    key = {
        "access_key_id": READER.access_key_id,
        "secret_access_key": READER.secret_access_key.reveal(),
    }
    (world.directory / "keys/ml/beside").write_text(json.dumps(key))
    beside = "s3://artifacts/beside/object"
    s3_client(world.s3.endpoint_url).put_object(
        Bucket="artifacts", Key="beside/object", Body=b"beside"
    )
    assert "succeeded" == fetch(world, beside)[0]

    with silent(world.vault._server):
        waiting = [submit(world, "fetch-artifact", uri=uri) for _ in range(4)]
        fetched = [fetch(world, beside) for _ in range(3)]
        states = {world.rest(f"/jobs/{job}")["state"] for job in waiting}

    assert {"succeeded"} == {state for state, _, _ in fetched}
    assert max(seconds for _, _, seconds in fetched) < SOON
    assert not states & {"succeeded", "failed"}
    for job in waiting:
        world.ended(job)


def test_a_missing_secret_names_the_reference_to_the_customer_only(world: World, uri: str):
    world.vault.client().secrets.kv.v2.delete_metadata_and_all_versions("ml/ml-s3")
    log = AgentLog(world)

    job = done(world, "fetch-artifact", uri=uri)

    assert ("failed", "credential_unavailable") == (job["state"], job["reason"])
    assert "ml/ml-s3" not in job["message"]
    assert "ml/ml-s3" == log.events("secret.unavailable")[0]["path"]
    set_key(world, "ml-s3", READER.secret_access_key.reveal())
    assert "succeeded" == fetch(world, uri)[0]


def test_a_wrong_key_is_denied_and_named_and_a_rotated_one_is_taken_up(world: World, uri: str):
    """The refused key is read again at once, not when its time in the cache is over."""
    s3_client(world.s3.endpoint_url).put_object(
        Bucket="artifacts", Key="rotated/object", Body=b"rotated"
    )
    wrong, log = "no-longer-the-key", AgentLog(world)
    set_key(world, "rotated", wrong)

    state, reason, _ = fetch(world, "s3://artifacts/rotated/object")

    assert ("failed", "access_denied") == (state, reason)
    assert {"rotated"} == {event["connector"] for event in log.events("credential.refused")}
    resolved = metric(world, RESOLVED)
    set_key(world, "rotated", READER.secret_access_key.reveal())
    assert "succeeded" == fetch(world, "s3://artifacts/rotated/object")[0]
    assert 1 == metric(world, RESOLVED) - resolved
    assert wrong not in (world.directory / "agent.log").read_text()


def test_a_store_that_is_away_is_unavailable_and_recovers(world: World, uri: str):
    weed = world.s3.server
    weed.kill()
    state, reason, seconds = fetch(world, uri)
    world.s3.server = spawn(
        weed.process.args, ready=lambda: _serves(world), log=weed.log, cwd=weed.log.parent
    )

    assert ("failed", "store_unavailable") == (state, reason)
    assert seconds < BOUND
    # A SeaweedFS that was killed lists its buckets a while before it finds their objects again.
    world.until(lambda: fetch(world, uri)[0] == "succeeded")


def _serves(world: World) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return bool(
            s3_client(world.s3.endpoint_url).list_objects_v2(Bucket="artifacts")["KeyCount"]
        )
    except (BotoCoreError, ClientError):
        return False
