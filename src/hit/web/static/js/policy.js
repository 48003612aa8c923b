// The page of one policy: what it says, what it would do, what it did, and its versions.
import { get, may, post, put as store, withQuery } from "./api.js";
import { announce, byId, h, icon, openDialog, problemView, put, toast } from "./dom.js";
import { changeInWords, dryRun, inWords } from "./dryrun.js";
import { ago, moment } from "./format.js";
import { policyForm } from "./policyform.js";
import { jobBar } from "./progress.js";
import { policyPage, severity, shares, STATE_BADGES, STATES } from "./verdict.js";
import { verdicts } from "./verdicts.js";

const page = byId("policy");
const name = page.dataset.name ?? "";
const path = `/v1${policyPage(name)}`;
const VIEWS = { policy: "Policy", verdicts: "Verdicts", versions: "Versions" };
const known = { policy: null, senior: false, form: null, saved: "" };

const given = () => new URLSearchParams(location.search);
const viewOf = () => (given().get("view") in VIEWS ? given().get("view") : "policy");
const dirty = () => Boolean(known.form) && JSON.stringify(known.form.read()) !== known.saved;

async function begin() {
  try {
    [known.policy, known.senior] = await Promise.all([get(withQuery(path, { version: given().get("version") })), may("senior")]);
  } catch (problem) {
    put(page, problemView(problem, begin));
    page.setAttribute("aria-busy", "false");
    return;
  }
  document.title = `${name} · HiT`;
  show();
}

function show() {
  const { policy } = known;
  known.form = null;
  const room = h("div", { id: "view" });
  put(page, head(policy), room);
  if (viewOf() === "versions") versions(room);
  else if (viewOf() === "verdicts") verdicts(room, { path, version: policy.version });
  else edit(room);
  page.setAttribute("aria-busy", "false");
}

/** Where another view or version is. */
const at = (change) => withQuery(policyPage(name), { view: viewOf() === "policy" ? "" : viewOf(), version: given().get("version"), ...change });

function head(policy) {
  const go = (event) => location.assign(at({ version: event.target.value }));
  const choose = h("select", { "aria-label": "Version", onchange: go }, policy.versions.map((one) => h("option", { value: one.version, selected: one.version === policy.version }, `Version ${one.version} · ${STATES[one.state]}`)));
  const tab = ([view, label]) => h("a", { href: at({ view: view === "policy" ? "" : view }), "aria-current": viewOf() === view ? "page" : null }, label);
  return [
    h(
      "header.page-head",
      null,
      h("div", null, h("h1", null, name), h("div.row", null, h("span.badge", { id: "state", class: STATE_BADGES[policy.state] }, STATES[policy.state]), severity(policy.document.severity), choose)),
      h("div.row", { id: "acts" }, known.senior && acts(policy)),
    ),
    h("div", { id: "job" }),
    h("nav.subnav.views", { "aria-label": "Views" }, Object.entries(VIEWS).map(tab)),
  ];
}

// -- what can be done with a version

const SAYS = {
  shadow: { verb: "Run in shadow", title: (policy) => `Run version ${policy.version} in shadow?`, text: "It judges every video, now and as they come, and does nothing else: no case is opened, nobody is told. Its verdicts can be looked at here." },
  enforce: { verb: "Enforce", title: (policy) => `Enforce version ${policy.version}?`, text: "It judges every video, now and as they come. What is to be reviewed goes to the queue, and who listens by a webhook is told." },
  retire: { verb: "Retire", title: (policy) => `Retire version ${policy.version}?`, text: "It judges nothing any more. Its verdicts and what people decided stay where they are." },
};

function acts(policy) {
  const open = { draft: ["shadow", "enforce"], shadow: ["enforce", "retire"], enforced: ["retire"], retired: [] }[policy.state];
  return open.map((act) => h("button", { type: "button", class: act === "retire" ? "danger" : act === "enforce" ? "primary" : "", data: { act }, onclick: () => ask(act) }, SAYS[act].verb));
}

