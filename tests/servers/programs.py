"""Finding programs that not every machine has. Apart from `processes`, which the demo uses too."""

import os
import shutil
from pathlib import Path

import pytest


def program(name: str) -> Path:
    """Where the program *name* of the distribution is, also when an ordinary user's PATH lacks it.

    A missing one skips the test, and fails it under CI=true: there everything must be run.
    """
    found = shutil.which(
        name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    )
    if found is not None:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI must not skip what needs it")
    pytest.skip(f"{name} is not installed; `make test` as root installs it")
