"""`cloud-agent config`: what may be configured, and what is."""

import argparse
import sys
from pathlib import Path

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

_IMPORT_TEXT = """
Makes connectors of the service connectors that a ZenML server exported, and prints them as YAML for
the configuration file. Secrets become references into --store. Their values, where the export holds
them, are printed nowhere: --secrets-dir writes them into one file for each connector, readable by
you alone, from where they can be moved into your secret store. With a store of type file and that
directory as its root, they can be used right away.

example:
  curl -H "Authorization: Bearer $TOKEN" https://zenml.example.com/api/v1/service_connectors |
    cloud-agent config import-zenml -f - --store vault --path 'ml/{name}'
  cloud-agent config import-zenml -f export.json --store files --path '{name}.json' \\
    --secrets-dir /etc/cloud-agent/secrets >> agent.yaml
"""


def add(verbs: Verbs) -> None:
    """Add the verb and its own verbs."""
    config = add_verb(verbs, "config", None, help="show the settings or their schema", text=_TEXT)
    inner = config.add_subparsers(title="verbs", metavar="VERB", required=True)
    shown = add_verb(inner, "show", show, help="the effective configuration", text=_SHOW_TEXT)
    add_config(shown)
    add_settings(shown)
    add_json(shown)
    _add_import(inner)
    add_verb(inner, "schema", schema, help="the JSON Schema of a file", text=_SCHEMA_TEXT)


def show(arguments: argparse.Namespace) -> int:
    """Print the effective configuration."""
    from agent.config.show import as_json, as_yaml

    loaded = load_config(arguments)
    sys.stdout.write((as_json if arguments.json else as_yaml)(loaded))
    return Exit.DONE


def import_zenml(arguments: argparse.Namespace) -> int:
    """Print connectors made of an export, and write their secrets where they are asked for."""
    from agent.cli.importing import as_yaml, read_export, write_secrets
    from agent.config.zenml_export import imported

    export = read_export(arguments.file)
    connectors = imported(export, store=arguments.store, path=arguments.path)
    if arguments.secrets_dir is not None:
        write_secrets(connectors, arguments.secrets_dir)
    sys.stdout.write(as_yaml(connectors, written=arguments.secrets_dir is not None))
    return Exit.DONE


def schema(_arguments: argparse.Namespace) -> int:
    """Print the schema."""
    from agent.config.show import schema_as_json

    sys.stdout.write(schema_as_json())
    return Exit.DONE


def _add_import(inner: Verbs) -> None:
    text = "connectors out of a ZenML server"
    parser = add_verb(inner, "import-zenml", import_zenml, help=text, text=_IMPORT_TEXT)
    parser.add_argument(
        "-f", "--file", required=True, metavar="FILE", help="the export, JSON; - for standard input"
    )
    parser.add_argument(
        "--store", required=True, metavar="NAME", help="the secret store that holds their secrets"
    )
    parser.add_argument(
        "--path", default="{name}", help="of a connector's secret there; default: {name}"
    )
    parser.add_argument(
        "--secrets-dir", type=Path, metavar="DIR", help="write the secrets into files there"
    )
