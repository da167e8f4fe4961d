// Builds elements. Text goes in as text nodes, always: nothing in this page is ever parsed as HTML.

/** Return a new element; `given` sets properties, `data-*` and `aria-*` set attributes. */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role") element.setAttribute(name, String(value));
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Set the text of `element` only when it differs, so that screen readers and selections rest. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show `problem` in words, or hide the place for it. */
export function showProblem(element, problem) {
  element.hidden = !problem;
  setText(element, problem ?? "");
}
