"""`cloud-agent config`: what may be configured, and what is."""

import argparse
import sys

from agent.cli.arguments import Verbs, add_config, add_json, add_settings, add_verb, load_config
from agent.errors import Exit

_TEXT = """
Shows what may be configured, or what is in effect.

example:
  cloud-agent config show -c agent.yaml
"""

_SHOW_TEXT = """
Prints the effective configuration as YAML, with where each value came from in a comment behind it:
a file and line, an environment variable, a flag, or the default. Passwords are shown as ***.

example:
  cloud-agent config show -c agent.yaml | grep -v '# default'
"""

_SCHEMA_TEXT = """
Prints the JSON Schema of a configuration file, for editors that complete and check as you type.

example:
  cloud-agent config schema > agent.schema.json
  # then, as the first line of agent.yaml:
  # yaml-language-server: $schema=agent.schema.json
"""


def add(verbs: Verbs) -> None:
    """Add the verb and its own verbs."""
    config = add_verb(verbs, "config", None, help="show the settings or their schema", text=_TEXT)
    inner = config.add_subparsers(title="verbs", metavar="VERB", required=True)
    shown = add_verb(inner, "show", show, help="the effective configuration", text=_SHOW_TEXT)
    add_config(shown)
    add_settings(shown)
    add_json(shown)
    add_verb(inner, "schema", schema, help="the JSON Schema of a file", text=_SCHEMA_TEXT)


def show(arguments: argparse.Namespace) -> int:
    """Print the effective configuration."""
    from agent.config.show import as_json, as_yaml

    loaded = load_config(arguments)
    sys.stdout.write((as_json if arguments.json else as_yaml)(loaded))
    return Exit.DONE


def schema(_arguments: argparse.Namespace) -> int:
    """Print the schema."""
    from agent.config.show import schema_as_json

    sys.stdout.write(schema_as_json())
    return Exit.DONE
