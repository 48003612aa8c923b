// The workbench: one case after the other, the next one loaded while this one is judged.
import { get, may, withQuery } from "./api.js";
import { caseView } from "./casefile.js";
import { askSkip, decisionForm } from "./decide.js";
import { announce, byId, h, icon, problemView, put, stateView, toast } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { help, keys } from "./keys.js";
import { leases, oneTab } from "./leases.js";
import { severity, SEVERITY } from "./verdict.js";
import { pauseChoice, settings, turn, wellnessBar } from "./wellness.js";

const HELP = [
  ["1 2 … 9", "Choose a decision"],
  ["Ctrl Enter", "Submit and next, also from the note"],
  ["S", "Skip, with a reason"],
  ["[ ]", "The evidence before and after"],
  ["X", "Let the evidence shown count, or not"],
  ["Space K", "Play and pause"],
  ["J L", "10 seconds back and forth"],
  ["← →", "1 second back and forth"],
  [", .", "One picture back and forth"],
  ["B G M V", "Blur, greyscale, mute, stills first"],
  ["R N", "Go to the reason, to the note"],
  ["Esc", "Leave a field"],
  ["?", "These keys"],
];
const HOLD = 2; // the case that is judged, and the next one
const IDLE = 15 * 60_000; // milliseconds without a sign of life, after which cases go back
const LOOK = 15_000; // milliseconds between looks into an empty queue
const LATER = 10; // minutes until a break is suggested again

const page = byId("review");
const room = h("div", { id: "case-room" });
const notes = h("div", { id: "notes" });
const away = h("div");
const done = h("span.quiet.small.numbers", { id: "done" });
const desk = { current: null, next: null, fetching: null, sending: Promise.resolve(), working: false, done: 0, since: 0, pauseAt: 0, alive: 0, look: 0, away: false };

const held = leases({ onlost: lost, onreach: reached });
const tab = oneTab(() => {
  held.forget();
  stop("Review goes on in another tab", "This tab has put its cases down; the other one has them.");
});

function wanted() {
  const given = new URLSearchParams(location.search);
  const least = Number(given.get("severity"));
  return { ...(given.get("policy") ? { policy: given.get("policy") } : {}), ...(least > 1 ? { severity_min: least } : {}) };
}

// -- before and after work

async function start(title = "", text = "") {
  page.setAttribute("aria-busy", "true");
  try {
    const [queue, allowed] = await Promise.all([get("/v1/review/queue").catch((problem) => problem.status === 403 ? null : Promise.reject(problem)), may("reviewer")]);
    if (!allowed || !queue) put(page, stateView("user", "For reviewers", "An administrator can give you the role."));
    else put(page, title && h("p.notice", { role: "status" }, h("strong", null, title), " ", text), front(queue));
    document.getElementById("go")?.focus();
  } catch (problem) {
    put(page, problemView(problem, () => start(title, text)));
  }
  page.setAttribute("aria-busy", "false");
}

