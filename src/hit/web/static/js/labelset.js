// A set of labels: what each one says, what the set would do, and its versions.
import { get, may, post, put as store, remove, withQuery } from "./api.js";
import { byId, confirmDialog, factRows, h, icon, problemView, put, stateView, toast } from "./dom.js";
import { difference } from "./difference.js";
import { takeDrops } from "./drop.js";
import { ago, count, moment, plural } from "./format.js";
import { cardKeys, keys } from "./keys.js";
import { ruleWords, score, setPage, setPath, stateBadge } from "./labeldata.js";
import { drafted, fileButton, importDialog, labelDialog, parseLines } from "./labelform.js";
import { jobBar } from "./progress.js";
import { quoted } from "./query.js";

const room = byId("set");
const name = room.dataset.name;
const page = { set: null, mine: false, bar: null };

const wanted = () => new URLSearchParams(location.search).get("version");
const newest = (set) => Math.max(...set.versions.map((one) => one.version));
const active = (set) => set.versions.find((one) => one.state === "active")?.version ?? null;

/** Show a version, or the newest one. */
function go(version = null) {
  history.pushState(null, "", withQuery(setPage(name), { version }));
  load();
}

const edited = (answer) => {
  toast(drafted(answer));
  go();
};

// -- the head

function actions(set) {
  const links = ["csv", "toml"].map((format) => h("a.button.small", { href: withQuery(`${setPath(name)}/export`, { format, version: wanted() }), download: `${name}.${format}`, title: `Export as ${format}` }, icon("download"), format));
  const last = set.version === newest(set);
  if (!page.mine) return links;
  return [
    links,
    last && fileButton(read),
    last ? h("button.primary", { type: "button", onclick: () => labelDialog(name, set.labels, null, edited) }, icon("plus"), "Add a label") : h("button", { type: "button", onclick: goOn }, "Go on from this version"),
    active(set) !== null && h("button.danger", { type: "button", onclick: retire }, "Retire"),
  ];
}

const read = (file) => importDialog(file, name, edited);

