// The list of reports.
import { get } from "./api.js";
import { short, sparkline } from "./chart.js";
import { byId, h, icon, problemView, put, stateView } from "./dom.js";
import { ago, count, moment } from "./format.js";
import { KINDS, measured, WAYS } from "./reports.js";

const SHOWN = { R1: "R@1", R5: "R@5", R10: "R@10", MdR: "MdR" };

function origin(one) {
  const seeds = one.seeds.length > 1 ? `seeds ${one.seeds.join(", ")}` : one.seeds.length ? `seed ${one.seeds[0]}` : null;
  return [one.place, seeds, one.commit && `commit ${one.commit.slice(0, 7)}`].filter(Boolean).join(" · ");
}

function figures(one) {
  const ways = Object.keys(WAYS).filter((way) => Object.keys(one.figures[way] ?? {}).length);
  if (!ways.length) return h("p.quiet.small", null, "Nothing was measured: no clips were held out.");
  const names = Object.keys(SHOWN).filter((name) => ways.some((way) => name in one.figures[way]));
  const cell = (way, name) => h("td", { class: name === "R1" ? "head" : "" }, name in one.figures[way] ? short(one.figures[way][name]) : "");
  return h(
    "table.headline",
    null,
    h("thead", null, h("tr", null, h("td"), names.map((name) => h("th", { scope: "col" }, SHOWN[name])))),
    h("tbody", null, ways.map((way) => h("tr", null, h("th", { scope: "row" }, WAYS[way]), names.map((name) => cell(way, name))))),
  );
}

function card(one) {
  const made = new Date(one.made_at * 1000).toISOString();
  const loss = one.loss.length > 1 && h("div.trend", null, sparkline(one.loss, `Training loss, from ${short(one.loss[0][1], 2)} to ${short(one.loss.at(-1)[1], 2)}`), h("span.quiet.small", null, `loss ${short(one.loss.at(-1)[1], 2)}`));
  return h(
    "li.panel.report",
    { class: one.problem ? "broken" : "" },
    h("div.row.between", null, h("span.badge", { class: one.problem ? "bad" : "" }, one.problem && icon("warning"), KINDS[one.kind]), h("time.quiet.small", { datetime: made, title: moment(made) }, ago(made))),
    h("h2", null, h("a", { href: one.page_url }, one.name)),
    one.problem
      ? h("p.wrong", null, one.problem)
      : [h("p.quiet.small", null, measured(one)), one.best && h("p.small", null, "Best of its rows: ", h("strong", null, one.best)), figures(one)],
    h("div.row.between.foot", null, h("span.quiet.small", null, origin(one)), loss),
  );
}

const EMPTY = stateView(
  "chart",
  "No reports yet",
  "A model that was trained by `hit train` brings its own. Others are shown from the folders that `reports = [...]` names in the library's serve.toml.",
);

function skeletons() {
  return h("ul.reports", { "aria-hidden": "true" }, Array.from({ length: 3 }, () => h("li.skeleton.tall")));
}

async function load() {
  const room = byId("reports");
  put(room, skeletons());
  try {
    const { evaluations } = await get("/v1/evaluations");
    show(room, evaluations);
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

function show(room, all) {
  const wanted = new URLSearchParams(location.search).get("kind") ?? "";
  const there = Object.keys(KINDS).filter((kind) => all.some((one) => one.kind === kind));
  const some = there.includes(wanted) ? all.filter((one) => one.kind === wanted) : all;
  const choose = (kind) => {
    history.replaceState(null, "", kind ? `?kind=${kind}` : location.pathname);
    show(room, all);
  };
  const tab = (kind, label, number) =>
    h("button", { type: "button", "aria-pressed": String((there.includes(wanted) ? wanted : "") === kind), onclick: () => choose(kind) }, `${label} ${count(number)}`);
  const tabs = byId("kinds");
  tabs.hidden = there.length < 2;
  put(tabs, tab("", "All", all.length), there.map((kind) => tab(kind, KINDS[kind], all.filter((one) => one.kind === kind).length)));
  put(room, some.length ? h("ul.reports", null, some.map(card)) : EMPTY);
}

load();
