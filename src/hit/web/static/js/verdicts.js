// What a version of a policy says of which videos.
import { get, withQuery } from "./api.js";
import { announce, h, problemView, put, stateView } from "./dom.js";
import { ago, count, moment, percent, plural } from "./format.js";
import { downloadLink, matchWords, momentLink, places, VERDICTS, verdictBadge } from "./verdict.js";

const PAGE = 30;

/** @param {HTMLElement} room @param {{path: string, version: number}} policy where the API has it */
export function verdicts(room, { path, version }) {
  const list = h("div", { id: "list", "aria-busy": "true" });
  const tabs = h("div.choice", { role: "group", "aria-label": "Verdicts" });
  let shown = [];
  let token = null;
  let total = 0;

  const wanted = () => (new URLSearchParams(location.search).get("verdict") in VERDICTS ? new URLSearchParams(location.search).get("verdict") : "");
  const choose = (verdict) => {
    const query = new URLSearchParams(location.search);
    verdict ? query.set("verdict", verdict) : query.delete("verdict");
    history.replaceState(null, "", `?${query}`);
    load();
  };

  function row(one) {
    const sure = one.confidence === null ? "" : `${percent(one.confidence)} · `;
    return h(
      "tr",
      { data: { video: one.video_id, verdict: one.verdict } },
      h("td.video-cell", null, h("a.video-link", { href: one.page_url }, one.poster_url && h("img", { src: one.poster_url, alt: "", width: 96, height: 60, loading: "lazy" }), h("span.video-title", null, one.title)), one.matches.map((match) => h("p.small.wrong", null, matchWords(match)))),
      h("td", null, h("span.row", null, verdictBadge(one.verdict), one.audit && h("span.badge", { title: "Of those that pass, this one was chosen to be looked at" }, "Sample"))),
      h("td.numbers", null, `${sure}${one.score.toFixed(3)}`),
      h("td", null, places(one.evidence, momentLink(one.video_id))),
      h("td", null, one.decision ? [verdictBadge(one.decision.action), " ", h("time.quiet.small", { datetime: one.decision.at, title: moment(one.decision.at) }, ago(one.decision.at))] : h("span.quiet.small", null, "none")),
      h("td", null, h("time.quiet.small", { datetime: one.at, title: moment(one.at) }, ago(one.at))),
    );
  }

  function draw() {
    put(tabs, ["", ...Object.keys(VERDICTS)].map((name) => h("button", { type: "button", "aria-pressed": String(wanted() === name), onclick: () => choose(name) }, VERDICTS[name] ?? "All")));
    if (!shown.length) return put(list, stateView("info", "No verdicts", wanted() ? `This version says “${VERDICTS[wanted()].toLowerCase()}” of no video.` : "This version has judged nothing. It does once it runs in shadow or is enforced."));
    const head = ["Video", "Verdict", "Score", "Evidence", "Decided", "Judged"].map((name) => h("th", { scope: "col" }, name));
    return put(
      list,
      h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Verdicts" }, h("table.table.cases-table", null, h("thead", null, h("tr", null, head)), h("tbody", null, shown.map(row)))),
      h("p.row.between.small.quiet", null, `${count(shown.length)} of ${plural(total, "verdict")}`, token && h("button", { type: "button", onclick: () => load(true) }, "Show more")),
    );
  }

  async function load(more = false) {
    try {
      const answer = await get(withQuery(`${path}/verdicts`, { version, verdict: wanted(), limit: PAGE, page_token: more ? token : "" }));
      shown = more ? [...shown, ...answer.verdicts] : answer.verdicts;
      token = answer.next_page_token;
      total = answer.total;
      draw();
      announce(plural(total, "verdict"));
    } catch (problem) {
      put(list, problemView(problem, () => load()));
    }
    list.setAttribute("aria-busy", "false");
  }

  const save = ["csv", "jsonl"].map((format) => downloadLink(withQuery(`${path}/export`, { version, format }), format.toUpperCase()));
  put(room, h("div.stack", null, h("div.row.between", null, tabs, h("span.row", null, save)), list));
  load();
}