function front(queue) {
  const go = (change) => {
    const given = new URLSearchParams(location.search);
    history.replaceState(null, "", withQuery("/review", { policy: given.get("policy"), severity: given.get("severity"), ...change }));
  };
  const { policy = "", severity_min: least = 1 } = wanted();
  const names = [...new Set([...queue.policies.map((one) => one.policy), ...(policy ? [policy] : [])])];
  const which = h("select", { onchange: () => go({ policy: which.value }) }, h("option", { value: "" }, "All policies"), names.map((one) => h("option", { value: one, selected: one === policy }, one)));
  const level = h("select", { onchange: () => go({ severity: level.value > 1 ? level.value : "" }) }, SEVERITY.slice(1).map((word, i) => h("option", { value: i + 1, selected: i + 1 === least }, i ? `${word} and worse` : "Any")));
  const begin = h("button.primary", { type: "button", id: "go", onclick: () => work() }, icon("play"), queue.mine ? "Go on" : "Start");
  const row = (one) => h("tr", null, h("th", { scope: "row" }, one.policy), h("td", null, severity(one.severity)), h("td.number.numbers", null, count(one.open)), h("td.number.numbers", null, count(one.held)), h("td.number.numbers", null, one.oldest_seconds === null ? "" : duration(one.oldest_seconds)));
  return h(
    "div.front",
    null,
    h(
      "section.panel.stack",
      null,
      h("h1", null, queue.open ? `${plural(queue.open, "case")} to review` : "Nothing waits for review"),
      h("p.quiet", null, queue.oldest_seconds !== null && queue.open ? `The oldest has waited ${duration(queue.oldest_seconds)}. ` : "", queue.held ? `${plural(queue.held, "case")} ${queue.held === 1 ? "is" : "are"} being reviewed now.` : ""),
      h("div.pair", null, h("label.field", null, "Policy", which), h("label.field", null, "Severity", level)),
      h("div.row", null, begin, h("button.ghost.for-keys", { type: "button", onclick: () => help(HELP) }, icon("keyboard"), "Keys")),
    ),
    h("section.panel.stack", { "aria-labelledby": "kind-title" }, h("h2", { id: "kind-title" }, "Easy on you"), h("p.quiet.small", null, "It begins blurred, grey, mute and as stills. Change it here or at any case; this browser remembers."), wellnessBar(), pauseChoice()),
    queue.policies.length > 0 && h("section.panel.queue-table", null, h("h2", null, "The queue"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "The queue" }, h("table.table", null, h("thead", null, h("tr", null, ["Policy", "Severity", "Waiting", "Under review", "Oldest"].map((name, i) => h("th", { scope: "col", class: i > 1 ? "number" : "" }, name)))), h("tbody", null, queue.policies.map(row))))),
  );
}

/** While somebody works, the page shows little else. */
function working(yes) {
  desk.working = yes;
  document.body.classList.toggle("working", yes);
}

/** Put everything down. */
function stop(title, text) {
  working(false);
  clearTimeout(desk.look);
  for (const one of [desk.current, desk.next]) one?.view.close();
  desk.current = desk.next = null;
  tab.end();
  start(title, text);
}

async function rest(title, text) {
  working(false); // what is being claimed right now is given back as it comes
  await Promise.race([Promise.all([desk.sending, desk.fetching]), new Promise((resolve) => setTimeout(resolve, 3000))]);
  await held.release();
  stop(title, text);
}

// -- work

async function work() {
  if (desk.working) return;
  if (await tab.another()) {
    const here = h("button.primary", { type: "button", onclick: () => begin() }, "Go on here");
    return put(page, stateView("info", "You review in another tab", "It has its cases open. If you go on here, that tab puts them down.", here));
  }
  begin();
}

function begin() {
  tab.begin();
  working(true);
  Object.assign(desk, { since: performance.now(), pauseAt: performance.now() + settings.pause * 60_000, alive: performance.now(), done: 0 });
  const end = h("button.small", { type: "button", onclick: () => rest("Thank you.", desk.done ? `You decided ${plural(desk.done, "case")}.` : "") }, "Stop");
  const about = h("button.ghost.small.square.for-keys", { type: "button", "aria-label": "Keys", title: "Keys (?)", onclick: () => help(HELP) }, icon("keyboard"));
  put(page, h("div.row.between.desk-bar", null, done, h("span.row", null, about, end)), away, notes, room);
  put(notes);
  tell();
  advance(null, true);
}

const tell = () => (done.textContent = desk.done ? `${plural(desk.done, "case")} decided, ${duration((performance.now() - desk.since) / 1000)}` : "");

/** Make all of a case but put it on the page; its pictures and its video begin to load. */
function prepare(assignment) {
  const form = decisionForm(assignment.case.actions, { onsubmit: submit, onskip: skip });
  const view = caseView(assignment.case, { seat: assignment.seat, side: [form.element] });
  return { assignment, form, view, spent: 0, from: null };
}

function show(job, begun) {
  desk.current = job;
  put(room, job.view.element);
  job.view.shown.begin();
  job.from = document.hidden ? null : performance.now();
  document.title = `${job.view.title} · Review · HiT`;
  scrollTo({ top: 0 });
  job.view.element.querySelector("h1").focus({ preventScroll: true });
  announce(`${job.view.title}, policy ${job.assignment.case.policy.name}`);
  page.dataset.case = String(job.assignment.case.id);
  prefetch();
  if (begun !== null) requestAnimationFrame(() => setTimeout(() => (page.dataset.nextMs = (performance.now() - begun).toFixed(1)))); // it is on the screen
}

