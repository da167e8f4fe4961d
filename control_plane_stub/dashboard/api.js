// Speaks to the control plane: the token, requests, event streams. Draws nothing.

const KEY = "control-plane-token";
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15000;
const LONGEST_EVENT = 8 * 1024 * 1024;

/** An answer that is not a success; `status` is that of HTTP, 0 when nobody answered. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Take the token out of the address bar, where `serve` may have put it, or out of this tab. */
export function takeToken() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (match) {
    keepToken(decodeURIComponent(match[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY);
}

export const keepToken = (token) => sessionStorage.setItem(KEY, token);
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** Return the JSON that the control plane answers with. */
export async function ask(method, path, body) {
  const response = await request(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return text ? JSON.parse(text) : {};
}

/** Return the first `limit` bytes of the content of `job`. */
export async function contentHead(job, limit, signal) {
  const headers = { Range: `bytes=0-${limit - 1}` };
  const response = await request(`jobs/${encodeURIComponent(job)}/content`, { headers, signal });
  return readAtMost(response.body, limit);
}

/** Return the whole content of `job` as a stream; it breaks off when the content is incomplete. */
export async function content(job, signal) {
  return request(`jobs/${encodeURIComponent(job)}/content`, { signal });
}

/**
 * Give every event of `path` to `take(kind, data)` until `signal` aborts; reconnect with back-off.
 * `tell("live")` and `tell("lost")` say how the connection is. `take` returns true to end it.
 */
export async function follow(path, { signal, take, tell = () => {} }) {
  let lastId = null;
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
      const response = await request(path, { headers, signal });
      tell("live");
      for await (const event of events(response.body)) {
        pause = FIRST_PAUSE;
        lastId = event.id ?? lastId;
        if (take(event.kind, event.data)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) throw error;
    }
    tell("lost");
    await rested(pause * (0.5 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers, Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
  let response;
  try {
    const address = new URL(`api/v1/${path}`, document.baseURI);
    response = await fetch(address, { ...options, headers, redirect: "error", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The control plane does not answer. Is it running?");
  }
  if (!response.ok) throw new Problem(response.status, await complaint(response));
  return response;
}

async function complaint(response) {
  if (response.status === 401) return "The control plane does not know this token.";
  const text = await response.text();
  try {
    return JSON.parse(text).error.message || `The control plane answered ${response.status}.`;
  } catch {
    return `The control plane answered ${response.status}.`;
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = parts.pop();
      if (rest.length > LONGEST_EVENT) throw new Problem(0, "An event is too long.");
      for (const part of parts) {
        const event = parsed(part);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parsed(text) {
  const event = { kind: "message", id: null, data: [] };
  for (const line of text.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "event") event.kind = value;
    else if (name === "id") event.id = value;
    else if (name === "data") event.data.push(value);
  }
  return event.data.length ? { ...event, data: JSON.parse(event.data.join("\n")) } : null;
}

async function readAtMost(body, limit) {
  const reader = body.getReader();
  const data = new Uint8Array(limit);
  let size = 0;
  while (size < limit) {
    const { done, value } = await reader.read();
    if (done) break;
    const part = value.subarray(0, limit - size);
    data.set(part, size);
    size += part.length;
  }
  await reader.cancel().catch(() => undefined);
  return data.subarray(0, size);
}

function rested(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
