"""What may stand in a command, and how it gets there."""

import pytest

from agent.errors import BadParameters, PipelineFailed, UsageError
from agent.pipelines.parameters import LONGEST_ARGUMENT, Command

TEXT = {"type": "string"}
ANY: dict[str, object] = {}


def filled(template: str, value: object, schema: object = TEXT) -> str:
    return Command(["run", template], {"x": schema}).filled({"x": value})[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (3, "3"),
        (-3, "-3"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        (["a b", 1], '["a b",1]'),
        ({"k": "ä"}, '{"k":"\\u00e4"}'),
    ],
)
def test_text_stands_as_it_is_and_the_rest_as_json(value, text):
    assert text == filled("{x}", value, ANY)


def test_a_default_stands_for_what_is_missing():
    command = Command(["run", "{epochs}"], {"epochs": {"type": "integer", "default": 3}})

    assert ["run", "3"] == command.filled({})
    assert ["run", "4"] == command.filled({"epochs": 4})


def test_braces_that_name_no_parameter_stay():
    """A command may use them for something else."""
    assert "${HOME} {} {y} v" == filled("${HOME} {} {y} {x}", "v")


@pytest.mark.parametrize("template", ["{x}", "{x}.csv"])
def test_text_does_not_become_an_option(template):
    """ "--output=/etc/passwd" is no name of a data set."""
    with pytest.raises(BadParameters, match="parameter x may not begin with -"):
        filled(template, "--output=/etc/passwd")


@pytest.mark.parametrize("template", ["--name={x}", "-n{x}", "dir/{x}", "-{x}"])
def test_text_may_begin_with_a_dash_where_it_makes_no_option(template):
    assert template.replace("{x}", "-v") == filled(template, "-v")


@pytest.mark.parametrize(
    "value", ["a\0b", "\ud800", "x" * (LONGEST_ARGUMENT + 1), "ä" * (LONGEST_ARGUMENT // 2 + 1)]
)
def test_what_is_no_argument_is_refused(value):
    with pytest.raises(BadParameters):
        filled("{x}", value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), [float("nan")]])
def test_numbers_are_finite(value):
    with pytest.raises(BadParameters):
        filled("{x}", value, ANY)


def test_the_message_names_the_parameter_and_the_rule():
    """Neither the value nor the rule's own value is public."""
    with pytest.raises(BadParameters) as refused:
        filled("{x}", 99, {"type": "integer", "maximum": 50})

    assert "parameter x does not fit its schema: maximum" == str(refused.value)
    assert "99 is greater than the maximum of 50" == refused.value.detail


def test_a_wrong_schema_is_not_the_callers_fault():
    for schema in ({"type": "number-like"}, {"$ref": "http://127.0.0.1:9/schema"}):
        with pytest.raises(PipelineFailed) as failed:
            filled("{x}", 1, schema)
        assert "parameter x" in str(failed.value.detail)


@pytest.mark.parametrize(
    "command",
    [
        ["{x}"],
        ["/opt/{x}/run"],
        ["sh", "-c", "echo {x}"],
        ["/bin/bash", "-e", "-xc", "echo '{x}'", "me"],
    ],
)
def test_a_parameter_does_not_choose_what_is_run(command):
    """Neither the program nor a shell's script; in quotes neither."""
    with pytest.raises(UsageError):
        Command(command, {"x": TEXT})


def test_a_shell_takes_parameters_as_arguments():
    command = Command(["sh", "-c", 'echo "$1" {y}', "me", "{x}"], {"x": TEXT})

    assert ["sh", "-c", 'echo "$1" {y}', "me", "$(id)"] == command.filled({"x": "$(id)"})
