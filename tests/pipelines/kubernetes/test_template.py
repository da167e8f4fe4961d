"""A template that can't be run is told with its place, and parameters stay where they belong."""

from pathlib import Path

import pytest

from agent.errors import BadParameters, UsageError
from agent.pipelines.kubernetes.manifest import Environment, Limits, Manifest, job_name
from agent.pipelines.kubernetes.template import JobTemplate
from agent.pipelines.kubernetes.template_source import Source
from agent.secret_reference import SecretReference
from tests.pipelines.kubernetes.lab import job, shell

TEXT = {"name": {"type": "string"}}

WHOLE = """\
apiVersion: batch/v1
kind: Job
metadata:
  labels: {team: ml}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: main
          image: registry.example.com/train:1
          command: [train]
          args: [--name, "--as={name}"]
          env:
            - {name: GREETING, value: "dear {name}"}
"""


@pytest.fixture
def read(tmp_path: Path):
    def read_(text: str, schemas=TEXT) -> JobTemplate:
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return JobTemplate(Source.of_file(path), schemas)

    return read_


def main_of(template: JobTemplate, **parameters) -> dict:
    return template.filled(parameters)["spec"]["template"]["spec"]["containers"][0]


def test_values_get_into_arguments_and_environment(read):
    container = main_of(read(WHOLE), name="Ada")

    assert ["--name", "--as=Ada"] == container["args"]
    assert [{"name": "GREETING", "value": "dear Ada"}] == container["env"]


def test_the_template_itself_stays_as_it_is(read):
    template = read(WHOLE)

    main_of(template, name="Ada")

    assert "--as={name}" == template.job["spec"]["template"]["spec"]["containers"][0]["args"][1]


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        (("kind: Job", "kind: CronJob"), 2, "kind should be Job"),
        (("batch/v1", "batch/v1beta1"), 1, "apiVersion should be batch/v1"),
        (("labels: {team: ml}", "name: mine"), 4, "metadata.name is the agent's to set"),
        (("{team: ml}", "{cloud-agent/run: x}"), 4, "cloud-agent/ is the agent's own"),
        (("restartPolicy: Never", "restartPolicy: OnFailure"), 8, "should be Never"),
        (("image: registry.example.com/train:1", "image: 7"), 11, "image should be text"),
        (("train:1", "{name}:1"), 11, "a parameter can stand in args and in values of env"),
        (("[train]", '["{name}"]'), 12, "a parameter can stand in args and in values of env"),
        (("name: GREETING", 'name: "{name}"'), 15, "a parameter can stand in args"),
        (("dear {name}", "$(SECRET) {name}"), 15, "can't stand in one value"),
        (("restartPolicy: Never", 'serviceAccountName: "{name}"'), 8, "a parameter can stand in"),
        (('"dear {name}"', "7"), 15, "value should be text; put it into quotes"),
        (("[--name,", "[7,"), 13, "args[0] should be text; put it into quotes"),
        (("command: [train]", "command: [sh, -c]\n          args: []"), 14, "args is there twice"),
        (("spec:\n  template", "spec:\n  parallelism: 3\n  template"), 6, "should be 1"),
        (("spec:\n  template", "spec:\n  backoffLimit: x\n  template"), 6, "a whole number"),
        (("spec:\n  template", "spec:\n  suspend: true\n  template"), 6, "can't be set"),
        (("kind: Job", "kind: [Job"), 3, "expected"),
    ],
)
def test_a_mistake_is_told_with_its_line(read, tmp_path, change, line, told):
    with pytest.raises(UsageError) as failure:
        read(WHOLE.replace(*change))

    assert f"{tmp_path}/job.yaml:{line}: " in str(failure.value)
    assert told in str(failure.value)


def test_a_parameter_is_no_part_of_a_script(read):
    """Also when the shell is the command and its script an argument."""
    text = WHOLE.replace("[train]", "[/bin/bash, -ec]").replace("--name, ", "")

    with pytest.raises(UsageError, match=r"job\.yaml:13: .*can't stand in a shell's script"):
        read(text)


def test_a_mistake_in_the_settings_is_told_by_its_path():
    template = job(shell("true", image="{name}"))

    with pytest.raises(UsageError, match=r"template: spec\.template\.spec\.containers\[0\]\.image"):
        JobTemplate(Source(template, "template"), TEXT)


def test_all_mistakes_are_told_at_once(read):
    with pytest.raises(UsageError) as failure:
        read(WHOLE.replace("kind: Job", "kind: X").replace("Never", "Always"))

    assert "kind" in str(failure.value)
    assert "restartPolicy" in str(failure.value)


