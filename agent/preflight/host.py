"""Looks at this host: state directory, disk, identity, and the files that the settings name."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.config.origins import Key, dotted
from agent.config.parts import Part
from agent.config.pipelines import ProcessPipeline
from agent.config.settings import Settings
from agent.identity import KEY_FILE, Identity, enrolled_at
from agent.preflight.rows import Row, Status

MIB = 1024 * 1024
LEAST_FREE = 64 * MIB
FEW_FREE = 1024 * MIB


def state_directory(state_dir: Path) -> Row:
    """Say whether the agent can write there, and nobody else can read."""
    what = "state directory"
    own = "give the agent's user a directory of its own there, mode 0700; see agent.state_dir"
    place = _nearest_existing(state_dir)
    if not place.is_dir():
        return Row(Status.FAIL, what, f"{place} is not a directory", own)
    if not os.access(place, os.W_OK | os.X_OK):
        return Row(Status.FAIL, what, f"{place} can't be written", own)
    if place != state_dir:
        return Row(Status.PASS, what, f"{state_dir} will be made")
    mode = state_dir.stat().st_mode & 0o777
    if mode & 0o077:
        return Row(Status.WARN, what, f"{state_dir} is open to others ({mode:04o})", "chmod 700 it")
    return Row(Status.PASS, what, f"{state_dir} is writable and private")


def disk(state_dir: Path) -> Row:
    """Say whether the journal and the runs of pipelines have room."""
    free = shutil.disk_usage(_nearest_existing(state_dir)).free
    found = f"{free // MIB} MiB free for {state_dir}"
    if free < LEAST_FREE:
        return Row(Status.FAIL, "disk", found, "make room: the agent takes no jobs on a full disk")
    if free < FEW_FREE:
        return Row(Status.WARN, "disk", found, "make room for journal, audit log and pipeline runs")
    return Row(Status.PASS, "disk", found)


def identity(settings: Settings) -> Row:
    """Say whether the agent can prove who it is, or may still become somebody; makes no key.

    Raises:
        UsageError: The key is no key, or others may read it.
    """
    state_dir, url = settings.agent.state_dir, settings.control_plane.url
    if not os.access(_nearest_existing(state_dir), os.X_OK):
        return Row(Status.SKIP, "identity", "the state directory can't be entered")
    if (state_dir / KEY_FILE).exists() and (enrolled := enrolled_at(state_dir)):
        key = Identity.load_or_create(state_dir, settings.agent.name)
        if enrolled == url:
            return Row(Status.PASS, "identity", f"{key.agent}/{key.instance} is enrolled")
        found = f"{key.agent}/{key.instance} is enrolled at {enrolled}, not at control_plane.url"
        return Row(Status.WARN, "identity", found, "enroll there too, or mend the URL")
    return _may_enroll(settings.control_plane.join_token_file)


def _may_enroll(token: Path | None) -> Row:
    advice = "make a join token at the control plane, and name its file in join_token_file"
    if token is None:
        found = "not enrolled, and no control_plane.join_token_file"
        return Row(Status.FAIL, "identity", found, advice)
    if not _is_readable_file(token):
        found = f"not enrolled, and the join token {token} can't be read"
        return Row(Status.FAIL, "identity", found, advice)
    return Row(Status.PASS, "identity", f"not enrolled yet; will use the join token in {token}")


def files(settings: Settings) -> list[Row]:
    """Say which files and directories of the settings are not there; one row when all are."""
    named = list(_named(settings, ()))
    missing = [row for key, path in named if (row := _missing(key, path))]
    missing += [row for row in map(_no_program, _programs(settings)) if row]
    return missing or [Row(Status.PASS, "files", "all files the configuration names are there")]


def _named(value: object, key: Key) -> Iterator[tuple[Key, Path]]:
    children: Iterable[tuple[str | int, object]] = ()
    match value:
        case Path():
            yield key, value
        case Part():
            children = value
        case dict():
            children = value.items()
        case list():
            children = enumerate(value)
    for name, child in children:
        yield from _named(child, (*key, name))


def _missing(key: Key, path: Path) -> Row | None:
    name = str(key[-1])
    # A join token is looked at with the identity: it is needed, and there, only once.
    if name.endswith("_file") and name != "join_token_file" and not _is_readable_file(path):
        found = f"{dotted(key)}: {path} is no file that can be read"
    elif name == "directory" and not os.path.isdir(path):
        found = f"{dotted(key)}: {path} is no directory"
    else:
        return None
    return Row(Status.FAIL, "files", found, "put it there, or mend the configuration")


def _programs(settings: Settings) -> Iterator[tuple[str, str]]:
    for pipeline in settings.pipelines:
        if isinstance(pipeline, ProcessPipeline):
            yield pipeline.name, pipeline.command[0]


def _no_program(named: tuple[str, str]) -> Row | None:
    pipeline, program = named
    if shutil.which(program):
        return None
    found = f"pipeline {pipeline}: {program} is no program that can be started"
    return Row(Status.FAIL, "files", found, "install it, or mend the pipeline's command")


def _is_readable_file(path: Path) -> bool:
    # Unlike `Path.is_file`, this takes a directory that we may not enter for an answer.
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _nearest_existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))
