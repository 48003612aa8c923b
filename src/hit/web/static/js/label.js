// Where a label begins: a line on the scores' axis, the clips at it, and what people say of them.
import { get, may, post, withQuery } from "./api.js";
import { axis } from "./axis.js";
import { segmentCard } from "./card.js";
import { announce, byId, debounce, factRows, h, icon, openDialog, problemView, put, toast } from "./dom.js";
import { difference } from "./difference.js";
import { count, percent, plural } from "./format.js";
import { cardKeys, help, keys } from "./keys.js";
import { ruleFields, ruleWords, score, setPage, setPath, writeLabel } from "./labeldata.js";
import { labelDialog } from "./labelform.js";
import { previewSegment } from "./preview.js";

const HELP = [
  ["← ↑ ↓ →", "Move through the clips; on the line, move it"],
  ["y n", "Yes, the clip shows it; no, it does not"],
  ["u", "Take back the last answer"],
  ["Enter", "Open the video at the moment"],
  ["Space", "Preview the moment"],
  ["l", "Go to the line"],
  ["?", "These keys"],
];

const ENOUGH = 10; // answers, for the server to find a threshold by precision

const room = byId("label");
const { set: setName, label: labelName } = room.dataset;
const path = setPath(setName, labelName);

/** What is shown: the answer of the server for the line as it stood last, and where it stands now. */
const page = { view: null, label: null, labels: [], at: 0, stops: [], asked: 0, may: { answer: false, write: false }, said: [], saved: 0, fields: null };

const given = () => new URLSearchParams(location.search);
const version = () => given().get("version");

/** How many videos reach a score, as the server counted. */
const videosAt = (at) => page.stops.find((one) => one[0] === at)?.[1] ?? 0;

/** Where the line may stand: [score, videos, percentile], ascending; where it stands now is one of them. */
function stops(view) {
  const found = view.counts_at.map(([at, videos], i) => [at, videos, view.percentiles[i]]);
  if (found.some((one) => one[0] === view.threshold)) return found;
  return [...found, [view.threshold, view.videos, view.percentile]].sort((a, b) => a[0] - b[0]);
}

/** How many per cent of the background score less than a stop. */
const percentileAt = (at) => page.stops.find((one) => one[0] === at)?.[2] ?? 0;
const above = (at) => `above ${Number(percentileAt(at).toFixed(2))} % of the background`;

// -- the line

function say(at) {
  return `score ${score(at)}: ${plural(videosAt(at), "video")}, ${above(at)}`;
}

function moved(at) {
  page.at = at;
  page.asked++; // what comes of an earlier place of the line is dropped
  figures();
  if (page.fields?.kind() === "percentile" && percentileAt(at) < 100) page.fields.show("percentile", percentileAt(at));
  else page.fields?.show("score", at);
  byId("clips").classList.add("stale");
  ask();
}

const ask = debounce(async () => {
  const mine = page.asked;
  history.replaceState(null, "", withQuery(location.pathname, { version: version(), threshold: page.at }));
  try {
    const view = await get(withQuery(path, { version: version(), threshold: page.at }));
    if (mine !== page.asked) return;
    page.view = view;
    clips();
    figures();
    announce(say(page.at));
  } catch (problem) {
    if (mine === page.asked) put(byId("clips"), problemView(problem, ask));
  }
}, 250);

function figures() {
  const number = videosAt(page.at);
  const most = page.stops[0]?.[1] ?? 0;
  const sure = page.view.precision;
  const honest = "Clips that the label was made of count by what they would score had it not seen them";
  const tile = (title, value, note) => h("div.tile", { title: title.startsWith("Est") ? honest : null }, h("span.quiet.small", null, title), h("strong", null, value), h("span.quiet.small", null, note));
  put(
    byId("figures"),
    tile("Videos", h("span", { id: "count" }, count(number)), page.label.exceptions.length ? `of ${count(most)} that are no exception` : `of ${count(most)}`),
    tile("Score", score(page.at), above(page.at)),
    sure ? tile("Estimated precision", percent(sure.estimate), `${percent(sure.low)} to ${percent(sure.high)}, ${plural(sure.answered, "answer")} above the line`) : tile("Estimated precision", "?", page.view.answers.yes + page.view.answers.no ? "no answers above the line yet" : "answer some clips above the line"),
  );
  byId("figures").dataset.videos = String(number);
}

// -- clips at the line

function answers(one) {
  if (!page.may.answer) return one.answer !== null && h("p.small.quiet", null, one.answer ? "Answered: yes" : "Answered: no");
  const button = (yes, text, sign) =>
    h("button.small", { type: "button", tabindex: -1, class: one.answer === yes ? (yes ? "yes" : "no") : "", "aria-pressed": String(one.answer === yes), "aria-label": `${text}: ${one.title} at ${one.seek.toFixed(1)} s`, onclick: () => answer(one.segment_id, one.answer === yes ? null : yes) }, icon(sign), text);
  return h("div.row.answers", null, button(true, "Yes", "check"), button(false, "No", "close"));
}

