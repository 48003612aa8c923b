// The keyboard: through cards in two dimensions, and help on it.
import { h, isTyping, openDialog } from "./dom.js";

/** Move the focus among a grid's cards as they lie on the screen. Returns whether there was somewhere to go. */
export function step(grid, key) {
  const cards = /** @type {HTMLElement[]} */ ([...grid.querySelectorAll("[data-nav]")]);
  const now = cards.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  if (!cards.length) return false;
  if (now < 0) {
    cards[0].focus();
    return true;
  }
  let next = now;
  if (key === "ArrowRight") next = now + 1;
  else if (key === "ArrowLeft") next = now - 1;
  else next = above(cards, now, key === "ArrowDown" ? 1 : -1);
  cards[next]?.focus();
  return Boolean(cards[next]);
}

/** The card of the next row whose middle is nearest. */
function above(cards, now, way) {
  const here = cards[now].getBoundingClientRect();
  let best = -1;
  let distance = Infinity;
  let row = null;
  for (let i = now + way; i >= 0 && i < cards.length; i += way) {
    const box = cards[i].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 8) continue; // still the same row
    row ??= box.top;
    if (Math.abs(box.top - row) > 8) break;
    const off = Math.abs(box.left - here.left);
    if (off < distance) [best, distance] = [i, off];
  }
  return best;
}

/** A dialog that lists keys. @param {[string, string][]} keys */
export function help(keys) {
  const list = keys.map(([names, what]) => [h("dt", null, names.split(" ").map((one) => [h("kbd", null, one), " "])), h("dd", null, what)]);
  openDialog("Keys", h("dl.keys", null, list));
}

/** Call handlers by keys, wherever the focus is but in a field, a menu or a dialog. @param {Record<string, (event: KeyboardEvent) => any>} handlers */
export function keys(handlers) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    if (event.target instanceof Element && event.target.closest("dialog, .menu")) return;
    const handler = handlers[event.key];
    if (handler && handler(event) !== false) event.preventDefault();
  });
}

/** Have only the buttons of the card that has the focus be stops of the Tab key. @param {HTMLElement} room */
export function cardStops(room) {
  let card = null;
  const buttons = () => card?.querySelectorAll(":is(.card-tools, .answers) button") ?? [];
  room.addEventListener("focusin", (event) => {
    const now = event.target instanceof Element ? event.target.closest(".card") : null;
    if (now === card) return;
    for (const button of buttons()) button.tabIndex = -1;
    card = now;
    for (const button of buttons()) button.tabIndex = 0;
  });
}

/** Handlers by which arrow keys go through a room's cards, and space previews the one that has the focus. @param {HTMLElement} room */
export function cardKeys(room) {
  cardStops(room);
  const onCard = (event) => event.target instanceof Element && event.target.matches("[data-nav]");
  const loose = (event) => event.target === document.body || event.target === document.querySelector("main");
  const arrow = (event) => (onCard(event) || loose(event)) && !event.shiftKey && step(room, event.key);
  const space = (event) => (onCard(event) ? void event.target.closest(".card").dispatchEvent(new Event("preview")) : false);
  return { ArrowLeft: arrow, ArrowRight: arrow, ArrowUp: arrow, ArrowDown: arrow, " ": space };
}
