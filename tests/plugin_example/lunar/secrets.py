"""Secrets in an INI file: ``secret://NAME/SECTION#OPTION``."""

import asyncio
import configparser
from pathlib import Path
from typing import Literal

from agent.errors import CredentialUnavailable
from agent.plugins import Duration, Part, Plugin
from agent.secret import Secret
from agent.secrets.base import SecretValue


class IniSettings(Part):
    """An INI file with secrets."""

    type: Literal["ini"]
    file: Path
    cache: Duration = 60.0
    """How long a value is kept."""


class IniSecrets:
    """Reads the file anew each time; a section is a path, an option a field."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        if version is not None:
            raise CredentialUnavailable(detail="this store has no versions")
        sections = await asyncio.to_thread(self._sections)
        if path not in sections:
            raise CredentialUnavailable(detail=f"no section {path!r} in {self._file}")
        return SecretValue({name: Secret(value) for name, value in sections[path].items()})

    async def check(self) -> str:
        return f"{self._file} has {len(await asyncio.to_thread(self._sections))} sections"

    def forget(self, path: str, version: str | None = None) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Nothing is open."""

    def _sections(self) -> dict[str, dict[str, str]]:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(self._file.read_text())
        except (OSError, configparser.Error) as error:
            why = type(error).__name__
            raise CredentialUnavailable(detail=f"{self._file}: {why}") from None
        return {name: dict(parser[name]) for name in parser.sections()}


PLUGIN = Plugin(IniSettings, lambda _name, settings, _secrets: IniSecrets(settings.file))
