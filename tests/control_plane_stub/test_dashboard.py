"""The dashboard in a real browser, with a real control plane and an agent on the wire."""

import asyncio
import re
import shutil
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from agent.errors import Reason
from control_plane_stub.client.api import Client, Endpoint, connected
from tests.control_plane_stub.served import Served, served
from tests.control_plane_stub.wire_agent import Answer, answering_agent

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
ATTACK = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'

TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    pixels = b"".join(b"\0" + b"\x22\x66\x6b" * 8 for _ in range(8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


LISTING = {
    "entries": [
        {"uri": "s3://b/models", "kind": "directory"},
        {"uri": "s3://b/metrics.csv", "kind": "file", "size": 8},
    ],
    "next_page_token": None,
}
ANSWERS = {
    "s3://b/metrics.csv": Answer(b"a,b\n1,2\n", log="reading\n"),
    "s3://b/plot.png": Answer(_png()),
    "s3://b/weights.bin": Answer(bytes(range(256)) * 4),
    "s3://b/page.html": Answer(ATTACK.encode(), log=ATTACK + "\n"),
    "s3://b/drawing.svg": Answer(f'<svg onload="window.harmed=1">{ATTACK}</svg>'.encode()),
    "s3://b/long.txt": Answer(b"0123456789abcde\n" * 20_000),
    "s3://b/pii": Answer(refusal=Reason.POLICY_DENIED, message=ATTACK),
    "s3://b": Answer(result=LISTING),
    "s3://b/models": Answer(result={"entries": [], "next_page_token": None}),
    "train": Answer(log="".join(f"epoch {n}\n" for n in range(200)), waits=True),
}


def _answer(kind: str, parameters: dict[str, Any]) -> Answer:
    return ANSWERS[parameters.get("uri") or parameters["pipeline"]]


@pytest_asyncio.fixture(name="plane", scope="module", loop_scope="module")
async def _plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(served(tmp_path_factory.mktemp("plane")))
        client = await stack.enter_async_context(connected(Endpoint(plane.url, plane.token)))
        token = (await client.post("/join-tokens", {"agent": "prod-eu"}))["join_token"]
        agent = answering_agent(plane.url, "prod-eu", join_token=token, answering=_answer)
        await stack.enter_async_context(agent)
        yield plane


@pytest_asyncio.fixture(name="client", loop_scope="module")
async def _client(plane: Served) -> AsyncIterator[Client]:
    async with connected(Endpoint(plane.url, plane.token)) as client:
        yield client


@pytest_asyncio.fixture(name="browser", scope="module", loop_scope="module")
async def _browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = playwright.chromium
        browser = await chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(name="page", loop_scope="module")
async def _page(plane: Served, browser: Browser) -> AsyncIterator[Page]:
    """The page, opened with the token; whatever a script does wrong fails the test."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    await page.goto(f"{plane.url}/#token={plane.token}")
    await expect(page.locator("#link")).to_have_text("Live")
    yield page
    await page.close()
    assert wrong == []


async def fetch(page: Page, uri: str) -> None:
    """Submit the form as a person does."""
    await page.get_by_label("Artifact URI").fill(uri)
    await page.get_by_role("button", name="Fetch artifact").click()
    await expect(page.locator("#detail header .mono")).to_have_text(uri)


class TestToken:
    async def test_leaves_the_address_bar(self, page: Page, plane: Served) -> None:
        assert plane.token not in page.url

    async def test_is_asked_for_and_a_wrong_one_is_told(
        self, plane: Served, browser: Browser
    ) -> None:
        page = await browser.new_page()
        await page.goto(plane.url)

        await page.get_by_role("textbox", name="Token").fill("no-such-token")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("alert")).to_have_text(re.compile("does not know"))
        await page.get_by_role("textbox", name="Token").fill(plane.token)
        await page.keyboard.press("Enter")

        await expect(page.locator("#link")).to_have_text("Live")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await page.close()


class TestPage:
    async def test_shows_agents_and_new_jobs(self, page: Page, client: Client) -> None:
        job = {"agent": "prod-eu", "kind": "fetch-artifact", "parameters": {"uri": "s3://b/pii"}}

        before = await page.locator("#job-list li").count()
        await client.post("/jobs", job)

        await expect(page.locator("#agents")).to_contain_text("prod-eu")
        await expect(page.locator("#agents .dot").first).to_have_attribute("aria-label", "online")
        await expect(page.locator("#job-list li")).to_have_count(before + 1)
        await expect(page.locator("#job-list li .chip").first).to_have_text("refused")

    async def test_walks_through_directories(self, page: Page) -> None:
        await page.locator(".tabs").get_by_text("Browse").click()
        await page.get_by_label("Artifact URI").fill("s3://b")
        await page.get_by_role("button", name="List artifacts").click()

        await page.get_by_role("button", name="models/").click()
        await expect(page.locator("#detail")).to_contain_text("There is nothing here.")
        await page.get_by_role("button", name="One level up").click()
        await page.get_by_role("button", name="metrics.csv").click()

        await expect(page.locator("#detail pre.text")).to_have_text("a,b\n1,2\n")

    async def test_says_what_is_wrong_with_parameters(self, page: Page) -> None:
        await page.locator(".tabs").get_by_text("Pipeline").click()
        await page.get_by_role("textbox", name="Pipeline").fill("train")
        await page.get_by_label("Parameters").fill("epochs=3")
        await page.get_by_role("button", name="Start pipeline").click()

        await expect(page.locator("#new-problem")).to_contain_text("not JSON")


class TestConnection:
    async def test_comes_back_after_the_server_was_away(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        page = await browser.new_page()
        async with served(tmp_path) as plane:
            await page.goto(f"{plane.url}/#token={plane.token}")
            await expect(page.locator("#link")).to_have_text("Live")
        await expect(page.locator("#link")).to_contain_text("Connection lost")

        async with served(tmp_path, listen=plane.url.removeprefix("http://")):
            await expect(page.locator("#link")).to_have_text("Live", timeout=20_000)
            await page.close()

    async def test_keeps_what_is_newer_than_a_late_answer(self, page: Page, client: Client) -> None:
        job = {"agent": "nobody-yet", "kind": "fetch-artifact", "parameters": {"uri": "s3://late"}}
        row = page.locator("#job-list li", has_text="s3://late")
        answered = asyncio.Event()

        async def answer_late(route: Route) -> None:
            response = await route.fetch()
            await client.post("/jobs", job)
            await expect(row).to_be_visible()
            await route.fulfill(response=response)
            answered.set()

        await page.route("**/api/v1/jobs?limit=200", answer_late, times=1)
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await answered.wait()
        await page.evaluate(TWO_FRAMES)

        assert await row.count() == 1


class TestArtifact:
    async def test_is_shown_as_text(self, page: Page) -> None:
        await fetch(page, "s3://b/metrics.csv")

        await expect(page.locator("#detail pre.text")).to_have_text("a,b\n1,2\n")
        await expect(page.locator("#detail .log")).to_have_text("reading\n")

    async def test_is_shown_as_an_image(self, page: Page) -> None:
        await fetch(page, "s3://b/plot.png")

        await expect(page.locator("#detail img.picture")).to_have_js_property("naturalWidth", 8)

    async def test_is_shown_as_bytes_whatever_its_sender_calls_it(self, page: Page) -> None:
        await fetch(page, "s3://b/weights.bin")

        await expect(page.locator("#detail pre.hex")).to_contain_text("000010  10 11 12 13")

    async def test_is_cut_when_it_is_long(self, page: Page) -> None:
        await fetch(page, "s3://b/long.txt")

        await expect(page.locator("#detail")).to_contain_text("The first 256 KiB of 313 KiB.")
        shown = await page.locator("#detail pre.text").text_content()
        assert len(shown or "") == 256 * 1024

    async def test_is_saved_after_its_hash_was_compared(self, page: Page) -> None:
        await fetch(page, "s3://b/metrics.csv")

        async with page.expect_download() as download:
            await page.get_by_role("button", name="Save").click()

        saved = await download.value
        assert saved.suggested_filename == "metrics.csv"
        assert Path(await saved.path()).read_bytes() == b"a,b\n1,2\n"


class TestAttack:
    @pytest.mark.parametrize("uri", ["s3://b/page.html", "s3://b/drawing.svg"])
    async def test_in_an_artifact_stays_text(self, page: Page, uri: str) -> None:
        await fetch(page, uri)

        await expect(page.locator("#detail pre.text")).to_contain_text(ATTACK)
        assert await page.evaluate("window.harmed") is None

    async def test_in_the_log_stays_text(self, page: Page) -> None:
        await fetch(page, "s3://b/page.html")

        await expect(page.locator("#detail .log")).to_have_text(ATTACK + "\n")
        assert await page.evaluate("window.harmed") is None

    async def test_in_a_refusal_stays_text(self, page: Page) -> None:
        await fetch(page, "s3://b/pii")

        await expect(page.locator("#detail .problem")).to_have_text(f"policy denied: {ATTACK}")
        assert await page.evaluate("window.harmed") is None

    async def test_in_names_stays_text(self, page: Page, client: Client) -> None:
        parameters = {"uri": ATTACK, ATTACK: ATTACK}
        job = {"agent": "nobody-yet", "kind": ATTACK[:64], "parameters": parameters}

        created = await client.post("/jobs", job)
        await page.evaluate(f"location.hash = '#/jobs/{created['id']}'")

        await expect(page.locator("#detail header .mono")).to_have_text(ATTACK)
        await expect(page.locator("#job-list strong").first).to_have_text(ATTACK[:64])
        assert await page.locator("#detail img").count() == 0
        assert await page.evaluate("window.harmed") is None


class TestLog:
    async def test_follows_its_end_until_the_reader_scrolls_up(self, page: Page) -> None:
        await page.locator(".tabs").get_by_text("Pipeline").click()
        await page.get_by_role("textbox", name="Pipeline").fill("train")
        await page.get_by_role("button", name="Start pipeline").click()
        log = page.locator("#detail .log")
        await expect(log).to_contain_text("epoch 199")
        at_end = "log => log.scrollTop + log.clientHeight >= log.scrollHeight - 24"
        assert await log.evaluate(at_end)

        await log.evaluate("log => { log.scrollTop = 0 }")

        await page.get_by_role("button", name="Newest line").click()
        assert await log.evaluate(at_end)
