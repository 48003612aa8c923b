// The words of a video, heard and read: a list that follows the player, and in which one finds and seeks.
import { byId, h, put } from "./dom.js";
import { marked, sourceOf } from "./evidence.js";
import { time } from "./format.js";

/**
 * @param {any[]} segments as the API has them, with their lines
 * @param {{texts: string[], seek: (seconds: number) => void}} page
 */
export function showWords(segments, { texts, seek }) {
  const lines = inOrder(segments);
  const list = byId("words");
  const filter = /** @type {HTMLInputElement} */ (byId("words-filter"));
  const following = /** @type {HTMLInputElement} */ (byId("follow"));
  let asked = texts;
  let items = [];
  let current = -1;

  function draw() {
    const wanted = filter.value.trim().toLowerCase();
    const shown = lines.filter((line) => !wanted || line.text.toLowerCase().includes(wanted));
    items = shown.map((line) => {
      const told = { type: "button", title: `${sourceOf(line.expert)} at ${time(line.start, 1)}`, onclick: () => picked() || seek(line.start) };
      const button = h("button", { ...told, class: line.expert === "ocr" ? "read" : "" }, h("time", null, time(line.start)), h("span", null, marked(line.text, wanted ? [wanted] : asked)));
      return { line, button };
    });
    current = -1;
    put(list, items.map((one) => h("li", null, one.button)));
    list.hidden = !items.length;
    empty.hidden = items.length > 0;
    empty.textContent = lines.length ? "No line has this in it." : "No words were heard or read in this video.";
  }

  const empty = h("p.quiet.small", { role: "status" });
  list.after(empty);
  filter.hidden = lines.length < 2;
  following.parentElement.hidden = !lines.length;
  filter.addEventListener("input", draw);
  draw();

  return {
    /** Show which line is spoken now. */
    follow(at) {
      const next = items.findLastIndex(({ line }) => at >= line.start - 0.05 && at < line.end + 0.25);
      if (next === current) return;
      items[current]?.button.removeAttribute("aria-current");
      current = next;
      const button = items[next]?.button;
      if (!button) return;
      button.setAttribute("aria-current", "true");
      if (following.checked) list.scrollTop = button.offsetTop - list.clientHeight / 2 + button.clientHeight / 2;
    },
    /** Mark other words. */
    mark(given) {
      asked = given;
      draw();
    },
  };
}

/** Lines of all segments in the order of time; what is said across a seam is there once. */
function inOrder(segments) {
  const seen = new Map();
  for (const line of segments.flatMap((one) => one.lines)) seen.set(`${line.expert} ${line.start.toFixed(2)} ${line.text}`, line);
  return [...seen.values()].sort((a, b) => a.start - b.start || a.end - b.end);
}

/** Whether somebody has just selected text, and did not mean to click. */
const picked = () => Boolean(getSelection()?.toString());