function clip(one) {
  const card = segmentCard(one, { onpreview: previewSegment }, answers(one));
  if (one.answer !== null) card.dataset.answer = one.answer ? "yes" : "no";
  return card;
}

function clips() {
  const focus = document.activeElement?.closest?.("[data-segment]")?.dataset.segment;
  const part = (title, about, list, none) => [h("header", null, h("h2", null, title), h("p.quiet.small", null, about)), list.length ? h("div.grid.small-grid", null, list.map(clip)) : h("p.quiet", null, none)];
  put(
    byId("clips"),
    h("section", { id: "above", "aria-label": "Just above the line" }, part("Just above the line", "They get the label; the nearest to the line come first.", page.view.above, "No clip is above the line.")),
    h("section", { id: "below", "aria-label": "Just below the line" }, part("Just below the line", "They do not get it.", page.view.below, "No clip is below the line.")),
  );
  byId("clips").classList.remove("stale");
  if (focus) cardOf(focus)?.focus();
}

const cardOf = (segment) => byId("clips").querySelector(`[data-segment="${CSS.escape(segment)}"] [data-nav]`);
const shown = () => [...page.view.above, ...page.view.below];

/** Say of a clip whether it shows the label; null takes that back. Returns whether it was said. */
async function answer(segment, yes, { back = false } = {}) {
  const one = shown().find((clip) => clip.segment_id === segment);
  const before = one?.answer ?? null;
  try {
    const told = await post(withQuery(`${path}/answers`, { version: version(), threshold: page.at }), { segment_id: segment, yes });
    if (!back) page.said.push([segment, before]);
    page.view.precision = told.precision;
    page.view.answers = told.answers;
    if (one) one.answer = yes;
    clips();
    figures();
    side();
    announce(yes === null ? "Taken back" : yes ? "Yes" : "No");
    return true;
  } catch (problem) {
    toast(problem.message, "bad");
    return false;
  }
}

/** Answer the clip that has the focus, and go to the next that has no answer. */
function answerHere(yes) {
  return async () => {
    const here = document.activeElement?.closest?.("[data-segment]")?.dataset.segment;
    if (!page.may.answer || !here || !(await answer(here, yes))) return;
    const all = shown();
    const at = all.findIndex((one) => one.segment_id === here);
    const next = [...all.slice(at + 1), ...all.slice(0, at)].find((one) => one.answer === null);
    cardOf(next?.segment_id ?? here)?.focus();
  };
}

async function takeBack() {
  const last = page.said.pop();
  if (!last) return toast("Nothing is left to take back");
  if (!(await answer(last[0], last[1], { back: true }))) page.said.push(last);
  else cardOf(last[0])?.focus();
}

// -- beside it: what the label says, its examples and answers

function exampleList(title, ids) {
  const one = (id) => {
    const open = async () => {
      try {
        const found = await get(`/v1/segments/${encodeURIComponent(id)}`);
        location.assign(withQuery(`/videos/${found.video_id}`, { t: found.seek }));
      } catch (problem) {
        toast(problem.message, "bad");
      }
    };
    return h("li", null, h("button", { type: "button", title: "Open the video at this moment", onclick: open }, h("img", { src: `/v1/segments/${encodeURIComponent(id)}/poster`, alt: "Open an example", width: 96, height: 54, loading: "lazy" })));
  };
  return ids.length > 0 && [h("h3", null, title), h("ul.example-list", null, ids.map(one))];
}

function side() {
  const { label, view } = page;
  const { yes, no } = view.answers;
  const refitting = h("button", { type: "button", disabled: !yes && !no, onclick: () => draft(() => post(`${path}/refit`), refitting) }, "Refit from answers");
  put(
    byId("side"),
    h(
      "section.panel.stack",
      null,
      h("header.row.between", null, h("h2", null, "Answers"), h("span.numbers", { id: "answers" }, `${count(yes)} yes, ${count(no)} no`)),
      h("p.quiet.small", null, page.may.answer ? "Say of the clips at the line whether they show it. The answers tell how precise the label is; refitting makes it learn from them." : "Reviewers say of the clips at the line whether they show it."),
      page.may.write && h("div", null, refitting),
    ),
    h(
      "section.panel.stack",
      null,
      h("header.row.between", null, h("h2", null, "What it says"), page.may.write && !version() && h("button.small", { type: "button", onclick: () => labelDialog(setName, page.labels, label, () => anew()) }, icon("edit"), "Edit")),
      h("ul.phrasings", null, label.texts.map((one) => h("li", null, one))),
      label.exceptions.length > 0 && [h("h3", null, "But not"), h("ul.phrasings.not", null, label.exceptions.map((one) => h("li", null, one)))],
      exampleList("Shows it", label.examples_for),
      exampleList("Does not show it", label.examples_against),
    ),
    h("section.panel", null, h("h2", null, "Facts"), h("dl.facts", null, factRows([["It begins", ruleWords(view.rule)], ["Score", score(page.saved)], ["Made of", view.kind === "probe" ? "words and examples" : "words"], ["Version", String(view.version)], ["Model", view.model.id], ["Revision", h("code", null, view.model.revision)]]))),
  );
}

