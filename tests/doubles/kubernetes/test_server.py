"""The double over its socket: what it does not know it says, and it serves official clients."""

import pytest
from kubernetes_asyncio import client as kubernetes

from agent.clouds.kubernetes.client import client_for
from agent.credentials import KubernetesCredentials
from agent.secret import Secret
from tests.servers.kubernetes import ADMIN_TOKEN, double_of_cluster


@pytest.fixture
async def admin(certificate_authority, tmp_path):
    """The official client with an administrator's rights."""
    with double_of_cluster(certificate_authority, tmp_path) as cluster:
        credentials = KubernetesCredentials(
            cluster.server,
            token=Secret(ADMIN_TOKEN),
            certificate_authority=Secret(cluster.authority),
        )
        async with client_for(credentials) as client:
            yield client


async def test_objects_are_made_changed_and_removed(admin):
    core = kubernetes.CoreV1Api(admin)
    await core.create_namespace({"metadata": {"name": "ml"}})

    made = await core.create_namespaced_secret(
        "ml", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    )
    made.data["c"] = "ZA=="
    changed = await core.replace_namespaced_secret("s", "ml", made)

    assert {"a": "Yg==", "c": "ZA=="} == changed.data
    assert made.metadata.uid == changed.metadata.uid
    assert int(made.metadata.resource_version) < int(changed.metadata.resource_version)
    await core.delete_namespaced_secret("s", "ml")
    assert [] == (await core.list_namespaced_secret("ml")).items


async def test_an_object_that_changed_meanwhile_is_not_overwritten(admin):
    core = kubernetes.CoreV1Api(admin)
    made = await core.create_namespaced_secret("default", {"metadata": {"name": "s"}})
    await core.replace_namespaced_secret(
        "s", "default", {"metadata": {"name": "s"}, "data": {"a": ""}}
    )

    with pytest.raises(kubernetes.ApiException) as failure:
        await core.replace_namespaced_secret("s", "default", made)

    assert 409 == failure.value.status


async def test_a_namespace_takes_its_objects_with_it(admin):
    core = kubernetes.CoreV1Api(admin)
    await core.create_namespace({"metadata": {"name": "ml"}})
    await core.create_namespaced_secret("ml", {"metadata": {"name": "s"}})

    await core.delete_namespace("ml")

    with pytest.raises(kubernetes.ApiException) as failure:
        await core.read_namespaced_secret("s", "ml")
    assert 404 == failure.value.status


@pytest.mark.parametrize(
    "unknown", [{"limit": 1}, {"label_selector": "a in (b)"}, {"field_selector": "a!=b"}]
)
async def test_what_the_double_does_not_know_it_never_guesses(admin, unknown):
    with pytest.raises(kubernetes.ApiException) as failure:
        await kubernetes.CoreV1Api(admin).list_namespaced_secret("default", **unknown)

    assert 501 == failure.value.status
