// How review goes: how much, how fast, how well, and whether its record is whole.
import { get, may, withQuery } from "./api.js";
import { forest, lineChart } from "./chart.js";
import { announce, byId, h, icon, problemView, put, stateView } from "./dom.js";
import { count, duration, percent, plural } from "./format.js";
import { downloadLink, interval } from "./verdict.js";

const DAY = 86_400_000;

function wanted() {
  const given = new URLSearchParams(location.search);
  return { policy: given.get("policy") ?? "", days: ["7", "30", "90", "365"].includes(given.get("days")) ? given.get("days") : "30" };
}

const tile = (label, value, note) => h("div.panel.tile", null, h("span.quiet.small", null, label), h("strong", null, value), h("span.quiet.small", null, note));
const seconds = (value) => (value === null || value === undefined ? "–" : duration(value));

function tiles(stats) {
  const { queue, agreement, overturned, golden, audit } = stats;
  return h(
    "section.totals",
    { "aria-label": "Totals" },
    tile("Decided", count(stats.decided), `in ${wanted().days} days`),
    tile("Waiting", count(queue.open), queue.oldest_seconds === null ? "nothing is old" : `the oldest for ${duration(queue.oldest_seconds)}; ${count(queue.held)} under review`),
    tile("Time to decide", seconds(stats.seconds.median), stats.seconds.p90 === null ? "median" : `median; nine of ten within ${duration(stats.seconds.p90)}`),
    tile("Time to the end", seconds(stats.wait.median), stats.wait.p90 === null ? "from opening to decision" : `from opening to decision; nine of ten within ${duration(stats.wait.p90)}`),
    tile("Agreement", agreement.kappa === null ? "–" : agreement.kappa.toFixed(2), agreement.pairs ? `Cohen's kappa; ${count(agreement.agreed)} of ${plural(agreement.pairs, "pair")} say the same` : "no pair of reviewers yet"),
    tile("Overturned", overturned.rate === null ? "–" : percent(overturned.rate), overturned.appeals ? `${count(overturned.overturned)} of ${plural(overturned.appeals, "appeal")}; ${interval(overturned)}` : "no appeal was decided"),
    tile("Golden cases", golden.share === null ? "–" : percent(golden.share), golden.seen ? `${count(golden.right)} of ${count(golden.seen)} right; ${interval(golden)}` : "none was seen"),
    tile("Samples", audit.seen ? percent(audit.missed / audit.seen) : "–", audit.seen ? `${count(audit.missed)} of ${plural(audit.seen, "pass", "passes")} should have been caught` : "none was looked at"),
  );
}

function perDay(stats) {
  const today = Math.floor(Date.now() / DAY); // days are UTC's
  const made = new Map(stats.per_day.map((one) => [Date.parse(one.day) / DAY - today, one.decided]));
  const first = Math.max(Math.min(...made.keys(), -6), -Number(wanted().days));
  const points = Array.from({ length: 1 - first }, (_, i) => [first + i, made.get(first + i) ?? 0]);
  return made.size > 0 && h("section.panel", null, lineChart({ kind: "line", title: "Decisions a day", x: "days from today", y: "decisions", series: [{ name: "decided", points }] }));
}

/** Shares with their intervals, a row a policy. */
function shares(stats, key, title, note) {
  const rows = stats.policies.filter((one) => one[key].estimate !== null).map((one) => ({ name: `${one.policy} v${one.version}`, mean: one[key].estimate * 100, low: one[key].low * 100, high: one[key].high * 100, told: `${interval(one[key])} of ${count(one[key].n)}` }));
  return h("section.panel", null, rows.length ? forest(rows, title, "per cent, with 95 % intervals") : [h("h3", null, title), h("p.quiet.small", null, "No figure yet.")], h("p.quiet.small", null, note));
}

function reviewers(stats) {
  if (!stats.reviewers.length) return null;
  const head = ["Reviewer", "Decided", "Median time", "Golden cases right"].map((name, i) => h("th", { scope: "col", class: i ? "number" : "" }, name));
  const row = (one) => h("tr", null, h("th", { scope: "row" }, one.name), h("td.number", null, count(one.decided)), h("td.number", null, seconds(one.median_seconds)), h("td.number", null, one.golden_share === null ? "–" : percent(one.golden_share)));
  return h("section.panel", { "aria-labelledby": "people" }, h("h2", { id: "people" }, "Reviewers"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Reviewers" }, h("table.table", null, h("thead", null, h("tr", null, head)), h("tbody", null, stats.reviewers.map(row)))));
}

function record() {
  const said = h("p", { role: "status", id: "verified" });
  const check = h("button", { type: "button", onclick: () => verify() }, icon("check"), "Verify the record");
  async function verify() {
    check.disabled = true;
    said.textContent = "Reading every link …";
    try {
      const told = await get("/v1/review/verify");
      put(said, h("span.badge", { class: told.sound ? "good" : "bad" }, told.sound ? "Sound" : "Not sound"), ` ${plural(told.decisions, "decision")}, the newest is `, h("code", null, (told.head ?? "").slice(0, 12) || "none"), told.findings.length > 0 && h("ul.small.wrong", null, told.findings.map((one) => h("li", null, typeof one === "string" ? one : Object.values(one).join(": ")))));
      announce(told.sound ? "The record is sound" : "The record is not sound");
    } catch (problem) {
      put(said, problemView(problem));
    }
    check.disabled = false;
  }
  const save = ["csv", "jsonl"].map((format) => downloadLink(withQuery("/v1/review/export", { format }), format.toUpperCase()));
  return h("section.panel.stack", { "aria-labelledby": "record" }, h("h2", { id: "record" }, "The record"), h("p.quiet", null, "Each decision names the one before it by its hash, so that whatever is changed or taken out afterwards shows."), h("div.row", null, check, save), said);
}

async function load() {
  const room = byId("stats");
  const now = wanted();
  byId("policy").value = now.policy;
  byId("days").value = now.days;
  room.setAttribute("aria-busy", "true");
  try {
    const stats = await get(withQuery("/v1/review/stats", now));
    put(
      room,
      tiles(stats),
      h("div.charts", null, shares(stats, "precision", "Precision", "Of what the policy sent to review or blocked, how much people blocked."), shares(stats, "recall", "Recall", "Of what people would block, how much the policy caught: by the samples of what passes.")),
      perDay(stats),
      reviewers(stats),
      record(),
    );
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

async function begin() {
  if (!(await may("senior"))) {
    put(byId("stats"), stateView("user", "For seniors", "It tells of reviewers by name."));
    byId("stats").setAttribute("aria-busy", "false");
    return;
  }
  const { policies } = await get("/v1/policies");
  byId("policy").append(...policies.map((one) => h("option", { value: one.name }, one.name)));
  for (const name of ["policy", "days"]) {
    byId(name).addEventListener("change", (event) => {
      history.replaceState(null, "", withQuery("/review/dashboard", { ...wanted(), [name]: event.target.value }));
      load();
    });
  }
  await load();
}

begin().catch((problem) => put(byId("stats"), problemView(problem, () => location.reload())));
