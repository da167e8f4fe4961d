// Turns numbers, times and bytes into words for a person. Knows no DOM and no server.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  if (!Number.isFinite(count)) return "";
  const step = count < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** step;
  return `${step && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[step]}`;
}

export function moment(text) {
  const seconds = typeof text === "number" ? text * 1000 : Date.parse(text ?? "");
  return Number.isFinite(seconds) ? new Date(seconds) : null;
}

export function age(since, now = Date.now()) {
  const then = moment(since);
  if (!then) return "";
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  if (seconds < 5) return "just now";
  return `${span(seconds)} ago`;
}

export function took(from, to) {
  const [start, end] = [moment(from), moment(to)];
  if (!start || !end) return "";
  const seconds = (end - start) / 1000;
  if (seconds < 1) return `${Math.max(0, end - start)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : span(Math.round(seconds));
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** Return a word of the wire, as `policy_denied`, for a person. */
export const words = (code) => (code ?? "").replaceAll("_", " ");

/** Return what `job` is about: its artifact, pipeline or run. */
export function subject(job) {
  const given = job.parameters ?? {};
  const named = given.uri ?? given.pipeline ?? given.run ?? given.artifact_store ?? given.connector;
  return typeof named === "string" ? named : "";
}

/** Return the last segment of a URI, as a name for a file. */
export function fileName(uri) {
  return uri.replace(/\/+$/, "").split("/").pop() || "artifact";
}

export function hexDump(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += 16) {
    const row = Array.from(data.subarray(at, at + 16));
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·"));
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${text.join("")}`);
  }
  return lines.join("\n");
}
