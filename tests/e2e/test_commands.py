"""The verbs of `cloud-agent` against a running world, as a user runs them."""

import json
import shutil
import subprocess

import pytest
import yaml

from demo.world import AGENT, ROOT, World


def run(world: World, *arguments: str, stdin: str = "", config=None):
    """Run a verb of the agent; return what came of it."""
    command = [*world.agent_command(*arguments)[:-1], str(config or world.config_file)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


def changed(world: World, tmp_path, change):
    """Return the file of a configuration that *change* has been made to."""
    config = yaml.safe_load(world.config_file.read_text())
    change(config)
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def job(kind: str, **parameters) -> str:
    return json.dumps({"kind": kind, "parameters": parameters})


class TestExec:
    def test_writes_the_artifact(self, world: World, tmp_path):
        asked = job("fetch-artifact", uri=world.put("exec.bin", b"exactly this"))

        ended = run(world, "exec", "-f", "-", "-o", str(tmp_path / "got"), stdin=asked)

        assert 0 == ended.returncode, ended.stderr
        assert b"exactly this" == (tmp_path / "got").read_bytes()
        assert "succeeded" == json.loads(ended.stderr.splitlines()[-1])["outcome"]

    def test_runs_a_pipeline_and_blacks_its_secret_out(self, world: World):
        asked = job("trigger-pipeline", pipeline="train-churn", parameters={"epochs": 1}, wait=True)

        ended = run(world, "exec", "-f", "-", stdin=asked)

        assert 0 == ended.returncode, ended.stderr
        assert "epoch 1 of 1" in ended.stdout
        assert world.tracking_token not in ended.stdout + ended.stderr

    @pytest.mark.parametrize(
        ("uri", "code", "reason"),
        [(f"{ROOT}/pii/x", 3, "policy_denied"), (f"{ROOT}/missing", 1, "not_found")],
    )
    def test_tells_why_not(self, world: World, tmp_path, uri: str, code: int, reason: str):
        asked = job("fetch-artifact", uri=uri)

        ended = run(world, "exec", "-f", "-", "-o", str(tmp_path / "got"), stdin=asked)

        assert (code, reason) == (
            ended.returncode,
            json.loads(ended.stderr.splitlines()[-1])["reason"],
        )
        assert not (tmp_path / "got").exists()


class TestExplain:
    def test_names_rule_store_and_connector(self, world: World):
        asked = job("fetch-artifact", uri=f"{ROOT}/model.bin")

        ended = run(world, "policy", "explain", "--json", "-f", "-", stdin=asked)

        assert 0 == ended.returncode, ended.stderr
        decision = json.loads(ended.stdout)
        assert {"rule": 0, "artifact_store": "training", "connector": "ml-s3"}.items() <= (
            decision.items()
        )

    def test_names_the_rule_that_denies(self, world: World):
        asked = job("fetch-artifact", uri=f"{ROOT}/pii/customers.csv")

        ended = run(world, "policy", "explain", "-f", "-", stdin=asked)

        assert 3 == ended.returncode
        assert "denied (by policy.rules.3)" in ended.stdout


class TestCheck:
    def rows(self, world: World, config=None) -> dict[str, str]:
        ended = run(world, "check", "--json", config=config)
        rows = {row["what"]: row for row in json.loads(ended.stdout)["rows"]}
        failed = any(row["status"] == "FAIL" for row in rows.values())
        assert int(failed) == ended.returncode
        assert all(row["advice"] for row in rows.values() if row["status"] == "FAIL")
        return {what: row["status"] for what, row in rows.items()}

    def test_passes_in_a_world_that_is_well(self, world: World):
        rows = self.rows(world)

        assert {"secret store vault", "connector ml-s3", "artifact store training"} <= rows.keys()
        assert {"PASS"} == set(rows.values()) - {"SKIP"}, rows

    def test_names_all_that_is_broken_in_one_run(self, world: World, tmp_path):
        (tmp_path / "secret-id").write_text("no-such-id")
        (tmp_path / "secret-id").chmod(0o600)

        def break_much(config) -> None:
            config["secret_stores"]["vault"]["auth"]["secret_id_file"] = str(tmp_path / "secret-id")
            config["control_plane"]["url"] = "ws://127.0.0.1:9/agent/v1/connect"

        rows = self.rows(world, changed(world, tmp_path, break_much))

        broken = {what for what, status in rows.items() if status == "FAIL"}
        assert {"tcp", "secret store vault", "connector ml-s3", "artifact store training"} <= broken

    def test_shows_a_table_to_a_person(self, world: World):
        ended = run(world, "check")

        assert 0 == ended.returncode
        assert "PASS  secret store vault" in ended.stdout
        assert "0 FAIL" in ended.stdout


class TestHealth:
    def test_of_a_running_agent(self, world: World):
        ready, live = run(world, "ready"), run(world, "live")

        assert (0, "ready\n") == (ready.returncode, ready.stdout)
        assert (0, "alive\n") == (live.returncode, live.stdout)

    def test_without_a_control_plane_is_live_and_not_ready(self, world: World):
        world.plane.stop()
        world.until(lambda: not world.agent_is_ready())
        ready, live = run(world, "ready"), run(world, "live")
        world.start_plane()

        assert (1, "not_connected\n") == (ready.returncode, ready.stdout)
        assert 0 == live.returncode
        world.until(world.agent_is_ready)


class TestEnroll:
    def test_registers_a_new_key_once(self, world: World, tmp_path):
        """The token is good for one key; the agent then needs no token to run."""
        token = tmp_path / "token"
        world.cli("join-token", "create", "--agent", AGENT, "-o", str(token))
        shutil.copy(token, tmp_path / "again")

        def move(config) -> None:
            config["agent"]["state_dir"] = str(tmp_path / "state")

        config = changed(world, tmp_path, move)
        first = run(world, "enroll", "--join-token-file", str(token), config=config)
        assert (0, f"enrolled {AGENT}/i-") == (first.returncode, first.stdout[:19]), first.stderr
        instances = world.rest("/agents")["agents"][0]["instances"]
        assert first.stdout.split("/")[1].strip() in {one["id"] for one in instances}

        shutil.rmtree(tmp_path / "state")
        second = run(world, "enroll", "--join-token-file", str(tmp_path / "again"), config=config)
        assert (1, True) == (second.returncode, "token" in second.stderr), second


class TestShow:
    def test_names_the_source_of_each_value_and_hides_secrets(self, world: World):
        ended = run(world, "config", "show")

        assert 0 == ended.returncode
        assert AGENT == yaml.safe_load(ended.stdout)["agent"]["name"]
        assert f"{world.config_file.name}:" in ended.stdout
        assert "# default" in ended.stdout
        assert not any(secret in ended.stdout for secret in world.credentials.values())