/** Go to the next case. begun: when that was asked for, or null. */
async function advance(begun, first = false) {
  desk.current?.view.close();
  desk.current = null;
  delete page.dataset.case;
  if (desk.next) {
    const job = desk.next;
    desk.next = null;
    return show(job, begun);
  }
  put(room, h("div.watch", { "aria-hidden": "true" }, h("div.skeleton.tall"), h("div.skeleton.tall")));
  try {
    await desk.sending; // so many may be held and no more
    await desk.fetching;
    const job = desk.next ?? (await fetchNext(first));
    if (job === desk.next) desk.next = null;
    if (!desk.working) return await held.release();
    if (!job) return empty();
    show(job, begun);
  } catch (problem) {
    if (desk.working) put(room, problemView(problem, () => advance(null, true)));
  }
}

async function fetchNext(first) {
  const kept = first ? await held.resume() : [];
  const found = kept.length ? kept : [await held.claim(wanted(), HOLD)].filter(Boolean);
  const jobs = found.map(prepare);
  if (jobs.length > 1) desk.next = jobs[1];
  return jobs[0] ?? null;
}

/** Claim the case after this one, and load it. */
function prefetch() {
  if (!desk.working || desk.next || desk.fetching) return;
  desk.fetching = (async () => {
    try {
      await desk.sending;
      const found = await held.claim(wanted(), HOLD);
      if (found && desk.working) desk.next = prepare(found);
      else if (found) await held.release(); // work ended meanwhile
    } catch (problem) {
      if (!problem.offline && problem.status !== 409) toast(problem.message, "bad"); // it is asked for again when it is needed
    }
    desk.fetching = null;
    page.dataset.ready = desk.next ? "yes" : "no";
  })();
}

function empty() {
  const again = () => advance(null);
  const button = h("button.primary", { type: "button", onclick: again }, icon("retry"), "Look again");
  put(room, stateView("check", "That was all", desk.done ? `You decided ${plural(desk.done, "case")}. Nothing else waits for you.` : "Nothing waits for you now. New cases are noticed here.", button));
  button.focus();
  document.title = "Review · HiT";
  const look = async () => {
    if (!desk.working || desk.current) return;
    const queue = document.hidden ? null : await get("/v1/review/queue").catch(() => null);
    if (queue?.open && !desk.current) put(button, icon("play"), `${plural(queue.open, "case")} in the queue`);
    desk.look = setTimeout(look, LOOK);
  };
  clearTimeout(desk.look);
  desk.look = setTimeout(look, LOOK);
}

// -- what is done with a case

/** Seconds that this case was looked at. */
function spent(job) {
  const now = job.from === null ? 0 : performance.now() - job.from;
  return Number(((job.spent + now) / 1000).toFixed(1));
}

function submit() {
  const begun = performance.now();
  const job = desk.current;
  const said = job?.form.read();
  if (!said) return;
  const body = { claim: job.assignment.claim, ...said, evidence: said.action === "pass" ? [] : job.view.evidence(), seconds: spent(job) };
  const sent = held.decide(job.assignment, body).then(
    () => {
      desk.done += 1;
      tell();
      page.dataset.sentMs = (performance.now() - begun).toFixed(1);
    },
    (problem) => refused(job, problem),
  );
  desk.sending = Promise.all([desk.sending, sent]);
  advance(begun);
}

function refused(job, problem) {
  const close = h("button.small", { type: "button", onclick: () => note.remove() }, "Understood");
  const note = h("p.notice.bad", { role: "alert" }, h("span", null, `Your decision on “${job.view.title}” was not taken: ${problem.detail || problem.title}. Nothing was decided; the case goes on without it.`), close);
  notes.append(note);
}

function skip() {
  const job = desk.current;
  if (!job) return;
  askSkip(
    (reason) => held.skip(job.assignment, reason),
    () => advance(null),
  );
}

