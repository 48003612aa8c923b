// All cases, for seniors: to look at, and to decide many at once.
import { get, may, post, withQuery } from "./api.js";
import { announce, byId, h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { ago, count, moment, plural } from "./format.js";
import { severity, VERDICTS, verdictBadge } from "./verdict.js";

const STATES = { open: "Open", decided: "Decided", withdrawn: "Withdrawn" };
const PAGE = 50;
const page = { cases: [], total: 0, token: null, chosen: new Set(), asked: 0 };

function wanted() {
  const given = new URLSearchParams(location.search);
  const state = given.get("state") ?? "open";
  return { state: state === "all" ? "" : state in STATES ? state : "open", policy: given.get("policy") ?? "", outcome: given.get("outcome") ?? "" };
}

function go(change) {
  const next = { ...wanted(), ...change };
  history.pushState(null, "", withQuery("/review/cases", { ...next, state: next.state === "open" ? "" : next.state || "all" }));
  load();
}

// -- the list

function row(one) {
  const box = h("input", { type: "checkbox", "aria-label": `Choose case ${one.id}`, checked: page.chosen.has(one.id), onchange: () => choose(one.id, box.checked) });
  return h(
    "tr",
    { data: { case: one.id, state: one.state } },
    h("td", null, box),
    h("td.video-cell", null, h("a.video-link", { href: `/review/cases/${one.id}` }, one.video.poster_url && h("img.mild", { src: one.video.poster_url, alt: "", width: 96, height: 60, loading: "lazy" }), h("span.video-title", null, one.video.title))),
    h("td", null, one.policy, h("span.quiet.small", null, ` v${one.version}`)),
    h("td", null, severity(one.severity)),
    h("td", null, h("span.row", null, one.verdict ? [verdictBadge(one.verdict), h("span.quiet.small.numbers", null, one.score.toFixed(3))] : h("span.quiet.small", { title: "You judge it, without knowing what the machine makes of it" }, "hidden"), one.audit && h("span.badge", null, "Sample"), one.golden && h("span.badge.warn", { title: "Its answer is known; it tests its reviewers" }, `Golden: ${VERDICTS[one.golden]?.toLowerCase() ?? "known"}`))),
    h("td", null, one.state === "decided" ? verdictBadge(one.outcome) : h("span.badge", null, STATES[one.state])),
    h("td", null, h("time.quiet.small", { datetime: one.created_at, title: moment(one.created_at) }, ago(one.created_at))),
  );
}

function choose(id, yes) {
  yes ? page.chosen.add(id) : page.chosen.delete(id);
  bar();
}

const rows = () => [...byId("list").querySelectorAll("tbody input")];

function chooseAll(yes) {
  for (const [i, box] of rows().entries()) {
    box.checked = yes;
    yes ? page.chosen.add(page.cases[i].id) : page.chosen.delete(page.cases[i].id);
  }
  bar();
}

function bar() {
  const number = page.chosen.size;
  const all = byId("list").querySelector("thead input");
  if (all) Object.assign(all, { checked: number > 0 && number === page.cases.length, indeterminate: number > 0 && number < page.cases.length });
  const room = byId("bulk");
  room.hidden = !number;
  put(room, h("span", null, `${plural(number, "case")} chosen`), h("span.row", null, h("button.small", { type: "button", onclick: () => decide("pass") }, "Pass"), h("button.small.danger", { type: "button", onclick: () => decide("block") }, "Block"), h("button.small.ghost", { type: "button", onclick: () => chooseAll(false) }, "Choose none")));
}

function draw() {
  if (!page.cases.length) return put(byId("list"), stateView("check", "No such cases", wanted().state === "open" ? "Nothing waits for a decision." : "Try other filters."));
  const all = h("input", { type: "checkbox", "aria-label": "Choose all that are shown", onchange: () => chooseAll(all.checked) });
  const head = [h("th", { scope: "col" }, all), ...["Video", "Policy", "Severity", "Machine", "State", "Opened"].map((name) => h("th", { scope: "col" }, name))];
  put(
    byId("list"),
    h("div.panel.row.between.bulk", { id: "bulk", role: "region", "aria-label": "What to do with those chosen", hidden: true }),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Cases" }, h("table.table.cases-table", null, h("thead", null, h("tr", null, head)), h("tbody", null, page.cases.map(row)))),
    h("p.row.between.small.quiet", null, `${count(page.cases.length)} of ${plural(page.total, "case")}`, page.token && h("button", { type: "button", onclick: () => load(true) }, "Show more")),
  );
  return bar();
}

async function load(more = false) {
  const mine = ++page.asked;
  const now = wanted();
  const tab = (state, label) => h("button", { type: "button", "aria-pressed": String(now.state === state), onclick: () => go({ state }) }, label);
  put(byId("states"), tab("", "All"), Object.entries(STATES).map(([state, label]) => tab(state, label)));
  byId("outcome").value = now.outcome;
  const policy = byId("policy");
  if (now.policy && ![...policy.options].some((one) => one.value === now.policy)) policy.append(h("option", { value: now.policy }, now.policy));
  policy.value = now.policy;
  try {
    const answer = await get(withQuery("/v1/cases", { ...now, limit: PAGE, page_token: more ? page.token : "" }));
    if (mine !== page.asked) return;
    page.cases = more ? [...page.cases, ...answer.cases] : answer.cases;
    page.token = answer.next_page_token;
    page.total = answer.total;
    if (!more) page.chosen.clear();
    draw();
    announce(plural(page.total, "case"));
  } catch (problem) {
    if (mine === page.asked) put(byId("list"), problemView(problem, () => load()));
  }
  byId("list").setAttribute("aria-busy", "false");
}

// -- many at once, and back

function decide(action) {
  const cases = [...page.chosen];
  const reason = h("input", { type: "text", required: true, maxlength: 500, autocomplete: "off" });
  const wrong = h("p.wrong", { role: "alert" });
  const yes = h("button", { type: "submit", class: action === "block" ? "danger" : "primary" }, `${VERDICTS[action]} ${plural(cases.length, "case")}`);
  const does = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      const { batch, decided } = await post("/v1/cases/decide", { cases, action, reason: reason.value.trim() });
      dialog.close();
      offerUndo(batch, decided, action);
      await load();
    } catch (problem) {
      wrong.textContent = problem.message;
      yes.disabled = false;
    }
  };
  const text = `${action === "block" ? "They are blocked" : "They pass"} by your word alone, whatever seats are open. Each gets its own link in the record. It can be taken back.`;
  const dialog = openDialog(`${VERDICTS[action]} ${plural(cases.length, "case")}?`, h("form.stack", { onsubmit: does }, h("p", null, text), h("label.field", null, "Reason", reason), wrong, h("div.row.end", null, h("button", { type: "button", onclick: () => dialog.close() }, "Keep as it is"), yes)));
  reason.focus();
}

