"""Fills a ZenML server with one run of a small pipeline; run by the server's own Python.

It reads what it needs from the environment, and prints the ids of what came about as JSON.
"""

import json
import os

import pandas
from zenml import pipeline, step
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.types import HTMLString

KEY = os.environ["STORY_KEY_ID"], os.environ["STORY_SECRET"]
ENDPOINT = os.environ["STORY_S3"]
PLACE = os.environ["STORY_PLACE"]


@step
def make_frame() -> pandas.DataFrame:
    return pandas.DataFrame({"name": ["ada", "grace"], "age": [36, 85]})


@step
def make_metrics() -> dict:
    return {"accuracy": 0.97}


@step
def make_report() -> HTMLString:
    return HTMLString("<h1>Churn</h1>")


@pipeline(enable_cache=False)
def story() -> None:
    make_frame()
    make_metrics()
    make_report()


def connector(client: Client):
    made, _ = client.create_service_connector(
        name="ml-s3",
        connector_type="aws",
        auth_method="secret-key",
        resource_type="s3-bucket",
        resource_id=f"s3://{PLACE.removeprefix('s3://').split('/')[0]}",
        configuration={
            "aws_access_key_id": KEY[0],
            "aws_secret_access_key": KEY[1],
            "region": "us-east-1",
            "endpoint_url": ENDPOINT,
        },
        verify=False,
    )
    return made


def stack(client: Client, connected) -> None:
    store = client.create_stack_component(
        name="s3",
        flavor="s3",
        component_type=StackComponentType.ARTIFACT_STORE,
        configuration={
            "path": PLACE,
            "key": KEY[0],
            "secret": KEY[1],
            "client_kwargs": json.dumps({"endpoint_url": ENDPOINT}),
        },
    )
    client.create_stack(
        name="s3",
        components={
            StackComponentType.ARTIFACT_STORE: store.id,
            StackComponentType.ORCHESTRATOR: "default",
        },
    )
    client.activate_stack("s3")


def versions(client: Client) -> dict[str, str]:
    found = client.list_artifact_versions(size=50)
    return {one.artifact.name: str(one.id) for one in found}


def main() -> None:
    client = Client()
    connected = connector(client)
    stack(client, connected)
    story()
    account = client.create_service_account("agent")
    key = client.create_api_key(account.id, "key", set_key=False)
    told = {
        "versions": versions(client),
        "connector": str(connected.id),
        "api_key": key.key,
        "project": str(client.active_project.id),
    }
    print("STORY " + json.dumps(told))


main()
