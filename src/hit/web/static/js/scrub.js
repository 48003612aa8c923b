// Scrubbing: pictures from all over a video, shown by moving over its card.
import { problemOf } from "./api.js";
import { h } from "./dom.js";
import { seconds, time } from "./format.js";

/** @typedef {{start: number, end: number, url: string, x: number, y: number, w: number, h: number}} Cue */

/** @type {Map<string, Promise<Cue[]>>} */
const sheets = new Map();

/** A video's pictures, fetched once a page; an empty list where there are none. @returns {Promise<Cue[]>} */
function cues(videoId) {
  if (!sheets.has(videoId)) {
    const found = load(videoId);
    sheets.set(videoId, found);
    found.then((list) => list.length || sheets.delete(videoId)).catch(() => sheets.delete(videoId));
  }
  return sheets.get(videoId);
}

async function load(videoId) {
  const path = `/v1/videos/${videoId}/sprites.vtt`;
  const response = await fetch(path, { credentials: "same-origin" });
  if (response.status === 404 || response.status === 409) return []; // the file is away, or the pictures are still being made
  if (!response.ok) throw await problemOf(response);
  return parse(await response.text(), new URL(path, location.href));
}

/** Read a WebVTT track of pictures. @returns {Cue[]} */
export function parse(text, base) {
  const found = [];
  for (const block of text.replace(/\r\n?/g, "\n").split(/\n{2,}/)) {
    const lines = block.split("\n");
    const at = lines.findIndex((line) => line.includes("-->"));
    const place = /^(.+)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(lines[at + 1] ?? "");
    if (at < 0 || !place) continue;
    const [start, end] = lines[at].split("-->").map(stamp);
    const [x, y, w, h_] = place.slice(2).map(Number);
    const url = new URL(place[1], base);
    if (url.origin === base.origin) found.push({ start, end, url: url.href, x, y, w, h: h_ });
  }
  return found;
}

const stamp = (text) => seconds(text.trim().split(" ")[0]);

/**
 * Have a card's picture follow the pointer, or Shift and the arrow keys where it has the focus.
 * @param {HTMLElement} frame the box of the picture
 * @param {string} videoId
 * @param {{begin?: number, focus?: HTMLElement}} [options] begin: seconds where the keys start from
 */
export function scrub(frame, videoId, { begin = 0, focus = frame } = {}) {
  const sprite = h("div.sprite");
  const sheet = h("div.sheet", { hidden: true }, sprite); // dark, so that the poster does not show beside a narrow picture
  const needle = h("div.needle", { hidden: true });
  const told = h("span.at.numbers", { hidden: true });
  frame.append(sheet, needle, told);
  let list = [];
  let at = -1;

  const ready = () => cues(videoId).then((found) => (list = found)).catch(() => (list = []));

  const show = (number) => {
    if (!list.length) return;
    at = Math.min(Math.max(number, 0), list.length - 1);
    draw(sprite, list[at], frame);
    needle.style.setProperty("left", `${((at + 0.5) / list.length) * 100}%`);
    told.textContent = time(list[at].start);
    for (const part of [sheet, needle, told]) part.hidden = false;
  };

  const hide = () => {
    at = -1;
    for (const part of [sheet, needle, told]) part.hidden = true;
  };

  let wanted = null;
  frame.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return; // a finger scrolls
    const box = frame.getBoundingClientRect();
    wanted = (event.clientX - box.left) / box.width;
    const move = () => wanted !== null && show(Math.floor(wanted * list.length));
    if (list.length) move();
    else ready().then(move);
  });
  frame.addEventListener("pointerleave", () => {
    wanted = null;
    hide();
  });
  focus.addEventListener("focus", () => focus.matches(":focus-visible") && ready());
  focus.addEventListener("blur", hide);
  focus.addEventListener("keydown", async (event) => {
    if (!event.shiftKey || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return;
    event.preventDefault();
    event.stopPropagation();
    const step = event.key === "ArrowRight" ? 1 : -1;
    if (!list.length) await ready();
    show(at < 0 ? list.findIndex((cue) => cue.end > begin) : at + step);
  });
}

function draw(sprite, cue, frame) {
  const scale = Math.min(frame.clientWidth / cue.w, frame.clientHeight / cue.h);
  const style = sprite.style;
  style.setProperty("width", `${cue.w}px`);
  style.setProperty("height", `${cue.h}px`);
  style.setProperty("background-image", `url("${cue.url}")`);
  style.setProperty("background-position", `-${cue.x}px -${cue.y}px`);
  style.setProperty("transform", `translate(-50%, -50%) scale(${scale})`);
}