/** Write a draft, and show what it would change. */
async function draft(write, button) {
  button.disabled = true;
  try {
    const made = await write();
    const found = h("div", null, h("div.skeleton.line", { role: "status", "aria-label": "Scoring every segment" }));
    const links = h("div.row.end", null, h("a.button", { href: setPage(setName, labelName) }, "See the line of the draft"), h("a.button.primary", { href: setPage(setName) }, "Go on to apply it"));
    openDialog(`Draft v${made.version}: what would change`, h("div.stack", null, found, links), { wide: true, onclose: () => anew() });
    const answer = await post(`${setPath(setName)}/preview`, { version: made.version }, { onWait: () => {} }).catch((problem) => problem);
    put(found, answer.labels ? difference(setName, answer, labelName) : problemView(answer));
  } catch (problem) {
    toast([problem.message, problem.fix].filter(Boolean).join(". "), "bad");
  }
  button.disabled = false;
}

function rulePanel() {
  if (!page.may.write) return null;
  page.fields = ruleFields(page.view.rule, { percentile: () => percentileAt(page.at), score: () => page.at });
  const button = h("button.primary", { type: "submit" }, "Save as a draft");
  const save = (event) => {
    event.preventDefault();
    const rule = page.fields.rule();
    const { yes, no } = page.view.answers;
    if (rule.precision !== undefined && yes + no < ENOUGH) return toast(`A precision takes ${ENOUGH} answers, and there are ${yes + no}`, "bad");
    draft(() => writeLabel(setName, labelName, (one) => ({ ...one, rule })), button);
  };
  const back = h("button.ghost", { type: "button", title: "To the line that is saved", onclick: () => anew(version()) }, "Back");
  return h("form.row.save-rule", { onsubmit: save }, h("span.quiet", null, "It begins at"), page.fields.element, button, back);
}

function show() {
  const { view, label } = page;
  const legend = h("ul.axis-legend", { "aria-hidden": "true" }, h("li", null, h("i.of-library"), "Segments of the library"), h("li", null, h("i.of-ground"), "Background"), h("li.quiet", null, "Heights grow with the square root"));
  const line = axis(view.histogram, { stops: page.stops.map((one) => one[0]), at: page.at, name: "Where the label begins", say, onmove: moved });
  put(
    room,
    h("header.page-head", null, h("div.row", null, h("h1", null, labelName), label.group && h("span.badge", null, label.group), h("span.quiet", null, `version ${view.version}`)), h("button.ghost.small.square.for-keys", { type: "button", "aria-label": "Keys", title: "Keys (?)", onclick: () => help(HELP) }, icon("keyboard"))),
    h("div.label-page", null, h("div.stack", null, h("section.panel.stack", { "aria-label": "Threshold" }, h("div.figures-row", { id: "figures" }), line, legend, rulePanel()), h("div.stack", { id: "clips" })), h("aside.stack", { id: "side", "aria-label": "About the label" })),
  );
  figures();
  clips();
  side();
}

/** Show a version as it is saved: the newest, where a draft was written. */
function anew(of = null) {
  history.replaceState(null, "", withQuery(location.pathname, { version: of }));
  load();
}

async function load() {
  room.setAttribute("aria-busy", "true");
  try {
    const [write, reply] = await Promise.all([may("senior"), may("reviewer")]);
    page.may = { write, answer: reply };
    const asked = given().get("threshold");
    const [set, view] = await Promise.all([get(withQuery(setPath(setName), { version: version() })), get(withQuery(path, { version: version(), threshold: asked }))]);
    page.view = view;
    page.labels = set.labels;
    page.label = set.labels.find((one) => one.name === labelName);
    page.at = view.threshold;
    page.saved = page.label.threshold ?? view.threshold;
    page.stops = stops(view);
    document.title = `${labelName} · ${setName} · HiT`;
    show();
  } catch (problem) {
    put(room, h("h1", null, labelName), problemView(problem, load));
  }
  room.setAttribute("aria-busy", "false");
}

keys({
  ...cardKeys(room),
  y: answerHere(true),
  n: answerHere(false),
  u: takeBack,
  l: () => room.querySelector(".cut")?.focus(),
  "?": () => help(HELP),
});
load();
