"""How a reference is written, and that it is shown as it was written."""

import json

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from agent.config.parts import Reference
from agent.secret_reference import SecretReference

REFERENCE = TypeAdapter(Reference)
SCHEMA = Draft202012Validator(REFERENCE.json_schema())

WRITTEN = {
    "secret://vault/ml/s3": SecretReference(store="vault", path="ml/s3"),
    "secret://vault/ml/s3#id": SecretReference(store="vault", path="ml/s3", field="id"),
    "secret://vault/ml/s3?version=3": SecretReference(store="vault", path="ml/s3", version="3"),
    "secret://a.b/ml?version=AWS-OLD/1#a/b": SecretReference(
        store="a.b", path="ml", version="AWS-OLD/1", field="a/b"
    ),
}


@pytest.mark.parametrize(("text", "reference"), WRITTEN.items())
def test_a_reference_is_shown_as_it_was_written(text, reference):
    assert (reference, text) == (REFERENCE.validate_python(text), str(reference))
    assert SCHEMA.is_valid(text)


@pytest.mark.parametrize(
    "text",
    [
        "secret://vault/ml?version=",
        "secret://vault/ml?versoin=3",
        "secret://vault/ml?version=3&version=4",
        "secret://vault/?version=3",
        "secret://vault/ml?version=3#",
        "secret://vault/a?b?version=3",
    ],
)
def test_a_mistake_is_refused_without_being_repeated(text):
    with pytest.raises(ValidationError) as failure:
        REFERENCE.validate_python(text)

    assert "should be a reference such as" in str(failure.value)
    assert text not in json.dumps(failure.value.errors(include_input=False), default=str)
    assert not SCHEMA.is_valid(text)
