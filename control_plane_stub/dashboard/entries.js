// The answer to list-artifacts, to be walked through: a directory lists, an artifact is fetched.

import { el } from "./dom.js";
import { age, bytes, fileName } from "./format.js";

/** Return the entries of `job`; `submit(kind, parameters)` does what a click on one asks for. */
export function entriesView(job, submit) {
  const entries = job.result.entries.filter((entry) => typeof entry?.uri === "string");
  const token = job.result.next_page_token;
  const list = el("ul", { className: "entries" }, ...entries.map((entry) => row(entry, submit)));
  const more = token
    ? button("More …", () => submit("list-artifacts", { ...job.parameters, page_token: token }))
    : null;
  const empty = entries.length ? null : el("p", { className: "empty" }, "There is nothing here.");
  return el("div", {}, el("h3", {}, "Contents"), upwards(job, submit), list, empty, more);
}

function row(entry, submit) {
  const leaf = entry.kind !== "directory";
  const name = fileName(entry.uri);
  const open = button(leaf ? name : `${name}/`, () =>
    submit(leaf ? "fetch-artifact" : "list-artifacts", { uri: entry.uri }));
  open.title = entry.uri;
  const facts = [leaf && bytes(entry.size), age(entry.modified)].filter(Boolean).join(" · ");
  return el("li", { "data-kind": leaf ? "artifact" : "directory" }, open, el("small", {}, facts));
}

function upwards(job, submit) {
  const uri = String(job.parameters.uri ?? "").replace(/\/+$/, "");
  const parent = uri.slice(0, uri.lastIndexOf("/"));
  if (!/^[a-z0-9]+:\/\/.+/i.test(parent)) return null;
  const up = button("↑ One level up", () => submit("list-artifacts", { uri: parent }));
  up.className = "quiet";
  return up;
}

function button(words, act) {
  const made = el("button", { type: "button" }, words);
  made.addEventListener("click", act);
  return made;
}
