"""Reads one level of a directory in pages. Opening it is `beneath`'s part."""

import heapq
import os
from collections.abc import Iterator
from datetime import UTC, datetime

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry, Page
from agent.artifacts.beneath import Descriptor
from agent.artifacts.paging import Position, child


def read_level(
    directory: Descriptor, uri: ArtifactUri, *, page_size: int, after: Position | None
) -> Page:
    """Return the page behind *after* of what lies in *directory*, which is *uri*. Blocks.

    Memory is that of one page, however full the directory is. Links, devices, FIFOs and names that
    no URI can hold are left out.
    """
    start = "" if after is None else after.order
    behind = (position for position in _positions(directory, uri) if position.order > start)
    found = heapq.nsmallest(page_size + 1, behind, key=lambda position: position.order)
    page = found[:page_size]
    entries = tuple(entry for position in page if (entry := _entry(directory, uri, position)))
    return Page(entries, page[-1].token if len(found) > page_size else None)


def _positions(directory: Descriptor, uri: ArtifactUri) -> Iterator[Position]:
    with os.scandir(directory.fd) as items:
        for item in items:
            is_directory = item.is_dir(follow_symlinks=False)
            if (is_directory or item.is_file(follow_symlinks=False)) and child(uri, item.name):
                yield Position(item.name, is_directory)


def _entry(directory: Descriptor, uri: ArtifactUri, position: Position) -> Entry | None:
    """Describe what lies there; None when it has been removed meanwhile."""
    below = child(uri, position.name)
    if below is None:
        return None
    if position.directory:
        return Entry(below, "directory")
    try:
        status = os.stat(position.name, dir_fd=directory.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return Entry(below, "file", status.st_size, modified)
