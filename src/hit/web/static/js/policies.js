// The list of policies.
import { get, may, put as store } from "./api.js";
import { announce, byId, h, icon, openDialog, problemView, put, stateView } from "./dom.js";
import { ago, count, moment, plural } from "./format.js";
import { linesOf, policyPage, severity, shares, STATE_BADGES, STATES } from "./verdict.js";

const BLANK = { texts: [], exceptions: [], examples_for: [], examples_against: [], review: { percentile: 99.5 }, block: null, severity: 3, audit_share: 0.02, window: null, min_duration: 0, scope: "", reviewers: 1, bank: false, note: "" };

function versions(one) {
  const others = [
    one.enforced_version && ["enforced", one.enforced_version],
    one.shadow_version && ["shadow", one.shadow_version],
    one.version !== one.enforced_version && one.version !== one.shadow_version && [one.state, one.version],
  ].filter(Boolean);
  return others.map(([state, version]) => h("span.badge", { class: STATE_BADGES[state] }, `${STATES[state]} · version ${version}`));
}

function card(one) {
  return h(
    "li.panel.policy-card",
    { data: { policy: one.name } },
    h("div.row", null, versions(one)),
    h("h2", null, h("a", { href: policyPage(one.name) }, one.name)),
    h("p.quiet", null, one.texts.slice(0, 3).join(" · "), one.texts.length > 3 && ` +${one.texts.length - 3}`),
    h("div.foot", null, h("div.row.between", null, severity(one.severity), h("time.quiet.small", { datetime: one.changed_at, title: `Changed ${moment(one.changed_at)}` }, ago(one.changed_at))), shares(one.counts)),
  );
}

const bears = (one, state) => one.state === state || Boolean(one[`${state}_version`]);

function show(all, senior) {
  const wanted = new URLSearchParams(location.search).get("state") ?? "";
  const there = Object.keys(STATES).filter((state) => all.some((one) => bears(one, state)));
  const chosen = there.includes(wanted) ? wanted : "";
  const choose = (state) => {
    history.replaceState(null, "", state ? `?state=${state}` : location.pathname);
    show(all, senior);
    announce(`${state ? STATES[state] : "All"} policies`);
  };
  const tab = (state, label, number) => h("button", { type: "button", "aria-pressed": String(chosen === state), onclick: () => choose(state) }, `${label} ${count(number)}`);
  byId("states").hidden = there.length < 2;
  put(byId("states"), tab("", "All", all.length), there.map((state) => tab(state, STATES[state], all.filter((one) => bears(one, state)).length)));
  const some = all.filter((one) => !chosen || bears(one, chosen));
  const empty = stateView("info", "No policies yet", senior ? "Say in words what must not be shown, and see at once what that would do." : "A senior reviewer can write some.", senior && newButton());
  put(byId("list"), all.length ? h("ul.policy-list", null, some.map(card)) : empty);
}

function newButton() {
  return h("button.primary", { type: "button", onclick: ask }, icon("plus"), "New policy");
}

function ask() {
  const name = h("input", { type: "text", required: true, maxlength: 100, autocomplete: "off", placeholder: "weapons" });
  const texts = h("textarea", { required: true, rows: 3, maxlength: 20_000, placeholder: "a person holds a gun\na rifle lies on a table" });
  const wrong = h("p.wrong", { role: "alert" });
  const make = async (event) => {
    event.preventDefault();
    wrong.textContent = "";
    try {
      const { policies } = await get("/v1/policies");
      if (policies.some((one) => one.name === name.value.trim())) throw new Error("there is a policy of this name already");
      await store(`/v1${policyPage(name.value.trim())}`, { ...BLANK, texts: linesOf(texts.value) });
      location.assign(policyPage(name.value.trim()));
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  };
  const fields = [h("label.field", null, "Name", name), h("label.field", null, "What it looks for: each line another way to say it", texts)];
  const note = h("p.quiet.small", null, "This makes a draft, which does nothing yet.");
  openDialog("New policy", h("form.stack", { onsubmit: make }, fields, note, wrong, h("div.row.end", null, h("button.primary", { type: "submit" }, "Make a draft"))));
  name.focus();
}

async function load() {
  const room = byId("list");
  put(room, h("ul.policy-list", { "aria-hidden": "true" }, Array.from({ length: 3 }, () => h("li.skeleton.tall"))));
  try {
    const [{ policies }, senior] = await Promise.all([get("/v1/policies"), may("senior")]);
    put(byId("new"), senior && policies.length > 0 && newButton());
    show(policies, senior);
    announce(plural(policies.length, "policy", "policies"));
  } catch (problem) {
    put(room, problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

load();
