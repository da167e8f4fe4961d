"""The dashboard with the real agent behind it: agents, jobs, the live log, and the artifact."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from demo.world import AGENT, ROOT, World

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
REPORT = b"epoch,loss\n1,0.500\n2,0.333\n"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture
async def page(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """The page, opened with the token; whatever a script does wrong fails the test.

    At its end it is photographed, into `SCREENSHOTS` where that is set.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        await page.goto(f"{world.url}/#token={world.api_token}")
        await expect(page.locator("#link")).to_have_text("Live")
        yield page
        pictures = Path(os.environ.get("SCREENSHOTS", tmp_path))
        await page.screenshot(path=pictures / f"{request.node.name}.png")
        await browser.close()
    assert wrong == []


async def test_shows_the_agent_and_the_artifact_it_fetched(world: World, page: Page):
    """What a person asks for by URI stands on the page, as it is in the bucket."""
    uri = world.put("report.csv", REPORT)

    await page.get_by_label("Artifact URI").fill(uri)
    await page.get_by_role("button", name="Fetch artifact").click()

    await expect(page.locator("#detail pre.text")).to_have_text(REPORT.decode())
    await expect(page.locator("#agents")).to_contain_text(AGENT)
    await expect(page.locator("#agents .dot").first).to_have_attribute("aria-label", "online")
    await expect(page.locator("#job-list li .chip").first).to_have_text("succeeded")


async def test_shows_a_pipelines_log_while_it_runs(world: World, page: Page):
    """Lines come as they are written; the secret that the pipeline prints is blacked out."""
    await page.locator(".tabs").get_by_text("Pipeline").click()
    await page.get_by_role("textbox", name="Pipeline").fill("train-churn")
    await page.get_by_label("Parameters").fill('{"epochs": 10}')
    await page.get_by_role("button", name="Start pipeline").click()

    log, state = page.locator("#detail .log"), page.locator("#job-list li .chip").first
    await expect(log).to_contain_text("epoch 1 of 10")
    await expect(state).to_have_text("running")
    await expect(log).to_contain_text("epoch 10 of 10", timeout=20_000)
    await expect(state).to_have_text("succeeded")
    await expect(log).to_contain_text("tracking token: ***")
    assert world.tracking_token not in await page.content()


async def test_walks_through_the_bucket_and_says_what_is_denied(world: World, page: Page):
    world.put("models/churn.txt", b"the model")
    world.put("pii/customers.csv", b"name\n")

    await page.locator(".tabs").get_by_text("Browse").click()
    await page.get_by_label("Artifact URI").fill(ROOT)
    await page.get_by_role("button", name="List artifacts").click()
    await page.get_by_role("button", name="models/").click()
    await page.get_by_role("button", name="churn.txt").click()
    await expect(page.locator("#detail pre.text")).to_have_text("the model")

    await page.locator(".tabs").get_by_text("Fetch").click()
    await page.get_by_label("Artifact URI").fill(f"{ROOT}/pii/customers.csv")
    await page.get_by_role("button", name="Fetch artifact").click()
    await expect(page.locator("#detail .problem")).to_contain_text("policy denied")
