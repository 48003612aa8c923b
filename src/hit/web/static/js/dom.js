// Elements, made without ever parsing HTML: what comes from files and from people stays text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag a name, with classes after dots: "button.ghost.small"
 * @param {Record<string, any>|null} [props] onclick and the like become listeners; `data`, `aria` and `style` take objects;
 *   true and false set and leave out attributes; properties that must be set as such (value, disabled, muted) are
 * @param {...any} children text and elements; null and false are left out, lists are flattened
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, props, children);
}

/** The same for SVG. @returns {SVGElement} */
export function svg(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, props, children);
}

const PROPERTIES = new Set(["value", "disabled", "muted"]);

function fill(element, classes, props, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  add(element, children);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "aria") for (const [key, one] of Object.entries(value)) element.setAttribute(`aria-${key}`, String(one));
  else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, String(one));
  else if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
  else if (PROPERTIES.has(name)) element[name] = value;
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false) element.setAttribute(name, String(value));
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Put new children in the place of the old ones. */
export function put(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** @param {string} id @returns {HTMLElement} the page's element of this id, which must be there */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** An icon of the sprite; it says nothing to screen readers. */
export function icon(name) {
  return svg("svg.icon", { "aria-hidden": "true" }, svg("use", { href: `/static/icons.svg#${name}` }));
}

/** Have screen readers say something. */
export function announce(text) {
  const live = byId("live");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = text));
}

/** Show a note for some seconds, and say it. kind: "" or "bad". */
export function toast(text, kind = "") {
  const note = h("div.toast", { class: kind }, text);
  byId("toasts").append(note);
  announce(text);
  setTimeout(() => note.remove(), kind ? 9000 : 4000);
}

/** A problem as something to look at: what, why, how to mend it, and a button that tries again. */
export function problemView(problem, retry = null) {
  const told = problem.errors?.length ? problem.errors.map((one) => `${one.where}: ${one.why}`).join("; ") : problem.detail;
  return h(
    "div.state",
    { role: "alert", class: problem.offline ? "offline" : "bad" },
    icon("warning"),
    h("h2", null, capital(problem.title ?? "something went wrong")),
    h("p", null, capital(told ?? String(problem.message ?? problem))),
    problem.fix && h("p", null, `Try: ${problem.fix}`),
    retry && problem.status !== 404 && h("button", { type: "button", onclick: retry }, icon("retry"), "Try again"),
    problem.requestId && h("p.quiet.small", null, "Request ", h("code", null, problem.requestId)),
  );
}

/** A text with a capital first letter. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Rows of a dl.facts; those without a value are left out. @param {[string, any][]} facts */
export const factRows = (facts) => facts.filter(([, value]) => value).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]);

/** A state of a page that is no error: nothing here yet, nothing found. */
export function stateView(name, title, text, ...actions) {
  return h("div.state", null, icon(name), h("h2", null, title), text && h("p", null, text), actions);
}

/**
 * Open a dialog over the page; Escape and the button close it, and the focus goes back to where it was.
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, { wide = false, onclose = null } = {}) {
  const before = document.activeElement;
  const close = h("button.ghost.square", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = /** @type {HTMLDialogElement} */ (
    h("dialog", { class: wide ? "wide" : "", aria: { labelledby: "dialog-title" } }, h("header", null, heading, close), content)
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    onclose?.();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask before something is done that cannot be undone. @returns {Promise<boolean>} */
export function confirmDialog(title, text, verb) {
  return new Promise((resolve) => {
    let said = false;
    const yes = () => {
      said = true;
      dialog.close();
    };
    const buttons = h(
      "div.row.end",
      null,
      h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep as it is"),
      h("button.danger", { type: "button", onclick: yes }, verb),
    );
    const dialog = openDialog(title, h("div.stack", null, h("p", null, text), buttons), { onclose: () => resolve(said) });
  });
}

/** Call `act` once nothing more has come for some milliseconds. */
export function debounce(act, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), milliseconds);
  };
}

/** Whether somebody types into what an event comes from. */
export function isTyping(event) {
  const target = event.target;
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}
