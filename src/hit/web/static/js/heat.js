// How well each stretch of a video fits, drawn over its time. Scores are raw; the colours compare them within one strip.
import { h, svg } from "./dom.js";
import { time } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 24;

/**
 * A strip of a video's scores, with its moments marked.
 * @param {{curve: [number, number, number][], moments: {start: number, end: number, seek: number, score: number}[], duration: number,
 *   href?: (seconds: number) => string, onjump?: (seconds: number) => void}} given
 *   href: moments and the strip are links there; onjump: they call this
 */
export function strip({ curve, moments, duration, href, onjump }) {
  const end = Math.max(duration || 0, ...curve.map((one) => one[1]), 0.001);
  const scores = curve.map((one) => one[2]);
  const low = Math.min(...scores);
  const span = Math.max(...scores) - low || 1;
  const x = (seconds) => (seconds / end) * WIDTH;
  const bars = curve.map(([start, stop, score]) => {
    const strength = curve.length > 1 ? (score - low) / span : 1;
    const height = HEIGHT * (0.18 + 0.82 * strength);
    const box = { x: x(start), width: Math.max(x(stop) - x(start) - 1, 1), y: HEIGHT - height, height, rx: 1 };
    return svg("rect", { ...box, "fill-opacity": (0.22 + 0.78 * strength ** 2).toFixed(3) });
  });
  const marks = moments.map((one, i) => svg("rect.moment", { x: x(one.start), width: Math.max(x(one.end) - x(one.start), 4), y: HEIGHT + 2, height: 3, rx: 1.5, class: i ? "" : "best" }));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 6}`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars, marks);
  const cursor = h("span.heat-at.numbers", { hidden: true });
  const needle = h("span.heat-needle", { hidden: true });
  const box = h("div.heat", { title: "How well each stretch fits, compared within this video. Click to jump." }, picture, needle, cursor);
  const seconds = (event) => {
    const room = box.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - room.left) / room.width, 0), 1) * end;
  };
  box.addEventListener("pointermove", (event) => {
    const at = seconds(event);
    cursor.textContent = time(at);
    cursor.hidden = false;
    cursor.style.setProperty("left", `${(at / end) * 100}%`);
  });
  box.addEventListener("pointerleave", () => (cursor.hidden = true));
  box.addEventListener("click", (event) => {
    event.preventDefault();
    // where somebody points at a moment, that is what they mean
    const at = seconds(event);
    const meant = moments.find((one) => at >= one.start && at <= one.end);
    const to = meant ? meant.seek : at;
    if (onjump) onjump(to);
    else if (href) location.assign(href(to));
  });
  return Object.assign(box, {
    /** Show where the player is. */
    play(now) {
      needle.hidden = false;
      needle.style.setProperty("left", `${Math.min(now / end, 1) * 100}%`);
    },
  });
}

/**
 * The moments by their times, for whoever does not point.
 * @param {{moments: any[], href?: (seconds: number) => string, onjump?: (seconds: number) => void, most?: number}} given
 */
export function momentList({ moments, href, onjump, most = 4 }) {
  const shown = moments.slice(0, most);
  return h(
    "ul.moments",
    { aria: { label: "Moments, best first" } },
    shown.map((one, i) => {
      const told = { title: `${time(one.start, 1)} to ${time(one.end, 1)}, raw score ${one.score.toFixed(3)}`, class: i ? "" : "best" };
      const text = [h("span.hidden", null, i ? "Moment at " : "Best moment at "), time(one.seek)];
      if (onjump) return h("li", null, h("button.moment.numbers", { type: "button", onclick: () => onjump(one.seek), ...told }, text));
      return h("li", null, h("a.moment.numbers", { href: href(one.seek), ...told }, text));
    }),
  );
}
