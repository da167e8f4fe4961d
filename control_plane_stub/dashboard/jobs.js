// Keeps the jobs that the page knows, and draws their list. One job in full is in detail.js.

import { byId, el, setText } from "./dom.js";
import { age, bytes, subject, words } from "./format.js";

const MOST = 200;
const ENDED = ["succeeded", "failed", "refused", "cancelled", "timed_out", "outcome_unknown"];

export const hasEnded = (job) => ENDED.includes(job.state);

/** Return how far `job` is, from 0 to 1, or null when nobody can say. */
export function share(job) {
  const progress = job.progress ?? {};
  if (Number.isFinite(progress.done) && progress.of > 0) return progress.done / progress.of;
  if (Number.isFinite(progress.bytes) && progress.size > 0) return progress.bytes / progress.size;
  return null;
}

/** Return the mark that shows the state of `job`. */
export function chip(job) {
  const mark = el("span", { className: "chip" });
  updateChip(mark, job);
  return mark;
}

export function updateChip(mark, job) {
  mark.dataset.state = job.state;
  setText(mark, words(job.state));
}

/** The list of jobs, the newest first; each row keeps its element, and so its focus. */
export class JobList {
  #jobs = new Map();
  #rows = new Map();
  #filter = "";
  #drawing = false;
  #chosen = null;
  #clock = 0;
  #changed = new Map();

  /** The moment of now, for `replace`. */
  get clock() {
    return this.#clock;
  }

  /** Take in the answer to a question asked at `since`; what was heard of later stays. */
  replace(jobs, since = Infinity) {
    for (const [id, moment] of this.#changed) if (moment <= since) this.#changed.delete(id);
    const later = [...this.#jobs.values()].filter((job) => this.#changed.has(job.id));
    this.#jobs = new Map([...jobs, ...later].map((job) => [job.id, job]));
    this.draw();
  }

  /** Take in what is new of one job. */
  update(job) {
    this.#jobs.set(job.id, { ...this.#jobs.get(job.id), ...job });
    this.#changed.set(job.id, ++this.#clock);
    // Many jobs may change between two frames of the screen; they are drawn together.
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.draw();
    });
  }

  filter(states) {
    this.#filter = states;
    this.draw();
  }

  choose(id) {
    this.#chosen = id;
    this.draw();
  }

  draw() {
    const shown = this.#shown();
    const list = byId("job-list");
    shown.forEach((job, place) => {
      const row = this.#row(job);
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    });
    while (list.children.length > shown.length) list.lastElementChild.remove();
    this.#forgetRows(new Set(shown.map((job) => job.id)));
    setText(byId("job-count"), shown.length ? String(shown.length) : "");
    byId("no-jobs").hidden = shown.length > 0;
  }

  #shown() {
    const wanted = {
      "": () => true,
      open: (job) => !hasEnded(job),
      succeeded: (job) => job.state === "succeeded",
      unsuccessful: (job) => hasEnded(job) && job.state !== "succeeded",
    }[this.#filter];
    const newest = (a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0);
    return [...this.#jobs.values()].filter(wanted).sort(newest).slice(0, MOST);
  }

  #row(job) {
    const parts = this.#rows.get(job.id) ?? newRow(job);
    this.#rows.set(job.id, parts);
    const progress = share(job);
    const known = job.progress ?? {};
    updateChip(parts.chip, job);
    setText(parts.about, subject(job) || job.id);
    const facts = [job.agent, words(job.reason), bytes(known.bytes || NaN), age(job.created_at)];
    setText(parts.facts, facts.filter(Boolean).join(" · "));
    parts.bar.hidden = job.state !== "running" || progress === null;
    parts.bar.value = progress ?? 0;
    if (job.id === this.#chosen) parts.link.setAttribute("aria-current", "true");
    else parts.link.removeAttribute("aria-current");
    return parts.row;
  }

  #forgetRows(shown) {
    for (const id of this.#rows.keys()) if (!shown.has(id)) this.#rows.delete(id);
  }
}

function newRow(job) {
  const parts = {
    chip: chip(job),
    about: el("span", { className: "about mono" }),
    facts: el("small", {}),
    bar: el("progress", { max: 1, "aria-label": "Progress" }),
  };
  const head = el("span", { className: "row-head" }, el("strong", {}, job.kind), parts.chip);
  parts.link = el("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, head, parts.about,
    parts.facts, parts.bar);
  parts.row = el("li", {}, parts.link);
  return parts;
}
