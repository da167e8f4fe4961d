// One job in full: what it is, how it goes, its log, result, trailer and artifact.

import { ask, follow } from "./api.js";
import { drawArtifact } from "./artifact.js";
import { byId, el, setText, showProblem } from "./dom.js";
import { entriesView } from "./entries.js";
import { bytes, moment, subject, took, words } from "./format.js";
import { chip, hasEnded, share, updateChip } from "./jobs.js";
import { LogView } from "./log.js";

/** Shows one job at a time; `submit(kind, parameters)` is for the directories of a listing. */
export class Detail {
  #closing = new AbortController();

  constructor(submit) {
    this.submit = submit;
  }

  close() {
    this.#closing.abort();
    byId("detail").hidden = true;
    byId("detail").replaceChildren();
  }

  /** Show the job `id` and stay with it until another is opened. */
  async open(id) {
    this.close();
    const { signal } = (this.#closing = new AbortController());
    const place = byId("detail");
    place.hidden = false;
    try {
      const job = await ask("GET", `jobs/${encodeURIComponent(id)}`);
      if (signal.aborted) return;
      const view = new JobView(job, this.submit);
      place.replaceChildren(view.element);
      place.focus({ preventScroll: true });
      await stay(view, signal);
    } catch (problem) {
      if (signal.aborted) return;
      const said = problem.status === 404 ? "There is no such job." : problem.message;
      place.append(el("p", { className: "problem", role: "alert" }, said));
    }
  }
}

async function stay(view, signal) {
  const path = `jobs/${encodeURIComponent(view.job.id)}/events`;
  await follow(path, { signal, take: (kind, data) => view.take(kind, data) });
  const job = await ask("GET", `jobs/${encodeURIComponent(view.job.id)}`);
  if (signal.aborted) return;
  view.update(job);
  await view.end(signal);
}

class JobView {
  constructor(job, submit) {
    this.job = job;
    this.submit = submit;
    this.chip = chip(job);
    this.chip.setAttribute("role", "status");
    this.facts = el("p", { className: "facts" });
    this.problem = el("p", { className: "problem", role: "status", hidden: true });
    this.bar = el("progress", { max: 1, "aria-label": "Progress of the job" });
    this.amount = el("small", {});
    this.cancel = el("button", { type: "button" }, "Cancel");
    this.log = new LogView();
    this.result = el("div", {});
    this.artifact = el("div", { className: "artifact" });
    this.cancel.addEventListener("click", () => this.#cancel());
    this.element = el("div", {}, this.#head(), this.#parameters(), this.artifact, this.result,
      this.#logPart());
    this.#draw();
  }

  /** Take in one event; true when it is the last one. */
  take(kind, data) {
    if (kind === "log") this.log.append(data);
    if (kind === "state") this.update({ ...this.job, ...data, id: this.job.id });
    if (kind === "progress") this.update({ ...this.job, progress: data });
    return kind === "result";
  }

  update(job) {
    this.job = job;
    this.#draw();
  }

  /** Show what there is to show once the job has ended. */
  async end(signal) {
    this.log.ended();
    this.result.replaceChildren(...this.#resultParts());
    if (this.job.state === "succeeded") await drawArtifact(this.artifact, this.job, signal);
  }

  #head() {
    const back = el("a", { href: "#/", className: "back" }, "← All jobs");
    const title = el("h2", {}, this.job.kind, " ", this.chip);
    return el("header", {}, back, el("div", { className: "head" }, title, this.cancel),
      el("p", { className: "about mono" }, subject(this.job)), this.facts, this.problem,
      el("div", { className: "going" }, this.bar, this.amount));
  }

  #parameters() {
    return section("Parameters", this.job.parameters ?? {});
  }

  #logPart() {
    return el("section", {}, el("h3", {}, "Log"), this.log.element);
  }

  #resultParts() {
    const { result, trailer } = this.job;
    const parts = [];
    if (Array.isArray(result?.entries)) parts.push(entriesView(this.job, this.submit));
    else if (result && Object.keys(result).length) parts.push(section("Result", result, true));
    if (trailer?.bytes) {
      parts.push(section("Trailer", { bytes: trailer.bytes, "SHA-256": trailer.sha256 }, true));
    }
    return parts;
  }

  #draw() {
    const { job } = this;
    updateChip(this.chip, job);
    this.cancel.hidden = hasEnded(job);
    setText(this.facts, this.#factsText());
    const bad = hasEnded(job) && job.state !== "succeeded";
    showProblem(this.problem, bad ? complaint(job) : null);
    const part = share(job);
    this.bar.hidden = hasEnded(job) || part === null;
    this.bar.value = part ?? 0;
    setText(this.amount, hasEnded(job) ? "" : amount(job.progress ?? {}));
  }

  #factsText() {
    const { job } = this;
    const place = job.instance ? `${job.agent} / ${job.instance}` : job.agent;
    const began = moment(job.created_at)?.toLocaleString();
    const time = took(job.accepted_at ?? job.created_at, job.ended_at);
    return [place, began, time && `took ${time}`, job.id].filter(Boolean).join(" · ");
  }

  async #cancel() {
    this.cancel.disabled = true;
    try {
      await ask("POST", `jobs/${encodeURIComponent(this.job.id)}/cancel`, {});
      setText(this.cancel, "Cancelling …");
    } catch (problem) {
      this.cancel.disabled = false;
      showProblem(this.problem, problem.message);
    }
  }
}

function complaint(job) {
  const said = [words(job.reason), job.message].filter(Boolean).join(": ");
  return said || `The job ended: ${words(job.state)}.`;
}

function amount({ done, of, bytes: received, size }) {
  if (Number.isFinite(done)) return of ? `${done} of ${of}` : `${done}`;
  if (!received) return "";
  return size ? `${bytes(received)} of ${bytes(size)}` : bytes(received);
}

function section(title, facts, open = false) {
  const rows = Object.entries(facts).flatMap(([name, value]) => [
    el("dt", {}, name),
    el("dd", { className: "mono" }, typeof value === "string" ? value : JSON.stringify(value)),
  ]);
  const list = el("dl", {}, ...rows);
  return open
    ? el("section", {}, el("h3", {}, title), list)
    : el("details", {}, el("summary", {}, title), list);
}
