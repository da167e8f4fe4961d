"""Everything `cloud-agent check` looks at before the agent is started.

It changes nothing anywhere.
"""

import asyncio

from agent import egress
from agent.config.load import Loaded
from agent.preflight.connection import connection_rows
from agent.preflight.host import disk, files, identity, state_directory
from agent.preflight.parts import part_rows, policy_rows
from agent.preflight.route import dns_row, proxy_row, route_to
from agent.preflight.rows import Row, Status, bounded


async def preflight(loaded: Loaded) -> list[Row]:
    """Return one row for each thing that was looked at, in a fixed order.

    All of it runs at once, each with a bound of its own, and a failure stops nothing else.
    """
    settings = loaded.settings
    egress.guard()
    route = route_to(settings.control_plane)
    dns, connection, parts, who = await asyncio.gather(
        bounded("dns", dns_row(route), advice="look at this host's resolver"),
        connection_rows(settings.control_plane),
        part_rows(settings),
        bounded("identity", asyncio.to_thread(identity, settings), advice="see agent.state_dir"),
    )
    return [
        Row(Status.PASS, "config", f"{loaded.path or 'the environment'} is right in itself"),
        *files(settings),
        state_directory(settings.agent.state_dir),
        disk(settings.agent.state_dir),
        who,
        proxy_row(route),
        dns,
        *connection,
        *parts,
        *policy_rows(settings),
    ]
