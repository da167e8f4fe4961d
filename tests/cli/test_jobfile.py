"""The file that `exec` and `policy explain` take a job from."""

import pytest

from agent.cli.jobfile import MAX_JOB_BYTES, read_job
from agent.errors import Exit, UsageError
from tests.cli.commands import cloud_agent


def test_a_job_is_its_kind_and_parameters(tmp_path):
    """The rest is optional."""
    (tmp_path / "job.json").write_text('{"kind": "list-artifacts"}')

    assert {"kind": "list-artifacts", "parameters": {}} == read_job(tmp_path / "job.json")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "job.json:1: is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "should be an object"),
        (" " * (MAX_JOB_BYTES + 1), "is larger than"),
        ("{}", "kind: should be the kind of a job"),
        ('{"kind": "x", "paramters": {}}', "paramters: unknown key; did you mean parameters?"),
        ('{"kind": "x", "parameters": []}', "parameters: should be an object"),
        ('{"kind": "x", "deadline_s": 0}', "deadline_s: should be a number of seconds"),
        ('{"kind": "x", "deadline_s": true}', "deadline_s: should be a number of seconds"),
        ('{"kind": "x", "deadline_s": "1"}', "deadline_s: should be a number of seconds"),
    ],
)
def test_a_wrong_job_is_a_mistake_of_the_user(tmp_path, text, complaint):
    """Named with what would be right."""
    (tmp_path / "job.json").write_text(text)

    with pytest.raises(UsageError) as caught:
        read_job(tmp_path / "job.json")

    assert complaint in str(caught.value)


@pytest.mark.parametrize("verb", [["exec"], ["policy", "explain"]])
def test_a_job_may_come_from_standard_input(verb):
    """And its mistakes name the dash."""
    done = cloud_agent(*verb, "-f", "-", stdin='{"knd": "x"}')

    assert Exit.USAGE == done.returncode
    assert "-: knd: unknown key; did you mean kind?" in done.stderr
