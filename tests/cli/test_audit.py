"""`cloud-agent audit verify` on a log that the agent's own code wrote."""

import json

from agent.errors import Exit
from agent.guard.audit import AuditLog
from tests.cli.commands import cloud_agent


async def written(path):
    """Write three lines."""
    log = AuditLog.open(path, redact=str)
    for number in range(3):
        await log.record_durably("policy.decided", job=f"job-{number}")
    log.close()


async def test_a_whole_chain_passes_and_tells_its_head(tmp_path):
    """The head is what an operator notes elsewhere."""
    await written(tmp_path / "audit.jsonl")
    last = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])

    done = cloud_agent("audit", "verify", tmp_path / "audit.jsonl", "--json")

    assert Exit.DONE == done.returncode
    assert (3, last["hash"]) == (json.loads(done.stdout)["lines"], json.loads(done.stdout)["head"])


async def test_a_changed_line_is_found_where_the_configuration_puts_the_log(tmp_path):
    """The file is the one in the state directory, unless another is named."""
    log = tmp_path / "audit.jsonl"
    await written(log)
    log.write_text(log.read_text().replace("job-1", "job-9"))

    done = cloud_agent("audit", "verify", environ={"CLOUD_AGENT__AGENT__STATE_DIR": str(tmp_path)})

    assert Exit.FAILED == done.returncode
    assert "line 2 " in done.stdout
