"""Service connectors of a ZenML server become connectors of ours, and no secret is printed."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from agent.cli import main
from agent.config.connectors import Connector
from agent.config.zenml_export import _METHODS, imported
from agent.errors import UsageError
from agent.secret import Secret
from tests.servers.seaweedfs import ADMIN
from tests.servers.zenml import Zenml

HIDDEN = "a-value-nobody-may-see"


def exported(kind: str, method: str, configuration: dict[str, object], **body: object) -> dict:
    return {
        "name": f"my {kind}",
        "body": {
            "connector_type": {"connector_type": kind},
            "auth_method": method,
            "resource_types": [],
            **body,
        },
        "metadata": {"configuration": configuration, "expiration_seconds": 1800},
    }


def configuration_of(kind: str, method: str) -> dict[str, object]:
    """Something for every key that the method has at ZenML."""
    chosen = _METHODS[kind, method]
    plain = {key: "https://x.example" if "url" in key or key == "server" else "x"
             for key in chosen.plain if key not in ("insecure", "role_arn")}  # fmt: skip
    roles = {"role_arn": "arn:aws:iam::1:role/r"} if method == "iam-role" else {}
    if "target_principal" in plain:
        plain["target_principal"] = "reader@x.iam.gserviceaccount.com"
    return {**plain, **roles, **dict.fromkeys(chosen.secret, HIDDEN)}


class TestEveryMethod:
    @pytest.mark.parametrize(("kind", "method"), _METHODS)
    def test_it_becomes_a_valid_connector_without_its_secrets(self, kind: str, method: str) -> None:
        export = exported(kind, method, configuration_of(kind, method))

        [found] = imported(export, store="vault", path="ml/{name}")

        TypeAdapter(Connector).validate_python(found.settings)
        assert f"my-{kind}" == found.name
        assert HIDDEN not in json.dumps(found.settings)
        assert HIDDEN not in repr(found)
        assert all(Secret(HIDDEN) == value for value in found.secrets.values())
        references = [v for v in found.settings.values() if str(v).startswith("secret://")]
        assert all(v.startswith(f"secret://vault/ml/my-{kind}#") for v in references)
        assert (not references) == (method == "implicit")


def test_an_implicit_role_is_assumed() -> None:
    role = "arn:aws:iam::1:role/reader"
    export = exported("aws", "implicit", {"region": "eu-west-1", "role_arn": role})

    [found] = imported(export, store="vault")

    assert ("iam-role", role) == (found.settings["method"], found.settings["role_arn"])
    assert "1800s" == found.settings["duration"]


def test_a_client_certificate_is_a_method_of_its_own() -> None:
    certificate = {"client_certificate": HIDDEN, "client_key": HIDDEN}
    given = {"server": "https://k.example", "cluster_name": "k", **certificate}

    [found] = imported(exported("kubernetes", "token", given), store="vault")

    assert "client-certificate" == found.settings["method"]
    assert "token" not in found.settings


def test_a_resource_and_a_policy_are_kept() -> None:
    policy = {"Version": "2012-10-17", "Statement": []}
    given = {"region": "eu-west-1", "role_arn": "arn:aws:iam::1:role/r",
             "policy": json.dumps(policy)}  # fmt: skip
    export = exported("aws", "iam-role", given | dict.fromkeys(
        ("aws_access_key_id", "aws_secret_access_key"), HIDDEN),
        resource_types=["s3-bucket"], resource_id="s3://ml")  # fmt: skip

    [found] = imported(export, store="vault")

    assert policy == found.settings["session_policy"]
    assert ("s3-bucket", "s3://ml") == (
        found.settings["resource_type"],
        found.settings["resource_id"],
    )


@pytest.mark.parametrize(
    ("export", "says"),
    [
        ([], None),
        ({"name": "x"}, "no export of ZenML"),
        ("text", "no export of ZenML"),
        ([1], "no export of ZenML"),
        (exported("hyperai", "rsa-key", {"base64_ssh_key": HIDDEN}), "no connector for hyperai"),
        (exported("aws", "iam-role", {"region": "x"}), "iam-role needs role_arn"),
        (exported("aws", "secret-key", {"policy": "{" + HIDDEN}), "policy: is no JSON"),
    ],
)
def test_what_is_wrong_is_told_without_a_value(export: object, says: str | None) -> None:
    if says is None:
        assert [] == imported(export, store="vault")
        return
    with pytest.raises(UsageError, match=says) as wrong:
        imported(export, store="vault")
    assert HIDDEN not in str(wrong.value)


class TestHostileExport:
    """Whoever may write to the ZenML server chooses names and keys."""

    def test_no_key_makes_a_line_of_its_own(self, tmp_path: Path, capsys) -> None:
        evil = (
            "x\n  evil: {type: docker, username: secret://files/a, password: secret://files/b}\n#"
        )
        given = {"username": "u", "password": HIDDEN, evil: "1"}
        (tmp_path / "e.json").write_text(json.dumps(exported("docker", "password", given)))

        main(["config", "import-zenml", "-f", str(tmp_path / "e.json"), "--store", "files"])

        assert ["my-docker"] == list(yaml.safe_load(capsys.readouterr().out)["connectors"])

    @pytest.mark.parametrize("name", ["", "模型", ".."])
    def test_a_name_that_is_none_here_is_told(self, name: str) -> None:
        export = exported("docker", "password", {"username": "u", "password": HIDDEN})
        export["name"] = name

        with pytest.raises(UsageError, match="rename it"):
            imported(export, store="files")

    def test_two_that_would_be_one_are_told(self) -> None:
        both = [exported("docker", "password", {"username": "u", "password": HIDDEN}) for _ in "ab"]
        both[0]["name"], both[1]["name"] = "team a", "team-a"

        with pytest.raises(UsageError, match="team-a: two of them"):
            imported(both, store="files")

    @pytest.mark.parametrize("path", ["{nam}", "{", "{name.__class__}", "{0}"])
    def test_a_path_is_no_template_language(self, path: str) -> None:
        export = exported("docker", "password", {"username": "u", "password": HIDDEN})

        [found] = imported(export, store="files", path=path)

        assert f"secret://files/{path}#username" == found.settings["username"]

    @pytest.mark.parametrize("seconds", ["soon", -1, 0, None, [], 1.5])
    def test_a_life_that_is_none_is_left_out(self, seconds: object) -> None:
        export = exported("aws", "implicit", {"region": "eu-west-1"})
        export["metadata"]["expiration_seconds"] = seconds

        [found] = imported(export, store="files")

        assert "duration" not in found.settings


class TestCommand:
    def test_a_real_export_is_used_right_away(
        self, zenml: Zenml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What the server answers by default holds the key in clear."""
        with zenml.session() as session:
            answer = session.get(
                f"{zenml.url}/api/v1/service_connectors?hydrate=true&expand_secrets=true"
            )
        key = ADMIN.secret_access_key.reveal()
        assert key in answer.text
        (tmp_path / "export.json").write_text(answer.text)

        code = main(
            [
                *("config", "import-zenml", "-f", str(tmp_path / "export.json")),
                *("--store", "files", "--path", "{name}.json"),
                *("--secrets-dir", str(tmp_path / "secrets")),
            ]
        )

        out, err = capsys.readouterr()
        assert 0 == code
        assert key not in out + err
        written = tmp_path / "secrets/ml-s3.json"
        assert 0o600 == stat.S_IMODE(os.stat(written).st_mode)
        assert key == json.loads(written.read_text())["aws_secret_access_key"]
        stores = f"secret_stores: {{files: {{type: file, root: {tmp_path}/secrets}}}}\n"
        (tmp_path / "agent.yaml").write_text(stores + out)
        assert 0 == main(["config", "show", "-c", str(tmp_path / "agent.yaml")])
        connector = yaml.safe_load(out)["connectors"]["ml-s3"]
        assert ("aws", "secret-key", "s3-bucket") == (
            connector["type"],
            connector["method"],
            connector["resource_type"],
        )

    def test_without_a_directory_it_says_what_is_to_be_stored(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        export = exported("docker", "password", {"username": "bot", "password": HIDDEN, "extra": 1})
        (tmp_path / "e.json").write_text(json.dumps(export))

        main(["config", "import-zenml", "-f", str(tmp_path / "e.json"), "--store", "vault"])

        out = capsys.readouterr().out
        assert (
            '# to be stored as "secret://vault/my-docker#password"; its value is in the export'
            in out
        )
        assert '# ZenML\'s "extra" has no counterpart here and was left out' in out
        assert HIDDEN not in out

    def test_no_file_is_overwritten(self, tmp_path: Path, capsys) -> None:
        (tmp_path / "my-docker.json").write_text("mine")
        export = exported("docker", "password", {"username": "bot", "password": HIDDEN})
        (tmp_path / "e.json").write_text(json.dumps(export))

        code = main(["config", "import-zenml", "-f", str(tmp_path / "e.json"), "--store", "files",
                     "--secrets-dir", str(tmp_path)])  # fmt: skip

        assert 2 == code
        assert "exists already; remove it first" in capsys.readouterr().err
        assert "mine" == (tmp_path / "my-docker.json").read_text()

    def test_what_is_no_json_is_told(self, tmp_path: Path, capsys) -> None:
        (tmp_path / "e.json").write_text(HIDDEN)

        assert 2 == main(["config", "import-zenml", "-f", str(tmp_path / "e.json"), "--store", "v"])
        err = capsys.readouterr().err
        assert "is not valid JSON" in err
        assert HIDDEN not in err
