// Charts as SVG: lines with axes, a legend, values under the pointer or by arrow keys, and the numbers as a table.
import { announce, h, put, svg } from "./dom.js";

const SIDES = { top: 12, right: 14, bottom: 40, left: 46 };
const LEVELS = ["fused", "semantic", "feature"]; // the same colour wherever they are shown
const STYLES = 6; // .s0 to .s5 in evaluations.css

/** A number short enough for an axis or a cell, with as many digits as those beside it. */
export function short(value, digits = 1) {
  return Math.abs(value) >= 10_000 ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : value.toFixed(digits);
}

/** About `count` round numbers from low to high. */
export function ticks(low, high, count = 5) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999) ?? raw;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function styleOf(name, index) {
  const known = LEVELS.indexOf(name);
  return `s${known >= 0 ? known : index % STYLES}`;
}

function scaleOf(chart) {
  const xs = chart.series.flatMap((one) => one.points.map((point) => point[0]));
  const ys = chart.series.flatMap((one) => one.points.map((point) => point[1]));
  const log = chart.kind === "recall";
  const percent = chart.y.endsWith("%");
  const full = chart.kind === "recall" || chart.kind === "reliability";
  const most = Math.max(...ys, 0);
  const y = { low: 0, high: full ? 100 : percent ? Math.min(100, most * 1.1 || 1) : most * 1.08 || 1 };
  const x = chart.kind === "reliability" ? { low: 0, high: 100 } : { low: Math.min(...xs), high: Math.max(...xs) };
  if (x.low === x.high) Object.assign(x, { low: x.low - 1, high: x.high + 1 });
  return { x, y, log, xTicks: log ? [1, 2, 5, 10, 20, 50].filter((k) => k >= x.low && k <= x.high) : null };
}

function place(scale, size) {
  const wide = size.width - SIDES.left - SIDES.right;
  const tall = size.height - SIDES.top - SIDES.bottom;
  const bend = scale.log ? Math.log : (value) => value;
  const [low, high] = [bend(scale.x.low), bend(scale.x.high)];
  return {
    x: (value) => SIDES.left + ((bend(value) - low) / (high - low)) * wide,
    y: (value) => SIDES.top + (1 - (value - scale.y.low) / (scale.y.high - scale.y.low)) * tall,
  };
}

function frame(chart, scale, size, at) {
  const base = size.height - SIDES.bottom;
  const xs = scale.xTicks ?? ticks(scale.x.low, scale.x.high, size.width < 420 ? 4 : 6);
  return [
    ticks(scale.y.low, scale.y.high, 5).map((value) => [
      svg("line.grid", { x1: SIDES.left, x2: size.width - SIDES.right, y1: at.y(value), y2: at.y(value) }),
      svg("text.tick", { x: SIDES.left - 8, y: at.y(value) + 4, "text-anchor": "end" }, short(value, value % 1 ? 1 : 0)),
    ]),
    xs.map((value) => [
      svg("line.notch", { x1: at.x(value), x2: at.x(value), y1: base, y2: base + 4 }),
      svg("text.tick", { x: at.x(value), y: base + 18, "text-anchor": "middle" }, short(value, value % 1 ? 1 : 0)),
    ]),
    svg("line.base", { x1: SIDES.left, x2: size.width - SIDES.right, y1: base, y2: base }),
    svg("text.axis", { x: SIDES.left + (size.width - SIDES.left - SIDES.right) / 2, y: size.height - 4, "text-anchor": "middle" }, chart.x),
    chart.kind === "reliability" && svg("line.promise", { x1: at.x(0), y1: at.y(0), x2: at.x(100), y2: at.y(100) }),
  ];
}

function line(one, style, at) {
  const path = one.points.map(([x, y], i) => `${i ? "L" : "M"}${at.x(x).toFixed(1)} ${at.y(y).toFixed(1)}`).join("");
  const dots = one.points.length <= 16 ? one.points.map(([x, y]) => svg("circle", { cx: at.x(x), cy: at.y(y), r: 3 })) : [];
  return svg(`g.series.${style}`, null, svg("path", { d: path }), dots);
}

/** The numbers of a chart, for those who cannot see it or want to copy them. */
function numbers(chart, xs) {
  const of = chart.series.map((one) => new Map(one.points));
  const cell = (value) => h("td", null, value === undefined ? "" : short(value, 2));
  return h(
    "details.numbers-of",
    null,
    h("summary", null, "Numbers"),
    h(
      "div.scroll",
      { tabindex: 0, role: "region", "aria-label": `${chart.title}, numbers` },
      h(
        "table.table.dense",
        null,
        h("thead", null, h("tr", null, h("th", { scope: "col" }, chart.x), chart.series.map((one) => h("th", { scope: "col" }, one.name)))),
        h("tbody", null, xs.map((x) => h("tr", null, h("th", { scope: "row" }, short(x, x % 1 ? 2 : 0)), of.map((own) => cell(own.get(x)))))),
      ),
    ),
  );
}

/**
 * A chart of lines.
 * @param {{kind: string, title: string, x: string, y: string, series: {name: string, points: number[][]}[]}} chart
 * @returns {HTMLElement} a figure that draws itself anew when its width changes
 */
