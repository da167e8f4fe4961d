// Shows the content of a job: as text, as an image of four safe kinds, or as bytes. HTML, SVG and
// everything else that could carry a script is shown as its source.

import { content, contentHead, Problem } from "./api.js";
import { el } from "./dom.js";
import { bytes, fileName, hexDump, subject } from "./format.js";

const TEXT_LIMIT = 256 * 1024;
const IMAGE_LIMIT = 16 * 1024 * 1024;
const SAVE_LIMIT = 512 * 1024 * 1024;
const HEX_LIMIT = 512;
const IMAGES = {
  "image/png": (data) => startsWith(data, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  "image/jpeg": (data) => startsWith(data, [0xff, 0xd8, 0xff]),
  "image/gif": (data) => startsWith(data, [0x47, 0x49, 0x46, 0x38]),
  "image/webp": (data) =>
    startsWith(data, [0x52, 0x49, 0x46, 0x46]) && startsWith(data.subarray(8), [0x57, 0x45, 0x42, 0x50]),
};

/** Draw the content of `job`, which has ended well, into `place`. */
export async function drawArtifact(place, job, signal) {
  const size = job.trailer?.bytes ?? 0;
  if (!size) return;
  const head = await contentHead(job.id, Math.min(size, TEXT_LIMIT), signal);
  const kind = kindOf(head, size);
  const view = kind.startsWith("image/")
    ? await picture(job, kind, size, signal)
    : kind === "text"
      ? textView(head, size)
      : binaryView(head, size);
  place.replaceChildren(
    el("h3", {}, "Artifact"),
    el("div", { className: "artifact-head" },
      el("span", {}, `${fileName(subject(job))} · ${bytes(size)}`), saveButton(job, size)),
    view,
  );
}

/** Say what `head` is by its bytes; what the sender calls it is not trusted. */
function kindOf(head, size) {
  for (const [type, fits] of Object.entries(IMAGES)) if (fits(head)) return type;
  return isText(head, size > head.length) ? "text" : "binary";
}

function isText(head, cut) {
  if (head.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: cut });
    return true;
  } catch {
    return false;
  }
}

function textView(head, size) {
  const text = new TextDecoder().decode(head, { stream: size > head.length });
  const note = size > head.length
    ? el("p", { className: "hint" }, `The first ${bytes(head.length)} of ${bytes(size)}.`)
    : null;
  const view = el("pre", { className: "text", tabIndex: 0, "aria-label": "Content of the artifact" });
  view.textContent = text;
  return el("div", {}, view, note);
}

function binaryView(head, size) {
  const shown = head.subarray(0, HEX_LIMIT);
  const words = size > shown.length ? `Its first ${shown.length} bytes:` : "Its bytes:";
  const dump = el("pre", { className: "hex", tabIndex: 0, "aria-label": "Bytes of the artifact" });
  dump.textContent = hexDump(shown);
  return el("div", {}, el("p", { className: "hint" }, `This is not text. ${words}`), dump);
}

async function picture(job, type, size, signal) {
  if (size > IMAGE_LIMIT) {
    return el("p", { className: "hint" }, `An image of ${bytes(size)}: too large to show it here.`);
  }
  const data = await contentHead(job.id, size, signal);
  const address = URL.createObjectURL(new Blob([data], { type }));
  const image = el("img", { className: "picture", alt: `The artifact ${fileName(subject(job))}` });
  const release = () => URL.revokeObjectURL(address);
  image.addEventListener("load", release, { once: true });
  image.addEventListener("error", () => {
    release();
    image.replaceWith(el("p", { className: "problem" }, "This image is damaged."));
  }, { once: true });
  image.src = address;
  return image;
}

function saveButton(job, size) {
  const words = el("span", { className: "hint", role: "status" });
  const button = el("button", { type: "button" }, "Save …");
  if (size > SAVE_LIMIT) {
    button.disabled = true;
    words.textContent = `over ${bytes(SAVE_LIMIT)}: use control-plane-stub submit -o`;
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    words.textContent = "Saving …";
    try {
      await save(job);
      words.textContent = "Saved; the SHA-256 is right.";
    } catch (problem) {
      words.textContent = problem instanceof Problem ? problem.message : "The download broke off.";
    } finally {
      button.disabled = false;
    }
  });
  return el("span", { className: "save" }, words, button);
}

async function save(job) {
  const data = await (await content(job.id)).arrayBuffer();
  await requireWhole(data, job.trailer);
  const blob = new Blob([data], { type: "application/octet-stream" });
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: fileName(subject(job)) }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function requireWhole(data, trailer) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (data.byteLength !== trailer.bytes || (trailer.sha256 && sha256 !== trailer.sha256)) {
    throw new Problem(0, "The bytes that arrived are not those that were sent; nothing was saved.");
  }
}

const startsWith = (data, magic) => magic.every((byte, place) => data[place] === byte);
