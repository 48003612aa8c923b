// One report: figures, curves, tables, and the worst misses side by side.
import { get } from "./api.js";
import { forest, lineChart, short } from "./chart.js";
import { byId, capital, factRows, h, icon, problemView, put } from "./dom.js";
import { moment, time } from "./format.js";
import { KINDS, measured, WAYS } from "./reports.js";

const SECTIONS = {
  recall: ["Recall by the number of answers", "How often the right one is among the first k answers."],
  loss: ["Training", "At the steps at which the model was validated; losses are those of one batch."],
  reliability: ["Confidence", "How often a first answer is right, by how sure it is said to be. Each point is a tenth of the queries."],
};
const ORDER = ["recall", "loss", "reliability"];
const DRIFT = 0.12; // seconds that two clips may be apart

function headline(one) {
  const ways = Object.keys(WAYS).filter((way) => one.figures[way]?.R1 !== undefined);
  return h(
    "div.tiles",
    null,
    ways.map((way) => {
      const own = one.figures[way];
      const rest = ["R5", "R10"].filter((name) => name in own).map((name) => `${name.replace("R", "R@")} ${short(own[name])}`);
      if (own.MdR !== undefined) rest.push(`median rank ${short(own.MdR)}`);
      return h("div.panel.tile", null, h("span.quiet.small", null, `R@1, ${WAYS[way]}`), h("strong", null, short(own.R1), h("small", null, " %")), h("span.quiet.small", null, rest.join(" · ")));
    }),
  );
}

function cellText(cell) {
  if (!cell) return "";
  const spread = cell.std !== null && h("small.quiet", null, ` ± ${short(cell.std)}`);
  const ends = cell.low !== null && cell.high !== null && h("small.quiet.ends", null, `${short(cell.low)} to ${short(cell.high)}`);
  return [short(cell.mean), spread, ends];
}

function table(one, best) {
  const column = (i) => one.rows.filter((row) => row.kind === "variant" && row.cells[i]).map((row) => row.cells[i].mean);
  const bests = one.columns.map((name, i) => (name.startsWith("M") ? Math.min : Math.max)(...column(i))); // ranks are best low
  const top = (row, i) => row.kind === "variant" && row.cells[i]?.mean === bests[i];
  const head = h("tr", null, h("th", { scope: "col" }, one.rows[0]?.kind === "variant" ? "row" : "level"), one.columns.map((name) => h("th.number", { scope: "col" }, name)));
  const rows = one.rows.map((row) =>
    h(
      "tr",
      { class: `${row.kind === "fused" || row.name === best ? "strong" : ""} ${["post", "published"].includes(row.kind) ? "soft" : ""}` },
      h("th", { scope: "row" }, row.name, row.note && h("small.quiet.note", null, row.note)),
      row.cells.map((cell, i) => h("td.number", { class: top(row, i) ? "top-figure" : "" }, cellText(cell))),
    ),
  );
  const box = h("div.scroll", { tabindex: 0, role: "region", "aria-label": one.title }, h("table.table.figures", null, h("thead", null, head), h("tbody", null, rows)));
  return h("section.panel", null, h("h2", null, one.title), box);
}

function spread(report) {
  const own = report.kind === "ablate" && report.tables[0];
  const at = own ? own.columns.indexOf("R@1") : -1;
  if (at < 0) return null;
  const rows = own.rows.filter((row) => row.cells[at]).map((row) => {
    const { mean, std } = row.cells[at];
    return { name: row.name, mean, low: mean - (std ?? 0), high: mean + (std ?? 0), best: row.name === report.best };
  });
  return h("section.panel", null, forest(rows, "R@1, text to video, both levels fused", "%, mean and deviation over seeds"));
}

function chartSections(charts) {
  const group = (kind) => charts.filter((one) => one.kind === kind || (kind === "loss" && one.kind === "validation"));
  return ORDER.filter((kind) => group(kind).length).map((kind) =>
    h("section", null, h("h2", null, SECTIONS[kind][0]), h("p.quiet.small", null, SECTIONS[kind][1]), h("div.charts", null, group(kind).map((one) => h("div.panel", null, lineChart(one))))),
  );
}

function clipView(side, title, kind) {
  const view = side.stream_url
    ? h("video", { src: `${side.stream_url}#t=${side.start}`, poster: side.poster_url, preload: "none", playsinline: true, muted: true, "aria-label": `${title}: ${side.clip}` })
    : side.poster_url
      ? h("img", { src: side.poster_url, alt: `A frame of ${side.clip}`, loading: "lazy" })
      : h("div.no-clip", null, icon("info"), h("span", null, "No picture"));
  const told = side.why && h("p.quiet.small", null, `${capital(side.why)}.`);
  const text = side.caption && h("blockquote", null, side.caption);
  const media = h("div.frame", null, view);
  if (side.stream_url) {
    view.addEventListener("error", () => put(media, h("div.no-clip", null, icon("warning"), h("span", null, "This browser cannot play the file"))));
  }
  return { view: side.stream_url ? view : null, side, element: h(`section.side.${kind}`, null, h("h4", null, icon(kind === "right" ? "check" : "close"), title), media, h("p.quiet.small.clip-id", null, side.clip), text, told) };
}

function cosines(miss) {
  const levels = Object.keys(miss.right.cosines).filter((level) => level in miss.first.cosines);
  if (!levels.length) return null;
  const row = (level) => {
    const [right, first] = [miss.right.cosines[level], miss.first.cosines[level]];
    return h("tr", null, h("th", { scope: "row" }, level), h("td.number", { class: right > first ? "top-figure" : "" }, short(right, 3)), h("td.number", { class: first > right ? "top-figure" : "" }, short(first, 3)));
  };
  return h("table.table.dense.cosines", null, h("caption.hidden", null, "Cosines with the query"), h("thead", null, h("tr", null, h("th", { scope: "col" }, "cosine"), h("th.number", { scope: "col" }, "right"), h("th.number", { scope: "col" }, "first"))), h("tbody", null, levels.map(row)));
}