export function lineChart(chart) {
  const styles = chart.series.map((one, index) => styleOf(one.name, index));
  const scale = scaleOf(chart);
  const tip = h("div.tip", { hidden: true, "aria-hidden": "true" });
  const board = h("div.board");
  const summary = chart.series.map((one) => `${one.name} ends at ${short(one.points.at(-1)?.[1] ?? 0)}`).join(", ");
  const plot = h("div.plot", { tabindex: 0, role: "group", "aria-label": `${chart.title}: arrow keys read the values` }, board, tip);
  const xs = [...new Set(chart.series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  let at = null;
  let size = { width: 0, height: 0 };
  let guide = null;
  let chosen = -1;

  function draw() {
    size = { width: Math.max(240, plot.clientWidth), height: plot.clientWidth < 420 ? 240 : 280 };
    at = place(scale, size);
    guide = svg("line.guide", { y1: SIDES.top, y2: size.height - SIDES.bottom, visibility: "hidden" });
    const view = { viewBox: `0 0 ${size.width} ${size.height}`, width: size.width, height: size.height, role: "img" };
    const lines = chart.series.map((one, index) => line(one, styles[index], at)).reverse(); // the first lies on top
    put(board, svg("svg", { ...view, "aria-label": `${chart.title}. ${summary}` }, frame(chart, scale, size, at), guide, lines));
  }

  function show(index, say = false) {
    chosen = Math.min(Math.max(index, 0), xs.length - 1);
    const x = xs[chosen];
    const rows = chart.series.map((one, i) => [one, styles[i], one.points.find((point) => point[0] === x)]).filter((row) => row[2]);
    guide.setAttribute("x1", at.x(x));
    guide.setAttribute("x2", at.x(x));
    guide.setAttribute("visibility", "visible");
    const told = rows.map(([one, , point]) => `${one.name} ${short(point[1], 2)}`);
    put(tip, h("strong", null, `${chart.x.split(",")[0]} ${short(x, x % 1 ? 1 : 0)}`), rows.map(([one, style, point]) => h("div", null, key(style), h("span", null, one.name), h("b", null, short(point[1], 2)))));
    tip.hidden = false;
    const left = at.x(x) > size.width / 2 ? at.x(x) - tip.offsetWidth - 10 : at.x(x) + 10;
    tip.style.left = `${Math.max(0, Math.min(left, size.width - tip.offsetWidth))}px`;
    if (say) announce(`${chart.x} ${short(x, x % 1 ? 1 : 0)}: ${told.join(", ")}`);
  }

  function hide() {
    tip.hidden = true;
    guide?.setAttribute("visibility", "hidden");
  }

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const here = event.clientX - box.left;
    show(xs.reduce((best, x, i) => (Math.abs(at.x(x) - here) < Math.abs(at.x(xs[best]) - here) ? i : best), 0));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Number.isFinite(step) ? chosen + step : step < 0 ? 0 : xs.length - 1, true);
  });
  new ResizeObserver(() => plot.clientWidth && plot.clientWidth !== size.width && draw()).observe(plot);
  const legend = h("ul.legend", null, chart.series.map((one, i) => h("li", null, key(styles[i]), one.name)));
  if (chart.kind === "reliability") legend.append(h("li", null, key("promise"), "as promised"));
  return h("figure.chart", null, h("figcaption", null, h("h3", null, chart.title), h("span.quiet.small", null, chart.y)), plot, legend, numbers(chart, xs));
}

function key(style) {
  const mark = svg("line", { x1: 1, x2: 23, y1: 5, y2: 5 });
  return svg("svg.key", { viewBox: "0 0 24 10", width: 24, height: 10, "aria-hidden": "true" }, svg(`g.series.${style}`, null, mark));
}

/** A line without axes, as tall as a word. points: (x, y) */
export function sparkline(points, label) {
  const [width, height] = [120, 32];
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const dot = ([x, y]) => [((x - x0) / (x1 - x0 || 1)) * (width - 8) + 4, height - 4 - ((y - y0) / (y1 - y0 || 1)) * (height - 8)];
  const path = points.map((point, i) => `${i ? "L" : "M"}${dot(point).map((one) => one.toFixed(1)).join(" ")}`).join("");
  const [cx, cy] = dot(points.at(-1));
  return svg("svg.spark", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, svg("path", { d: path }), svg("circle", { cx, cy, r: 2.5 }));
}

/**
 * Means with their spread, row by row, on one scale.
 * @param {{name: string, mean: number, low: number, high: number, best?: boolean, told?: string}[]} rows told: in place of mean and spread
 */
export function forest(rows, title, unit) {
  const low = Math.min(...rows.map((row) => row.low));
  const high = Math.max(...rows.map((row) => row.high));
  const room = (high - low || 1) * 0.06;
  const [from, to] = [Math.max(0, low - room), Math.min(high + room, unit.startsWith("per cent") ? 100 : Infinity)];
  const share = (value) => `${(((value - from) / (to - from)) * 100).toFixed(2)}%`;
  const body = rows.map((row) => [
    h("span.forest-name", { class: row.best ? "best" : "" }, row.name),
    svg(
      "svg.forest-mark",
      { height: 18, width: "100%", "aria-hidden": "true", class: row.best ? "best" : "" },
      svg("line.grid", { x1: "0%", x2: "100%", y1: 9, y2: 9 }),
      row.high > row.low && svg("line.whisker", { x1: share(row.low), x2: share(row.high), y1: 9, y2: 9 }),
      svg("circle", { cx: share(row.mean), cy: 9, r: 4.5 }),
    ),
    h("span.forest-value", null, row.told ?? short(row.mean, 1), !row.told && row.high > row.mean && h("small.quiet", null, ` ± ${short(row.high - row.mean, 1)}`)),
  ]);
  const ends = [h("span"), h("span.forest-ends.quiet.small", { "aria-hidden": "true" }, h("span", null, short(from, 1)), h("span", null, short(to, 1))), h("span")];
  return h("figure.chart", null, h("figcaption", null, h("h3", null, title), h("span.quiet.small", null, unit)), h("div.forest", null, body, ends));
}