/** A case of ours went back to the queue. */
function lost(assignment) {
  if (desk.next?.assignment === assignment) {
    desk.next.view.close();
    desk.next = null;
    return prefetch();
  }
  if (desk.current?.assignment !== assignment) return;
  desk.current.view.close();
  desk.current = null;
  delete page.dataset.case;
  const next = h("button.primary", { type: "button", onclick: () => advance(null) }, "Next case");
  put(room, stateView("clock", "This case went back to the queue", "It was not heard of for so long that it may be somebody else's now. Nothing was decided, and nothing is wrong.", next));
  next.focus();
}

function reached(yes) {
  if (desk.away === !yes) return;
  desk.away = !yes;
  put(away, !yes && h("p.notice.bad", { role: "status" }, "The server cannot be reached. Go on: what you decide is kept, and sent when it is back."));
}

// -- the clock: breaks, and who is gone

function clock() {
  if (!desk.working) return;
  tell();
  const now = performance.now();
  if (desk.current?.view.shown.playing()) desk.alive = now;
  if (now - desk.alive > IDLE) return rest("Your cases went back to the queue.", "Nothing happened here for 15 minutes; start again when you are back.");
  if (!settings.pause || now < desk.pauseAt || notes.querySelector(".pause")) return;
  const later = () => {
    desk.pauseAt = performance.now() + LATER * 60_000;
    note.remove();
  };
  const note = h("p.notice.pause", { role: "status" }, h("span", null, `You have reviewed for ${duration((now - desk.since) / 1000)}. A few minutes away from it do good.`), h("span.row", null, h("button.small", { type: "button", onclick: () => rest("Enjoy your break.", "Your cases went back to the queue.") }, "Take a break"), h("button.small.ghost", { type: "button", onclick: later }, "Later")));
  notes.append(note);
}
setInterval(clock, 5000);
for (const sign of ["keydown", "pointerdown", "pointermove", "wheel"]) addEventListener(sign, () => (desk.alive = performance.now()), { passive: true });

document.addEventListener("visibilitychange", () => {
  const job = desk.current;
  if (job && document.hidden && job.from !== null) {
    job.spent += performance.now() - job.from;
    job.from = null;
  } else if (job && !document.hidden) job.from ??= performance.now();
  if (!document.hidden && desk.working) held.beat();
});
addEventListener("online", () => desk.working && held.beat());
addEventListener("pagehide", () => held.leave());
addEventListener("pageshow", (event) => event.persisted && stop("", ""));
addEventListener("beforeunload", (event) => held.waiting() && event.preventDefault());

// -- keys

const at = (act) => () => (desk.current ? act(desk.current) : false);
const shown = (act) => at((job) => act(job.view.shown));
const onButton = (event) => event.target instanceof Element && Boolean(event.target.closest("button, a, input, summary"));
const letters = {
  k: shown((one) => one.toggle()),
  j: shown((one) => one.jump(-10)),
  l: shown((one) => one.jump(10)),
  s: skip,
  x: at((job) => job.view.markHere()),
  r: at((job) => job.form.reason()),
  n: at((job) => job.form.note()),
  b: () => turn("blur"),
  g: () => turn("grey"),
  m: () => turn("mute"),
  v: () => turn("stills"),
};
keys({
  ...letters,
  ...Object.fromEntries(Object.entries(letters).map(([key, act]) => [key.toUpperCase(), act])),
  ...Object.fromEntries(Array.from({ length: 9 }, (_, i) => [String(i + 1), at((job) => job.form.choose(i + 1))])),
  " ": (event) => (onButton(event) ? false : shown((one) => one.toggle())()),
  ArrowLeft: shown((one) => one.jump(-1)),
  ArrowRight: shown((one) => one.jump(1)),
  ",": shown((one) => one.frame(-1)),
  ".": shown((one) => one.frame(1)),
  "[": shown((one) => one.step(-1)),
  "]": shown((one) => one.step(1)),
  "?": () => help(HELP),
});
document.addEventListener("keydown", (event) => {
  if (event.target instanceof Element && event.target.closest("dialog")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat && desk.current) {
    event.preventDefault();
    submit();
  } else if (event.key === "Escape" && event.target instanceof HTMLElement && room.contains(event.target)) {
    desk.current?.view.element.querySelector("h1").focus({ preventScroll: true });
  }
});

start();