/** Buttons that move both clips together. */
function together(sides) {
  const played = sides.filter((one) => one.view);
  if (!played.length) return null;
  const label = h("span", null, played.length > 1 ? "Play both" : "Play");
  const sign = h("span.sign", null, icon("play"));
  const button = h("button.small", { type: "button" }, sign, label);
  const slider = h("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": played.length > 1 ? "Place in both clips" : "Place in the clip" });
  const clock = h("span.quiet.small.numbers", null, "0:00");
  const begin = (one) => one.side.start ?? 0;
  const length = (one) => Math.max(0.1, (one.side.end ?? (one.view.duration || begin(one) + 10)) - begin(one));
  let playing = false;
  let begun = 0; // when both were sent to their beginning

  function seek(seconds) {
    for (const one of played) one.view.currentTime = begin(one) + Math.min(seconds, length(one) - 0.05);
  }
  function state(next) {
    playing = next;
    put(sign, icon(next ? "pause" : "play"));
    label.textContent = next ? "Pause" : played.length > 1 ? "Play both" : "Play";
  }
  async function toggle() {
    if (playing) {
      for (const one of played) one.view.pause();
      return state(false);
    }
    state(true);
    const results = await Promise.allSettled(played.map((one) => one.view.play()));
    if (results.every((one) => one.status === "rejected")) state(false);
  }
  const [lead, other] = played.length > 1 && length(played[1]) > length(played[0]) ? [played[1], played[0]] : played;
  lead.view.addEventListener("timeupdate", () => {
    const now = lead.view.currentTime - begin(lead);
    const all = length(lead);
    clock.textContent = time(Math.max(0, now));
    slider.value = String(Math.round((now / all) * 1000));
    const settled = other && !other.view.seeking && !lead.view.seeking; // or a slow machine would be at nothing else
    const loose = settled && playing && now < length(other) && Math.abs(other.view.currentTime - begin(other) - now) > DRIFT;
    if (loose) other.view.currentTime = begin(other) + now;
    if (playing && now >= all - 0.05) again();
  });
  lead.view.addEventListener("ended", () => playing && again());
  function again() {
    if (performance.now() - begun < 1000) return toggle(); // a file that ends before the clip begins would be begun for ever
    begun = performance.now();
    seek(0);
    for (const one of played) one.view.play().catch(() => state(false));
  }
  for (const one of played) one.view.addEventListener("click", toggle);
  button.addEventListener("click", toggle);
  slider.addEventListener("input", () => seek((Number(slider.value) / 1000) * length(lead)));
  return h("div.row.transport", null, button, slider, clock);
}

function missView(miss, videos) {
  const sides = [clipView(miss.right, "The right clip", "right"), clipView(miss.first, "Answered first", "first")];
  return h(
    "li.panel.miss",
    null,
    h("h3", null, `“${miss.query}”`),
    h("p", null, h("span.badge.warn", null, `Rank ${short(miss.rank, miss.rank % 1 ? 1 : 0)}${videos ? ` of ${videos}` : ""}`)),
    h("div.pair", null, sides.map((one) => one.element)),
    together(sides),
    cosines(miss),
  );
}

function misses(report) {
  if (report.kind === "ablate") return null;
  const title = h("h2", null, "Worst misses");
  if (report.misses === null) {
    return h("section", null, title, h("p.quiet", null, "They were not written down. ", h("code", null, "hit evaluate MODEL DATA --report PAGE.html"), " writes them beside its page."));
  }
  if (!report.misses.length) return h("section", null, title, h("p.quiet", null, "None: every caption found its own clip first."));
  const about = "The captions whose own clip has the worst rank, both levels fused, beside the clip that was answered first.";
  return h("section", null, title, h("p.quiet.small", null, about), h("ol.misses", null, report.misses.map((one) => missView(one, report.videos))));
}

function facts(report) {
  const made = new Date(report.made_at * 1000).toISOString();
  const rows = {
    "written": moment(made),
    "folder": report.folder ?? report.place,
    "model": [report.model, report.revision].filter(Boolean).join(", revision "),
    "data": report.data,
    "seeds": report.seeds.join(", "),
    "commit": report.commit,
    ...report.facts,
  };
  return h("section.panel", null, h("h2", null, "What made it"), h("dl.facts", null, factRows(Object.entries(rows))));
}

async function load() {
  const room = byId("report");
  put(room, h("h1.hidden", null, "Evaluation"), h("div.stack", { "aria-hidden": "true" }, h("div.skeleton.line"), h("div.skeleton.tall"), h("div.skeleton.tall")));
  try {
    const report = await get(`/v1/evaluations/${encodeURIComponent(room.dataset.id)}`);
    document.title = `${report.name} · HiT`;
    const head = h("header.report-head", null, h("span.badge", null, KINDS[report.kind]), h("h1", null, report.name), h("p.quiet", null, measured(report)));
    put(
      room,
      report.problem
        ? [head, h("div.state.bad", { role: "alert" }, icon("warning"), h("h2", null, "This report cannot be read"), h("p", null, report.problem), report.folder && h("p.small", null, h("code", null, report.folder)))]
        : [head, headline(report), spread(report), h("div.tables", null, report.tables.map((one) => table(one, report.best))), chartSections(report.charts), misses(report), facts(report)],
    );
  } catch (problem) {
    put(room, h("h1.hidden", null, "Evaluation"), problemView(problem, problem.status === 404 ? null : load));
  }
  room.setAttribute("aria-busy", "false");
}

load();