function offerUndo(batch, decided, action) {
  const undo = async () => {
    try {
      await post(`/v1/review/batches/${encodeURIComponent(batch)}/undo`, { reason: "taken back at once" });
      put(byId("undo"));
      toast("Taken back");
      await load();
    } catch (problem) {
      toast(problem.message, "bad");
    }
  };
  const button = h("button.small", { type: "button", onclick: undo }, "Undo");
  put(byId("undo"), h("p.notice", null, `${plural(decided, "case")} ${action === "block" ? "blocked" : "passed"}.`, h("span.row", null, button, h("button.small.ghost.square", { type: "button", "aria-label": "Keep it so", onclick: () => put(byId("undo")) }, icon("close")))));
  button.focus();
}

async function begin() {
  if (!(await may("senior"))) {
    put(byId("list"), stateView("user", "For seniors", "Reviewers see the cases that they hold."));
    byId("list").setAttribute("aria-busy", "false");
    return;
  }
  const { policies } = await get("/v1/policies");
  byId("policy").append(...policies.map((one) => h("option", { value: one.name }, one.name)));
  for (const name of ["outcome", "policy"]) byId(name).addEventListener("change", (event) => go({ [name]: event.target.value }));
  byId("wanted").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("popstate", () => load());
  await load();
}

begin().catch((problem) => put(byId("list"), problemView(problem, () => location.reload())));
