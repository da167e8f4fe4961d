// Puts the page together: token, event stream, and which job is shown. Everything else has a file.

import { drawAgents, drawLink, offerAgents } from "./agents.js";
import { ask, follow, forgetToken, keepToken, takeToken } from "./api.js";
import { Detail } from "./detail.js";
import { byId, showProblem } from "./dom.js";
import { prepareForm, submitJob } from "./forms.js";
import { JobList } from "./jobs.js";

const REFRESH = 15_000;
const SOON = 150;

const jobs = new JobList();
const detail = new Detail(submitAndShow);
let watching = new AbortController();
let refreshing = null;

function start() {
  prepareForm(submitAndShow);
  byId("state-filter").addEventListener("change", (event) => jobs.filter(event.target.value));
  byId("sign-out").addEventListener("click", () => lock());
  byId("sign-in-form").addEventListener("submit", signIn);
  byId("sign-in").addEventListener("cancel", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => (takeTokenFromLink() ? undefined : route()));
  document.addEventListener("visibilitychange", refreshWhenSeen);
  setInterval(refreshWhenSeen, REFRESH);
  if (takeToken()) watch();
  else lock();
}

function takeTokenFromLink() {
  if (!location.hash.startsWith("#token=")) return false;
  takeToken();
  watch();
  return true;
}

/** Open everything with the token that this tab has, and stay up to date. */
async function watch() {
  watching.abort();
  const { signal } = (watching = new AbortController());
  byId("sign-in").close();
  drawLink("connecting");
  try {
    await refresh();
    route();
    await follow("events", { signal, take: takeIn, tell });
  } catch (problem) {
    if (signal.aborted) return;
    if (problem.status === 401) return lock(problem.message);
    drawLink("lost");
    setTimeout(() => signal.aborted || watch(), 3000);
  }
}

function tell(state) {
  drawLink(state);
  // What happened while nobody listened is not told again: look it up.
  if (state === "live") refreshSoon();
}

function takeIn(kind, data) {
  if (kind === "job" && data.id && data.kind) jobs.update(data);
  else refreshSoon();
}

async function refresh() {
  const since = jobs.clock;
  const [agentsAnswer, jobsAnswer] = await Promise.all([
    ask("GET", "agents"),
    ask("GET", "jobs?limit=200"),
  ]);
  drawAgents(agentsAnswer.agents);
  offerAgents(byId("new-job").agent, agentsAnswer.agents);
  jobs.replace(jobsAnswer.jobs, since);
}

function refreshSoon() {
  refreshing ??= setTimeout(() => {
    refreshing = null;
    refresh().catch((problem) => problem.status === 401 && lock(problem.message));
  }, SOON);
}

function refreshWhenSeen() {
  if (!document.hidden && !watching.signal.aborted) refreshSoon();
}

async function submitAndShow(kind, parameters) {
  const id = await submitJob(kind, parameters);
  location.hash = `#/jobs/${encodeURIComponent(id)}`;
}

function route() {
  if (location.hash === "#jobs") return;
  const match = /^#\/jobs\/(.+)$/.exec(location.hash);
  const id = match ? decodeURIComponent(match[1]) : null;
  document.body.dataset.view = id ? "job" : "list";
  byId("placeholder").hidden = Boolean(id);
  jobs.choose(id);
  if (id) detail.open(id);
  else detail.close();
}

function lock(problem) {
  watching.abort();
  forgetToken();
  detail.close();
  drawAgents([]);
  jobs.replace([]);
  drawLink("locked");
  showProblem(byId("sign-in-problem"), problem ?? null);
  if (!byId("sign-in").open) byId("sign-in").showModal();
}

function signIn(event) {
  event.preventDefault();
  const field = event.target.elements.token;
  keepToken(field.value.trim());
  field.value = "";
  watch();
}

start();