async function ask(act) {
  if (dirty()) return toast("Save the draft first: what was changed is not in this version yet", "bad");
  const { policy } = known;
  const { verb, title, text } = SAYS[act];
  const numbers = h("div.stack", { "aria-busy": "true" }, h("div.skeleton.line"));
  const wrong = h("p.wrong", { role: "alert" });
  const yes = h("button", { type: "button", class: act === "retire" ? "danger" : "primary", disabled: act !== "retire", onclick: () => does() }, verb);
  const retired = policy.versions.find((one) => one.state === (act === "shadow" ? "shadow" : "enforced") && one.version !== policy.version);
  const content = h("div.stack", null, h("p", null, text), act !== "retire" && numbers, act !== "retire" && retired && h("p", null, `Version ${retired.version}, which ${act === "shadow" ? "is in shadow" : "is enforced"} now, is retired.`), wrong, h("div.row.end", null, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep as it is"), yes));
  const dialog = openDialog(title(policy), content);
  async function does() {
    yes.disabled = true;
    try {
      const told = await post(`${path}/${act}`, { version: policy.version });
      dialog.close();
      known.policy = told.policy;
      history.replaceState(null, "", at({ version: told.policy.version }));
      show();
      toast(`Version ${told.policy.version} is ${{ shadow: "in shadow", enforced: "enforced", retired: "retired" }[told.policy.state]}`);
      if (told.job) watch(told.job);
    } catch (problem) {
      wrong.textContent = problem.message + (problem.fix ? `. Try: ${problem.fix}` : "");
      yes.disabled = false;
    }
  }
  if (act === "retire") return;
  try {
    const run = await post(`${path}/test`, { version: policy.version });
    put(numbers, shares(run.counts), h("p", null, inWords(run)), changeInWords(run) && h("p", null, changeInWords(run)));
    yes.disabled = false;
  } catch (problem) {
    put(numbers, h("p.wrong", null, problem.message, problem.fix && `. Try: ${problem.fix}`));
  }
  numbers.setAttribute("aria-busy", "false");
}

/** Show how far the judging is, and what came of it. */
function watch(job) {
  const end = async (told) => {
    put(byId("job"));
    if (told.state !== "done") return toast(`The library was not judged: ${told.error ?? told.state}`, "bad");
    announce("The library is judged");
    if (dirty()) return;
    known.policy = await get(withQuery(path, { version: known.policy.version }));
    show();
  };
  put(byId("job"), h("div.panel", null, jobBar(job, "Judging the library", (told) => end(told).catch((problem) => toast(problem.message, "bad")))));
}

// -- what it says, and what that would do

function edit(room) {
  const { policy, senior } = known;
  const newest = policy.version === Math.max(...policy.versions.map((one) => one.version));
  const state = h("p.quiet.small", { role: "status" });
  const save = h("button.primary", { type: "button", onclick: () => keep() }, "Save draft");
  const results = h("section.panel", { id: "dry", "aria-label": "Dry run", "aria-busy": "false" }, h("header", null, h("h2", null, "Dry run")), h("p.quiet", null, "Nothing was tried yet. A dry run judges the whole library by what stands in the form, and writes nothing."));
  const test = h("button", { type: "button", id: "try", onclick: () => tryIt() }, icon("play"), "Dry run");
  const learns = policy.state === "enforced" || policy.state === "shadow";
  const refit = learns && h("button", { type: "button", title: "A draft that says the same, with what people decided as its examples", onclick: () => keep().then(() => byId("try").click()) }, icon("retry"), "Refit from decisions");
  const changed = () => {
    save.disabled = !dirty();
    state.textContent = dirty() ? `Not saved yet. Saving makes ${policy.state === "draft" && newest ? "this draft" : "a new draft"}; what is enforced stays as it is.` : "";
  };
  known.form = policyForm(policy.document, { locked: !senior, onchange: () => changed() });
  known.saved = JSON.stringify(known.form.read());
  const bar = senior && h("div.edit-bar.row", null, test, save, refit, state);
  put(room, h("div.edit", null, h("div.edit-form", null, known.form.element, bar), h("div.edit-side.stack", null, senior && results, facts(policy))));
  changed();

  async function tryIt() {
    if (!known.form.valid()) return;
    test.disabled = true;
    results.setAttribute("aria-busy", "true");
    put(results, h("header", null, h("h2", null, "Dry run")), h("div.skeleton.line"), h("div.skeleton.tall"));
    results.scrollIntoView({ block: "nearest" });
    try {
      const run = await post(`${path}/test`, dirty() ? { document: known.form.read() } : { version: policy.version });
      put(results, h("header", null, h("h2", null, "Dry run")), dryRun(run));
      announce(inWords(run));
    } catch (problem) {
      put(results, problemView(problem, tryIt));
    }
    test.disabled = false;
    results.setAttribute("aria-busy", "false");
  }

  async function keep() {
    if (!known.form.valid()) return;
    save.disabled = true;
    if (refit) refit.disabled = true;
    try {
      known.policy = await store(path, known.form.read());
      known.saved = JSON.stringify(known.form.read());
      history.replaceState(null, "", at({ version: "" }));
      const before = [...results.childNodes]; // what was tried stays in sight
      show();
      put(byId("dry"), before);
      toast(`Saved as version ${known.policy.version}, a draft`);
    } catch (problem) {
      state.textContent = `${problem.errors?.length ? problem.errors.map((one) => `${one.where}: ${one.why}`).join("; ") : problem.message}${problem.fix ? `. Try: ${problem.fix}` : ""}`;
      state.className = "wrong";
      save.disabled = false;
      if (refit) refit.disabled = false;
    }
  }
}

function facts(policy) {
  const { fitted } = policy;
  const own = policy.versions.find((one) => one.version === policy.version);
  const rows = [
    ["Made", own && h("time", { datetime: own.created_at, title: moment(own.created_at) }, ago(own.created_at), own.by && ` by ${own.by}`)],
    ["Line to review", fitted && h("span.numbers", null, fitted.review.toFixed(4))],
    ["Line to block", fitted && (fitted.block === null ? "none" : h("span.numbers", null, fitted.block.toFixed(4)))],
    ["Made of", fitted && { text: "its words", probe: "its words and examples" }[fitted.kind]],
    ["Model", h("code", null, policy.model.revision)],
  ].filter(([, value]) => value);
  return h("section.panel", { "aria-label": "Version" }, h("header", null, h("h2", null, `Version ${policy.version}`)), h("dl.facts", null, rows.map(([term, value]) => [h("dt", null, term), h("dd", null, value)])), h("h3", null, "Its verdicts"), shares(policy.counts));
}

// -- versions, and what one changed

function versions(room) {
  const { policy } = known;
  const numbers = policy.versions.map((one) => one.version).sort((a, b) => b - a);
  const after = Number(given().get("after")) || policy.version;
  const before = Number(given().get("before")) || numbers.find((one) => one < after) || after;
  const changed = h("section.panel", { "aria-label": "Changes", "aria-busy": "true" });
  const pick = (label, value, key) => h("select", { "aria-label": label, onchange: (event) => location.assign(at({ before, after, [key]: event.target.value })) }, numbers.map((one) => h("option", { value: one, selected: one === value }, `Version ${one}`)));
  const row = (one) => h("tr", null, h("th", { scope: "row" }, h("a", { href: at({ view: "", version: one.version }) }, `Version ${one.version}`)), h("td", null, h("span.badge", { class: STATE_BADGES[one.state] }, STATES[one.state])), h("td", null, h("time", { datetime: one.created_at, title: moment(one.created_at) }, ago(one.created_at))), h("td", null, h("time", { datetime: one.changed_at, title: moment(one.changed_at) }, ago(one.changed_at))), h("td", null, one.by));
  const head = ["Version", "State", "Made", "Changed", "By"].map((title) => h("th", { scope: "col" }, title));
  put(room, h("div.stack", null, h("div.panel.scroll", { tabindex: 0, role: "region", "aria-label": "Versions" }, h("table.table", null, h("thead", null, h("tr", null, head)), h("tbody", null, [...policy.versions].sort((a, b) => b.version - a.version).map(row)))), changed));
  const controls = h("header.row.between", null, h("h2", null, "What changed"), h("span.row.small", null, pick("From", before, "before"), "to", pick("To", after, "after")));
  difference(changed, controls, before, after);
}

async function difference(room, controls, before, after) {
  try {
    const changes = before === after ? [] : (await get(withQuery(`${path}/diff`, { before, after }))).changes;
    const told = (value) => (Array.isArray(value) ? (value.length ? value.join("\n") : "none") : value === null || value === "" ? "none" : typeof value === "object" ? Object.entries(value).map(([kind, number]) => `${kind} ${number}`).join(", ") : String(value));
    const rows = changes.map((one) => [h("dt", null, one.field.replaceAll("_", " ")), h("dd", null, h("del", null, told(one.before)), h("ins", null, told(one.after)))]);
    put(room, controls, changes.length ? h("dl.differences", null, rows) : h("p.quiet", null, before === after ? "There is one version only." : "These two say the same."));
  } catch (problem) {
    put(room, controls, problemView(problem));
  }
  room.setAttribute("aria-busy", "false");
}

window.addEventListener("beforeunload", (event) => dirty() && event.preventDefault());
begin();
