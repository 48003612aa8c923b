// Scores over their axis: the library's and the background's as bars, and a line that is moved by pointer and keys.
import { ticks } from "./chart.js";
import { h, svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 100;

/**
 * @param {{edges: number[], library: number[], background: number[]}} histogram as the API has it
 * @param {{stops: number[], at: number, name: string, say: (at: number) => string, onmove: (at: number) => void}} line
 *   stops: where the line may stand, ascending; say: what its place means, for who does not see it
 * @returns {HTMLElement}
 */
export function axis({ edges, library, background }, { stops, at, name, say, onmove }) {
  const low = Math.min(edges[0], stops[0]);
  const high = Math.max(edges.at(-1), stops.at(-1));
  const share = (score) => Math.min(Math.max((score - low) / (high - low || 1), 0), 1);
  const x = (score) => share(score) * WIDTH;
  const tall = (counts) => counts.map((one) => HEIGHT * Math.sqrt(one / Math.max(...counts, 1)));
  const bars = tall(library).map((height, i) =>
    svg("rect", { x: x(edges[i]), width: Math.max(x(edges[i + 1]) - x(edges[i]) - 1, 0.5), y: HEIGHT - height, height }),
  );
  const ground = tall(background).map((height, i) => `L${x(edges[i]).toFixed(1)} ${(HEIGHT - height).toFixed(1)}L${x(edges[i + 1]).toFixed(1)} ${(HEIGHT - height).toFixed(1)}`);
  const outline = svg("path.ground", { d: `M${x(edges[0]).toFixed(1)} ${HEIGHT}${ground.join("")}L${x(edges.at(-1)).toFixed(1)} ${HEIGHT}` });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars, outline);
  const line = h("div.cut", { tabindex: 0, role: "slider", "aria-label": name, aria: { valuemin: 0, valuemax: stops.length - 1 } }, h("span.cut-grip"));
  const plot = h("div.axis-plot", null, picture, line);
  const marks = ticks(low, high, 6).map((value) => h("span", { style: { left: `${share(value) * 100}%` } }, String(value)));
  let now = -1;

  /** Have the line stand at a stop. */
  function stand(index) {
    now = Math.min(Math.max(index, 0), stops.length - 1);
    const score = stops[now];
    line.style.setProperty("left", `${share(score) * 100}%`);
    line.setAttribute("aria-valuenow", String(now));
    line.setAttribute("aria-valuetext", say(score));
    for (const [i, bar] of bars.entries()) bar.classList.toggle("over", edges[i + 1] > score);
  }

  function go(index) {
    const before = now;
    stand(index);
    if (now !== before) onmove(stops[now]);
  }

  const nearest = (score) => stops.reduce((best, one, i) => (Math.abs(one - score) < Math.abs(stops[best] - score) ? i : best), 0);
  const follow = (event) => {
    const box = plot.getBoundingClientRect();
    go(nearest(low + ((event.clientX - box.left) / box.width) * (high - low)));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault(); // no text is selected
    plot.setPointerCapture(event.pointerId);
    line.focus({ preventScroll: true });
    follow(event);
  });
  plot.addEventListener("pointermove", (event) => plot.hasPointerCapture(event.pointerId) && follow(event));
  line.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(Number.isFinite(step) ? now + step : step < 0 ? 0 : stops.length - 1);
  });
  stand(nearest(at));
  return h("div.axis", null, plot, h("div.axis-marks.numbers", { "aria-hidden": "true" }, marks));
}