async function goOn() {
  try {
    const labels = page.set.labels.map(({ threshold, kind, tagged, ...one }) => one);
    edited(await store(setPath(name), { labels }));
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

async function retire() {
  const tags = page.set.labels.reduce((sum, one) => sum + one.tagged, 0);
  if (!(await confirmDialog(`Retire “${name}”?`, `Its ${plural(tags, "tag")} are taken off the videos. What people tagged themselves stays, and so do its versions: one of them can be applied again.`, "Retire"))) return;
  try {
    await remove(setPath(name));
    toast("Retired");
    go();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

// -- what it would do

function plan(set) {
  if (!page.mine) return null;
  const now = active(set);
  const used = now === set.version;
  const found = h("div", { id: "difference" }, page.bar);
  const apply = h("button.primary", { type: "button", disabled: page.bar !== null, onclick: () => applyIt(set) }, used ? "Tag again" : `Apply version ${set.version}`);
  const look = h("button", { type: "button", onclick: () => preview(set, found, look) }, icon("review"), "Preview");
  const told = used ? "This version is in use. New videos are tagged by it as they come." : now === null ? "Nothing is tagged by this set yet." : `Version ${now} is in use; this one is not.`;
  return h("section.panel", { "aria-labelledby": "plan-title" }, h("header.row.between", null, h("div", null, h("h2", { id: "plan-title" }, used ? "In use" : "Before it is applied"), h("p.quiet", null, told)), h("div.row", null, look, apply)), found);
}

async function preview(set, found, button) {
  button.disabled = true;
  put(found, h("div.skeleton.line", { role: "status", "aria-label": "Scoring every segment" }));
  try {
    const options = { onWait: (seconds) => put(found, h("p.quiet", { role: "status" }, `The server is busy; asking again in ${Math.ceil(seconds)} s.`)) };
    const answer = await post(`${setPath(name)}/preview`, { version: set.version }, options);
    put(found, difference(name, answer));
  } catch (problem) {
    put(found, problemView(problem, () => preview(set, found, button)));
  }
  button.disabled = false;
}

/** Show how tagging goes, and what comes of it. */
function watch(job) {
  const over = async (last) => {
    page.bar = null;
    if (last.state === "done") toast("Tagged");
    await load();
    if (last.state !== "done") put(byId("difference"), h("p.wrong", { role: "alert" }, last.error ?? "It was not applied: the job was cancelled."));
  };
  page.bar = jobBar(job, "Tagging", over);
  show(page.set);
}

/** Whether the set is being applied while the page is opened. */
async function running() {
  const { jobs } = await get("/v1/jobs?kind=tag&limit=20");
  return jobs.find((job) => !job.ended_at && job.detail.label_set === name);
}

async function applyIt(set) {
  try {
    watch((await post(`${setPath(name)}/apply`, { version: set.version })).job);
  } catch (problem) {
    put(byId("difference"), problemView(problem));
  }
}

// -- labels

function row(set, one, most) {
  const last = set.version === newest(set);
  const examples = one.examples_for.length + one.examples_against.length;
  const edit = h("button.small.ghost.square", { type: "button", "aria-label": `Edit ${one.name}`, title: "Edit", onclick: () => labelDialog(name, set.labels, one, edited) }, icon("edit"));
  const says = [one.texts.join(" · "), one.exceptions.length > 0 && h("span.not", null, ` but not ${one.exceptions.join(" · ")}`)];
  return h(
    "tr",
    { data: { label: one.name } },
    h("th", { scope: "row" }, h("a", { href: withQuery(setPage(name, one.name), { version: last ? "" : set.version }) }, one.name)),
    h("td.says", null, says),
    h("td.begins", { title: one.threshold === null ? "Its threshold is found when it is applied" : `score ${one.threshold}` }, ruleWords(one.rule), one.threshold !== null && one.rule.score === undefined && h("span.quiet.small.numbers", null, `score ${score(one.threshold)}`)),
    h("td", null, one.kind === "probe" ? h("span.badge.good", { title: `Its words, and ${plural(examples, "example")}` }, plural(examples, "example")) : examples > 0 && h("span.quiet", null, plural(examples, "example"))),
    h("td.number", null, h("span.bar", { "aria-hidden": "true" }, h("span", { style: { width: `${(one.tagged / (most || 1)) * 100}%` } })), one.tagged ? h("a", { href: withQuery("/", { f: `tag=${quoted(one.name)}` }), title: "The videos that bear it" }, count(one.tagged)) : "0"),
    page.mine && last && h("td", null, edit),
  );
}

function labels(set) {
  const most = Math.max(...set.labels.map((one) => one.tagged), 0);
  const groups = [...new Set(set.labels.map((one) => one.group))].sort();
  const head = h("tr", null, ["Label", "What it says", "It begins", "Examples", "Videos"].map((one, i) => h("th", { scope: "col", class: i === 4 ? "number" : "" }, one)), page.mine && set.version === newest(set) && h("th", null, h("span.hidden", null, "Edit")));
  const rows = (group) => set.labels.filter((one) => one.group === group).map((one) => row(set, one, most));
  const body = (group) => h("tbody", null, group && h("tr.group-row", null, h("th", { colspan: 6, scope: "rowgroup" }, group)), rows(group));
  return h(
    "section",
    { "aria-labelledby": "labels-title" },
    h("h2", { id: "labels-title" }, plural(set.labels.length, "label")),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Labels" }, h("table.table.label-table", null, h("thead", null, head), groups.map(body))),
  );
}

function versions(set) {
  const one = (version) =>
    h(
      "li",
      { aria: version.version === set.version ? { current: "true" } : {} },
      h("button.ghost", { type: "button", onclick: () => go(version.version === newest(set) ? null : version.version) }, `Version ${version.version}`),
      stateBadge(version.state),
      h("span.quiet.small", null, h("time", { datetime: version.created_at, title: moment(version.created_at) }, ago(version.created_at)), version.by && ` by ${version.by}`),
    );
  return h("section.panel", { "aria-labelledby": "versions-title" }, h("h2", { id: "versions-title" }, "Versions"), h("ol.versions", null, [...set.versions].sort((a, b) => b.version - a.version).map(one)));
}

function show(set) {
  document.title = `${name} · HiT`;
  const facts = h("section.panel", null, h("h2", null, "Made for"), h("dl.facts", null, factRows([["Model", set.model.id], ["Revision", h("code", null, set.model.revision)]])));
  put(
    room,
    h("header.page-head", null, h("div.row", null, h("h1", null, name), h("span.quiet", null, `version ${set.version}`), stateBadge(set.state)), h("div.row", null, actions(set))),
    plan(set),
    labels(set),
    h("div.two", null, versions(set), facts),
  );
}

function unknown() {
  const text = page.mine ? "Write its labels, one a line, or read a file of them." : "It may have been typed wrongly.";
  const list = h("textarea", { rows: 6, "aria-label": "Labels, one a line", placeholder: "beach\nplace/forest: a forest; trees seen from within" });
  const save = async () => {
    try {
      edited(await store(setPath(name), { labels: parseLines(list.value) }));
    } catch (problem) {
      toast(problem.message, "bad");
    }
  };
  const act = page.mine && h("div.stack.fresh", null, list, h("div.row.end", null, fileButton(read), h("button.primary", { type: "button", onclick: save }, "Write a draft")));
  put(room, h("h1", null, name), stateView("tag", "There is no such set", text, act));
}

async function load() {
  room.setAttribute("aria-busy", "true");
  try {
    page.mine = await may("senior");
    page.set = await get(withQuery(setPath(name), { version: wanted() }));
    const job = page.mine && !page.bar && (await running());
    if (job) watch(job);
    else show(page.set);
  } catch (problem) {
    if (problem.status === 404 && !wanted()) unknown();
    else put(room, h("h1", null, name), problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

keys(cardKeys(room));
const veil = h("div.veil", { hidden: true }, h("div", null, icon("upload"), h("strong", null, `Drop a file of labels into “${name}”`)));
document.body.append(veil);
takeDrops(veil, (transfer) => page.mine && transfer.files.length && read(transfer.files[0]));
window.addEventListener("popstate", load);
load();
