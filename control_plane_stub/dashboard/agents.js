// Draws the agents and fills the choice of agents in the form.

import { byId, el, setText } from "./dom.js";
import { age } from "./format.js";

export function drawAgents(agents) {
  byId("no-agents").hidden = agents.length > 0;
  byId("agents").replaceChildren(...agents.map(card));
}

/** Offer `agents` in the form; the choice made stays, online agents come first. */
export function offerAgents(select, agents) {
  const names = [...agents].sort((a, b) => isOnline(b) - isOnline(a)).map((agent) => agent.name);
  const shown = Array.from(select.options, (option) => option.value);
  if (names.join("\n") === shown.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => el("option", { value: name, textContent: name })));
  if (names.includes(chosen)) select.value = chosen;
}

const isOnline = (agent) => (agent.instances ?? []).some(({ state }) => state === "online");

function card(agent) {
  const instances = agent.instances ?? [];
  const labels = Object.entries(agent.labels ?? {}).map(([key, value]) => `${key}: ${value}`);
  return el(
    "li",
    { "data-agent": agent.name },
    el("p", { className: "agent-name" }, dot(isOnline(agent)), el("strong", {}, agent.name)),
    labels.length
      ? el("p", { className: "labels" }, ...labels.map((label) => el("span", {}, label)))
      : null,
    el("ul", { className: "instances" }, ...instances.map(row)),
  );
}

function row(instance) {
  const online = instance.state === "online";
  const line = el("li", {}, dot(online), el("span", { className: "mono" }, instance.id));
  const facts = [
    !online && instance.state,
    instance.version && `v${instance.version}`,
    online && Number.isFinite(instance.round_trip_ms) && `${instance.round_trip_ms.toFixed(1)} ms away`,
    instance.open_jobs > 0 && `${instance.open_jobs} open`,
    online && instance.connected_since && `joined ${age(instance.connected_since)}`,
  ];
  line.append(el("small", {}, facts.filter(Boolean).join(" · ")));
  return line;
}

function dot(online) {
  const name = online ? "online" : "offline";
  const mark = el("span", { className: "dot", role: "img", "aria-label": name, title: name });
  mark.dataset.state = name;
  return mark;
}

export function drawLink(state) {
  const words = {
    live: "Live",
    connecting: "Connecting …",
    lost: "Connection lost; trying again …",
    locked: "Locked",
  };
  const link = byId("link");
  link.dataset.state = state;
  setText(link, words[state]);
}
