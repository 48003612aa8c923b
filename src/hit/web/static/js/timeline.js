// The score of a case over its video's time, with the evidence below it. Scores are raw, and compared within the video.
import { h, svg } from "./dom.js";
import { time } from "./format.js";

const [WIDTH, HEIGHT, BAR] = [1000, 72, 10];

/**
 * @param {{curve: [number, number, number][], evidence: any[], duration: number|null, lines: {name: string, at: number}[], onjump: (seconds: number) => void}} given
 *   lines: thresholds that are drawn; none for those who should judge for themselves
 */
export function timeline({ curve, evidence, duration, lines, onjump }) {
  const end = Math.max(duration || 0, ...curve.map((one) => one[1]), ...evidence.map((one) => one.end), 0.001);
  const all = [...curve.map((one) => one[2]), ...lines.map((one) => one.at)];
  const low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  const x = (seconds) => (seconds / end) * WIDTH;
  const y = (score) => (all.every((one) => one === low) ? HEIGHT / 2 : HEIGHT - 4 - ((score - low) / span) * (HEIGHT - 12));
  const steps = [...curve].sort((a, b) => a[0] - b[0]);
  const path = steps.map(([start, stop, score], i) => `${i ? "L" : "M"}${x(start).toFixed(1)} ${y(score).toFixed(1)}H${x(stop).toFixed(1)}`).join("");
  const area = steps.length > 0 && `${path}V${HEIGHT}H${x(steps[0][0]).toFixed(1)}Z`;
  const bars = evidence.map((one) => svg("rect.evidence-bar", { x: x(one.start), width: Math.max(x(one.end) - x(one.start), 4), y: HEIGHT + 3, height: BAR - 3, rx: 2 }));
  const marks = lines.map((one) => svg("line", { class: `threshold ${one.name}`, x1: 0, x2: WIDTH, y1: y(one.at), y2: y(one.at) }));
  const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT + BAR}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const needle = h("span.heat-needle", { hidden: true });
  const cursor = h("span.heat-at.numbers", { hidden: true });
  const box = h("div.case-line", { title: "How well each stretch fits the policy. Click to jump." }, svg("svg", view, steps.length > 0 && [svg("path.curve-area", { d: area }), svg("path.curve", { d: path })], marks, bars), needle, cursor);
  const place = (event) => {
    const room = box.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - room.left) / room.width, 0), 1) * end;
  };
  box.addEventListener("pointermove", (event) => {
    const at = place(event);
    cursor.textContent = time(at, 1);
    cursor.hidden = false;
    cursor.style.setProperty("left", `${(at / end) * 100}%`);
  });
  box.addEventListener("pointerleave", () => (cursor.hidden = true));
  box.addEventListener("click", (event) => {
    const at = place(event);
    onjump(evidence.find((one) => at >= one.start && at <= one.end)?.seek ?? at);
  });
  return Object.assign(box, {
    /** Show where the player is. */
    play(now) {
      needle.hidden = false;
      needle.style.setProperty("left", `${Math.min(now / end, 1) * 100}%`);
    },
  });
}
