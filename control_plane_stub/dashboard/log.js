// A job's log as it grows: follows its end until the reader scrolls up. Knows nothing of jobs.

import { el, setText } from "./dom.js";

const MOST_CHARACTERS = 1024 * 1024;
const PIECES_AT_ONCE = 4096;
const NEAR = 24;

export class LogView {
  #end = 0;
  #characters = 0;
  #following = true;

  constructor() {
    this.text = el("pre", {
      className: "log",
      tabIndex: 0,
      role: "log",
      "aria-label": "Log of the job",
      "aria-live": "off",
    });
    this.dropped = el("p", { className: "hint", hidden: true },
      "The log is long: only its last part is shown here.");
    this.toEnd = el("button", { type: "button", className: "to-end", hidden: true }, "↓ Newest line");
    this.empty = el("p", { className: "empty" }, "Nothing was logged yet.");
    this.element = el("div", { className: "log-view" }, this.dropped, this.empty, this.text,
      this.toEnd);
    this.text.hidden = true;
    this.text.addEventListener("scroll", () => this.#follow(this.#isAtEnd()));
    this.toEnd.addEventListener("click", () => this.#follow(true));
  }

  /** Append one piece, unless it was shown before. */
  append({ end, text }) {
    if (end <= this.#end) return;
    this.#end = end;
    this.text.hidden = false;
    this.empty.hidden = true;
    for (let at = 0; at < text.length; at += PIECES_AT_ONCE) {
      this.text.append(document.createTextNode(text.slice(at, at + PIECES_AT_ONCE)));
    }
    this.#characters += text.length;
    this.#dropOldest();
    if (this.#following) this.text.scrollTop = this.text.scrollHeight;
  }

  ended() {
    setText(this.empty, "This job logged nothing.");
  }

  #dropOldest() {
    while (this.#characters > MOST_CHARACTERS && this.text.childNodes.length > 1) {
      this.#characters -= this.text.firstChild.length;
      this.text.firstChild.remove();
      this.dropped.hidden = false;
    }
  }

  #isAtEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.text;
    return scrollTop + clientHeight >= scrollHeight - NEAR;
  }

  #follow(following) {
    this.#following = following;
    this.toEnd.hidden = following;
    if (following) this.text.scrollTop = this.text.scrollHeight;
  }
}
