"""A fetch that takes longer than its credentials live, through the whole way to a slow reader.

CREDENTIAL_SECONDS=60 FETCH_SECONDS=300 takes the times that were promised.
"""

import hashlib
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from botocore.exceptions import ClientError

from demo.world import AGENT, World
from tests.faults.worlds import AgentLog
from tests.servers.seaweedfs import BUCKET, READER, SeaweedFS, s3_client, start_seaweedfs
from tests.servers.tcp_proxy import ProxyInThread, proxy_in_thread
from tests.waiting import wait_until

LIFE = float(os.environ.get("CREDENTIAL_SECONDS", "4"))
FETCH = float(os.environ.get("FETCH_SECONDS", "20"))
BETWEEN_CUTS = 1.05 * LIFE
MIB = 1024 * 1024
SIZE = 256 * MIB
ON_ITS_WAY = 36 * MIB
"""More than the buffers of four processes and of the kernel hold."""
PIECE = 64 * 1024
URI = "s3://artifacts/expiring/big.bin"


@dataclass(frozen=True)
class Customer:
    """A store whose sessions are short, and what leads to it and to its STS."""

    server: SeaweedFS
    store: ProxyInThread
    sts: ProxyInThread

    def session(self) -> "Session":
        """Have one issued, as the agent does."""
        import boto3

        sts = boto3.client(
            "sts",
            endpoint_url=self.server.endpoint_url,
            aws_access_key_id=READER.access_key_id,
            aws_secret_access_key=READER.secret_access_key.reveal(),
            region_name=self.server.region,
        )
        issued = sts.assume_role(RoleArn=self.server.role_arn, RoleSessionName="trial")
        return Session(self.server, issued["Credentials"])


@dataclass(frozen=True)
class Session:
    """One that nobody renews."""

    server: SeaweedFS
    issued: dict[str, str]

    def is_good(self) -> bool:
        """Try it."""
        import boto3

        s3 = boto3.client(
            "s3",
            endpoint_url=self.server.endpoint_url,
            aws_access_key_id=self.issued["AccessKeyId"],
            aws_secret_access_key=self.issued["SecretAccessKey"],
            aws_session_token=self.issued["SessionToken"],
            region_name=self.server.region,
        )
        try:
            s3.head_object(Bucket=BUCKET, Key="expiring/big.bin")
        except ClientError:
            return False
        return True


@pytest.fixture(scope="module")
def noise() -> bytes:
    return os.urandom(4 * MIB)


@pytest.fixture(scope="module")
def customer(
    world: World, noise: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Customer]:
    """The agent assumes a role there; what it then reads with comes from its STS alone."""
    server = start_seaweedfs(tmp_path_factory.mktemp("expiring"), session=f"{LIFE:.0f}s")
    try:
        with proxy_in_thread(server.port) as store, proxy_in_thread(server.port) as sts:
            customer = Customer(server, store, sts)
            put(server, noise * (SIZE // len(noise)))
            configure(world, customer)
            yield customer
    finally:
        server.stop()


def put(server: SeaweedFS, content: bytes) -> None:
    s3_client(server.endpoint_url).put_object(Bucket=BUCKET, Key="expiring/big.bin", Body=content)


def configure(world: World, customer: Customer) -> None:
    config = yaml.safe_load(world.config_file.read_text())
    config["connectors"]["expiring"] = {
        **config["connectors"]["ml-s3"],
        "method": "iam-role",
        "role_arn": customer.server.role_arn,
        "endpoint_url": customer.store.endpoint_url,
        "sts_endpoint_url": customer.sts.endpoint_url,
    }
    config["artifact_stores"].append(
        {"name": "expiring", "uri": "s3://artifacts/expiring", "connector": "expiring"}
    )
    config["policy"]["rules"].append(
        {"allow": ["fetch-artifact"], "artifacts": ["s3://artifacts/expiring/**"]}
    )
    world.config_file.write_text(yaml.safe_dump(config))
    world.agent.stop()
    world.start_agent()


class SlowReader:
    """Reads a job's content in even steps, and cuts the agent off from its store on the way."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self.digest = hashlib.sha256()
        self.size = 0
        self.cuts = 0

    def read(self, world: World, job: str) -> None:
        request = urllib.request.Request(
            f"{world.url}/api/v1/jobs/{job}/content",
            headers={"Authorization": f"Bearer {world.api_token}"},
        )
        started = time.monotonic()
        with urllib.request.urlopen(request, timeout=60) as answer:
            while piece := answer.read(PIECE):
                self.digest.update(piece)
                self.size += len(piece)
                due = started + FETCH * self.size / SIZE
                if time.monotonic() < due:
                    wait_until(lambda due=due: time.monotonic() >= due, timeout=60)
                on_time = time.monotonic() - started > (self.cuts + 1) * BETWEEN_CUTS
                if on_time and SIZE - self.size > ON_ITS_WAY:
                    self.cuts += bool(self._customer.store.cut())


@pytest.mark.timeout(FETCH + 120)
def test_a_fetch_outlives_its_credentials_many_times(
    world: World, customer: Customer, noise: bytes
):
    """Each connection to the store is cut when its credential has expired; the cloud sees one job,
    one connection of the agent, and all bytes."""
    log, connects = AgentLog(world), world.agent_connects()
    unrenewed = customer.session()
    assert unrenewed.is_good()
    reader, started = SlowReader(customer), time.monotonic()

    job = str(world.rest("/jobs", {"agent": AGENT, "kind": "fetch-artifact", "content": "relay",
                                   "parameters": {"uri": URI}})["id"])  # fmt: skip
    reader.read(world, job)

    took, ended = time.monotonic() - started, world.ended(job)
    keys, renewals = keys_of_reads(customer), len(customer.sts.openings())
    print(f"{took:.1f} s, {reader.cuts} cuts, {renewals} credentials issued; keys: {keys}")
    assert ("succeeded", SIZE) == (ended["state"], reader.size)
    assert digest_of(noise) == reader.digest.hexdigest() == ended["trailer"]["sha256"]
    assert took > 0.95 * FETCH
    # Each connection after the first was opened with a credential of its own, when none of those
    # before was good any more; none of them was refused.
    assert reader.cuts >= FETCH / BETWEEN_CUTS - 1 > 2
    assert reader.cuts == len(log.events("transfer.resumed")) == len(keys) - 1
    assert len(set(keys)) == len(keys) <= renewals
    assert not unrenewed.is_good()
    assert [] == log.events("credential.refused")
    # The cloud asked once, over one connection.
    assert connects == world.agent_connects()
    assert 1 == len(log.events("job.ended"))


def digest_of(noise: bytes) -> str:
    digest = hashlib.sha256()
    for _ in range(SIZE // len(noise)):
        digest.update(noise)
    return digest.hexdigest()


def keys_of_reads(customer: Customer) -> list[str]:
    """Return the access key that each GET of the object was signed with."""
    heads = [head for head in customer.store.openings() if head.startswith(b"GET ")]
    return [re.search(rb"Credential=(\w+)/", head)[1].decode() for head in heads]
