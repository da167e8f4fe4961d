"""What is read out of the indexes of several web servers, and what is not."""

import tracemalloc
from collections.abc import Callable

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.index import MOST_ENTRIES, parse_index
from agent.errors import Unsupported

URL = "https://files.example.com:8443/ml/v%201/"
URI = ArtifactUri.parse("https://files.example.com:8443/ml/v 1")

APACHE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html><head><title>Index of /ml/v 1</title></head><body><h1>Index of /ml/v 1</h1><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
<tr><td><a href="/ml/">Parent Directory</a></td><td>-</td></tr>
<tr><td><img src="/icons/folder.gif"></td><td><a href="train/">train/</a></td></tr>
<tr><td><A HREF='a%20b.csv'>a b.csv</A></td><td>1.2K</td></tr>
<tr><td><a href="a%20b.csv"><img src="/icons/text.gif"></a></td></tr>
</table></body></html>"""
CADDY = """<!DOCTYPE html><html><body><main><table>
<a href="/">/</a><a href="./?sort=name&order=desc">Name</a>
<tr class="file"><td><a href="./train/"><svg></svg><span class="name">train</span></a></td></tr>
<tr class="file"><td><a href="./a%20b.csv"><span class="name">a b.csv</span></a></td></tr>
</table></main></body></html>"""
ABSOLUTE = """<ul><li><a href="/ml/v%201/train/">train</a>
<li><a href="https://files.example.com:8443/ml/v 1/a%20b.csv">a b.csv</a></ul>"""
UNCLOSED = """<a href="train/"><a href="a%20b.csv" title='x"""


@pytest.mark.parametrize("page", [APACHE, CADDY, ABSOLUTE])
def test_links_to_what_lies_directly_below(page: str) -> None:
    found = parse_index(page.encode(), "text/html; charset=UTF-8", url=URL, uri=URI)

    assert {(f"{URI}/train", "directory"), (f"{URI}/a b.csv", "file")} == {
        (str(entry.uri), entry.kind) for entry in found
    }
    assert len(found) == 2


@pytest.mark.parametrize(
    "link",
    [
        "..", "../", "./", "", "/", "//other.example/ml/v%201/x", "http://files.example.com:8443/x",
        "https://files.example.com/ml/v%201/x", "https://user@files.example.com:8443/ml/v%201/x",
        "train/x", "//", "%2e%2e/", "%2e%2e", "%2E%2E%2Fx", "a%2Fb", "a%00b", "a%0Ab",
        "%5C..%5Cx", "%FF", "?x", "#x", "x?y", "x#y", "javascript:alert(1)", "http://[", "../v 2/x",
    ],
)  # fmt: skip
def test_links_that_lead_elsewhere(link: str) -> None:
    page = f'<a href="{link}">x</a>'.encode()

    assert [] == parse_index(page, "text/html", url=URL, uri=URI)


def test_a_page_that_is_cut_off_gives_what_it_has() -> None:
    found = parse_index(UNCLOSED.encode(), "application/xhtml+xml", url=URL, uri=URI)

    assert f"{URI}/train" in {str(entry.uri) for entry in found}


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "</", "<a href='", '<a href="', "<a b=", "<a/ ", "<a href ", "<a href= ", "&#",
     "<a>", "<a href=x", " href=", "<a \n"],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "<a {}>"])
def test_a_page_that_is_made_to_keep_a_parser_busy(piece: str, around: str) -> None:
    """If the time grew with the square of the size, this would end in the timeout."""
    page = around.format(piece * (2 * 1024 * 1024 // len(piece)))

    parse_index(page.encode(), "text/html", url=URL, uri=URI)


def test_json_names_that_no_uri_can_hold() -> None:
    body = (
        rb"""[{"name": "..", "type": "directory"}, {"name": "a/b", "type": "file"},
        {"name": "", "type": "file"}, {"name": "bad """
        + b"\xff"
        + rb"""", "type": "file"},
        {"name": "ok", "type": "file", "size": true, "mtime": "soon"}]"""
    )

    (entry,) = parse_index(body, "application/json", url=URL, uri=URI)

    assert (f"{URI}/ok", None, None) == (str(entry.uri), entry.size, entry.modified)


def test_other_media_types_are_no_index() -> None:
    with pytest.raises(Unsupported):
        parse_index(b"<a href='x'>", "text/plain", url=URL, uri=URI)


def _json(number: int) -> bytes:
    names = ",".join(
        f'{{"name":"{at:x}","type":"file","mtime":"Wed, 21 Oct 2015 07:28:00 GMT","size":1}}'
        for at in range(number)
    )
    return f"[{names}]".encode()


def _html(number: int) -> bytes:
    return "".join(f"<a href={at:x}>" for at in range(number)).encode()


@pytest.mark.parametrize(
    ("page", "media_type"), [(_json, "application/json"), (_html, "text/html")]
)
def test_an_index_has_an_end(page: Callable[[int], bytes], media_type: str) -> None:
    """Each page of a listing reads the whole index again, so that a large one would take hours."""
    full = parse_index(page(MOST_ENTRIES), media_type, url=URL, uri=URI)

    assert len(full) == MOST_ENTRIES
    with pytest.raises(Unsupported, match=f"more than {MOST_ENTRIES} entries"):
        parse_index(page(MOST_ENTRIES + 1), media_type, url=URL, uri=URI)


@pytest.mark.parametrize(
    "value", ["{}", "[]", "1.5", '{"a":{}}', '""', '{"a":' * 99 + "0" + "}" * 99]
)
def test_json_is_not_parsed_into_more_memory_than_a_full_index(value: str) -> None:
    """Eight megabytes of ``{},`` would be some hundreds of them in memory."""
    body = f"[{','.join([value] * (6 * 1024 * 1024 // len(value)))}]".encode()
    tracemalloc.start()

    with pytest.raises(Unsupported, match="entries"):
        parse_index(body, "application/json", url=URL, uri=URI)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * len(body)