@pytest.mark.parametrize("text", ["", "7", "[]", "a: b: c", "apiVersion: batch/v1\nkind: Job"])
def test_what_is_no_template_is_refused(read, text):
    with pytest.raises(UsageError, match=r"job\.yaml"):
        read(text)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        Source.of_file(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    "value",
    ["$(GREETING)", "$$(GREETING)", "$", "$$", "a$b", "{name}", "a b; rm -rf /", "`id`", "$(id)"],
)
def test_the_cluster_reads_nothing_into_a_value(read, value):
    """Each dollar is doubled, which the cluster undoes; so ``$(NAME)`` never stands there alone."""
    container = main_of(read(WHOLE), name=value)

    assert f"--as={value}" == container["args"][1].replace("$$", "$")
    assert value.count("$") * 2 == container["args"][1].count("$")
    assert value.count("$") * 2 == container["env"][0]["value"].count("$")


def test_what_the_customer_wrote_for_the_cluster_stays(read):
    text = WHOLE.replace("[--name,", "[--user=$(USER),")

    assert "--user=$(USER)" == main_of(read(text), name="x")["args"][0]


def test_a_value_can_not_become_an_option(read):
    text = WHOLE.replace("--as={name}", "{name}")

    with pytest.raises(BadParameters, match="may not begin with -"):
        main_of(read(text), name="--delete-everything")


@pytest.mark.parametrize("value", ["\0", "\ud800", "x" * 200_000])
def test_what_no_process_can_be_given_is_refused(read, value):
    with pytest.raises(BadParameters):
        main_of(read(WHOLE), name=value)


def test_parameters_without_a_place_are_checked_too(read):
    text = WHOLE.replace("{name}", "nobody")

    with pytest.raises(BadParameters):
        read(text).filled({"name": 7})


def manifest(main=None, **settings) -> Manifest:
    spec = settings.pop("spec", {})
    source = Source(job(main or shell("true"), **spec), "template")
    given = {"container": None, "environment": Environment(), "limits": Limits(), **settings}
    return Manifest("it", JobTemplate(source, {}), **given)


@pytest.mark.parametrize(
    "run", ["run", "R", "9", "a" * 128, "A.b_C-d", "x" + "." * 100, "job-7f3a.2"]
)
def test_a_name_of_a_run_makes_a_name_of_a_job(run):
    """A DNS label, which a pod's name can be made of, too."""
    name = job_name(run)

    assert len(name) <= 57
    assert name == name.lower()
    assert all(part.isalnum() for part in name.replace("-", ""))
    assert not name.startswith("-")
    assert not name.endswith("-")


def test_names_that_look_alike_stay_different():
    assert 4 == len({job_name(run) for run in ("a.b", "a-b", "A-b", "a_b")})


def test_the_job_tells_whose_it_is():
    made = manifest().job("Run_1", {})

    assert "Run_1" == made["metadata"]["annotations"]["cloud-agent/run"]
    assert "it" == made["metadata"]["labels"]["cloud-agent/pipeline"]
    assert made["metadata"]["annotations"]["cloud-agent/digest"].startswith("sha256:")
    assert "Run_1" == made["spec"]["template"]["metadata"]["annotations"]["cloud-agent/run"]


def test_the_defaults_are_careful():
    """One attempt, no token of the cluster, an end and a clean-up."""
    spec = manifest().job("run", {})["spec"]

    assert (0, 86400, 86400) == (
        spec["backoffLimit"],
        spec["activeDeadlineSeconds"],
        spec["ttlSecondsAfterFinished"],
    )
    assert spec["template"]["spec"]["automountServiceAccountToken"] is False
    assert 30 == spec["template"]["spec"]["terminationGracePeriodSeconds"]


def test_what_the_template_says_is_kept():
    spec = {"backoffLimit": 2, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 600}
    made = manifest(spec={**spec, "pod": {"automountServiceAccountToken": True}}).job("run", {})

    assert spec == {key: made["spec"][key] for key in spec}
    assert made["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


def test_settings_and_template_may_not_differ():
    with pytest.raises(UsageError, match="timeout: the template says activeDeadlineSeconds: 60"):
        manifest(spec={"activeDeadlineSeconds": 60}, limits=Limits(timeout=90.0))


def test_a_secret_is_never_in_the_job():
    reference = SecretReference.parse("secret://vault/token")
    made = manifest(environment=Environment(secret={"TOKEN": reference})).job("run", {})

    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"secretKeyRef": {"name": job_name("run"), "key": "TOKEN"}} == env[-1]["valueFrom"]


def test_a_variable_is_set_once():
    container = shell("true", env=[{"name": "TOKEN", "value": "x"}])

    with pytest.raises(UsageError, match="TOKEN is set by the template"):
        manifest(container, environment=Environment(plain={"TOKEN": "y"}))


def test_of_several_containers_one_is_named():
    pods = {"containers": [shell("true"), shell("true", name="side")]}

    with pytest.raises(UsageError, match="container: name the one whose log is read: main, side"):
        manifest(spec={"pod": pods})
    assert "side" == manifest(spec={"pod": pods}, container="side").container
