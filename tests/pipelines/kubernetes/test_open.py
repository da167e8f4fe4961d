"""Settings that can't work are refused at load, with the pipeline and the key."""

import pytest
from pydantic import ValidationError

from agent.config.connectors import HttpConnector
from agent.config.pipelines import KubernetesPipeline
from agent.connectors.open import open_connectors
from agent.errors import UsageError
from agent.pipelines.open import open_pipeline_runners
from agent.secrets.open import open_secret_stores
from tests.pipelines.kubernetes.lab import hold_nothing, job, shell

TEMPLATE = job(shell("true"))


@pytest.fixture
def load(tmp_path):
    def load_(**settings):
        pipeline = KubernetesPipeline(name="it", runner="kubernetes", **settings)
        secrets = open_secret_stores({}, on_secret=lambda _: None)
        http = HttpConnector(type="http", method="none", endpoint_url="https://x.example.com")
        return open_pipeline_runners(
            [pipeline],
            state_dir=tmp_path,
            hold=hold_nothing,
            connectors=open_connectors({"web": http}, secrets),
            secrets=secrets,
        )

    return load_


async def test_without_a_connector_it_is_the_pods_own_cluster(load):
    """Nothing is asked of it at load, so that it need not be there."""
    runners = load(template=TEMPLATE)

    assert "KubernetesRunner" in repr(runners.for_pipeline("it"))
    await runners.close()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"connector": "nobody"}, "pipelines: it: connector: there is no nobody in connectors"),
        ({"connector": "web"}, "pipelines: it: connector: web gives no access to a cluster"),
        ({"container": "x"}, "pipelines: it: container: the template has no x; it has main"),
        ({"keep": 5}, "pipelines: it: keep: should be 60s at least"),
    ],
)
def test_what_can_not_work_is_told(load, settings, told):
    with pytest.raises(UsageError) as failure:
        load(template=TEMPLATE, **settings)

    assert told == str(failure.value)


def test_a_template_that_is_missing_is_told(load, tmp_path):
    with pytest.raises(UsageError, match=r"pipelines: it: .*/no\.yaml: No such file"):
        load(template_file=tmp_path / "no.yaml")


@pytest.mark.parametrize("given", [{}, {"template": TEMPLATE, "template_file": "job.yaml"}])
def test_there_is_one_template(given):
    with pytest.raises(ValidationError, match="name a template_file, or give a template"):
        KubernetesPipeline(name="it", runner="kubernetes", **given)


def test_a_name_of_a_variable_is_one():
    with pytest.raises(ValidationError):
        KubernetesPipeline(
            name="it", runner="kubernetes", template=TEMPLATE, environment={"a-b": "x"}
        )
