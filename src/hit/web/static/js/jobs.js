// What goes on in the library: jobs, as the server tells of them.
import { follow, get, post } from "./api.js";
import { announce, byId, confirmDialog, h, icon, put, toast } from "./dom.js";
import { ago, count, duration, moment, plural } from "./format.js";

const VERBS = { index: "Indexing", reindex: "Looking again at", remove: "Removing", rendition: "Preparing for browsers:", sprites: "Making previews of", tag: "Tagging by" };
const STATES = { queued: "Waiting", running: "At work", done: "Done", failed: "Failed", cancelled: "Cancelled" };
const BADGES = { running: "good", done: "", failed: "bad", cancelled: "warn", queued: "" };
const EARLIER = 4; // ended jobs that are shown at once
const KEPT = 40;

/** @type {Map<number, any>} */
const jobs = new Map();
const views = new Map();
const listeners = new Set();
let admin = false;
let whole = false;

export const ended = (job) => !["queued", "running"].includes(job.state);

/** Call `listener(job)` for each news of a job. */
export function onJob(listener) {
  listeners.add(listener);
}

/** Show a job that was just made. */
export function take(job) {
  const before = jobs.get(job.id);
  if (before && ended(before) && !ended(job)) return; // news that was overtaken
  jobs.set(job.id, job);
  if (ended(job) && before && !ended(before)) announce(`${about(job)}: ${STATES[job.state]}`);
  draw();
  for (const listener of listeners) listener(job);
}

const base = (path) => path.split("/").filter(Boolean).at(-1) ?? path;

function about(job) {
  const verb = VERBS[job.kind] ?? job.kind;
  const sources = (job.detail.sources ?? []).map((path) => (path.includes("/uploads/") ? "an upload" : base(path)));
  const many = job.detail.videos?.length;
  const what = job.detail.title ?? job.detail.label_set ?? (sources.length ? `${sources.slice(0, 2).join(", ")}${sources.length > 2 ? ` and ${sources.length - 2} more` : ""}` : many ? plural(many, "video") : job.kind === "index" ? "videos" : "a video");
  return `${verb} ${what}`;
}

function outcome(job) {
  if (job.error) return job.error;
  const result = job.result ?? {};
  const parts = [
    result.added !== undefined && `${count(result.added)} added`,
    result.failed > 0 && `${count(result.failed)} failed`,
    result.unchanged > 0 && `${count(result.unchanged)} as before`,
    result.duplicates > 0 && `${plural(result.duplicates, "duplicate")}`,
    result.moved > 0 && `${count(result.moved)} moved`,
    result.removed !== undefined && `${count(result.removed.length ?? result.removed)} removed`,
    result.seconds !== undefined && `in ${duration(result.seconds)}`,
  ];
  return parts.filter(Boolean).join(", ");
}

function progressOf(job) {
  const { done, total, note, eta_seconds: left } = job.progress;
  const part = total ? Math.min(1, done / total) : null;
  const told = [
    total ? `${count(Math.floor(done))} of ${count(Math.ceil(total))}` : null,
    left !== null && left > 0 ? `about ${duration(Math.ceil(left))} left` : null,
    note.replace(/ +[0-9a-f]{32}\.\w+$/, ""), // an upload's name on the disk says nothing
  ];
  const bar = h("progress", { max: 1, "aria-label": about(job) });
  if (part !== null) bar.value = part;
  return [bar, h("p.quiet.small.numbers", null, told.filter(Boolean).join(" · ") || "beginning")];
}

async function act(job, verb) {
  try {
    take(await post(`/v1/jobs/${job.id}/${verb}`));
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

async function cancel(job) {
  const sure = job.state === "queued" || (await confirmDialog("Cancel this job?", "What it has done so far stays. The same again goes on from there.", "Cancel the job"));
  if (sure) act(job, "cancel");
}

function buttons(job) {
  if (!admin) return null;
  if (!ended(job)) {
    return h("button.small", { type: "button", disabled: job.cancelling, "aria-label": `Cancel: ${about(job)}`, onclick: () => cancel(job) }, job.cancelling ? "Ending" : "Cancel");
  }
  const again = job.state !== "done" || job.result?.failed > 0;
  return again && h("button.small", { type: "button", "aria-label": `Try again: ${about(job)}`, onclick: () => act(job, "retry") }, icon("retry"), job.state === "done" ? "Retry failed" : "Try again");
}

function failures(job) {
  const listed = job.result?.failures ?? [];
  if (!listed.length) return null;
  const more = job.result.failed - listed.length;
  return h(
    "details.failures",
    null,
    h("summary", null, plural(job.result.failed, "file"), " could not be read: why"),
    h("ul", null, listed.map((one) => h("li", null, h("strong", { title: one.path }, job.detail.title ?? base(one.path)), " ", h("span.quiet", null, one.reason))), more > 0 && h("li.quiet", null, `and ${count(more)} more`)),
  );
}

function view(job) {
  const when = job.ended_at ?? job.begun_at ?? job.created_at;
  return [
    h("div.row.between.job-head", null, h("span.job-title", null, h("strong", null, about(job)), h("span.badge", { class: BADGES[job.state] }, STATES[job.state])), h("span.row", null, h("span.quiet.small", null, h("time", { datetime: when, title: moment(when) }, ago(when)), job.by && ` · ${job.by}`), buttons(job))),
    job.state === "running" && progressOf(job),
    ended(job) && outcome(job) && h("p.small", { class: job.state === "failed" ? "wrong" : "quiet" }, outcome(job)),
    failures(job),
  ];
}

function draw() {
  const all = [...jobs.values()].sort((a, b) => Number(ended(a)) - Number(ended(b)) || b.id - a.id).slice(0, KEPT);
  const room = byId("jobs");
  room.hidden = !all.length;
  if (!all.length) return;
  const over = all.filter(ended);
  const shown = whole ? all : all.filter((job) => !ended(job) || over.indexOf(job) < EARLIER);
  for (const job of shown) {
    const known = views.get(job.id);
    const mark = JSON.stringify([job, admin]);
    if (known?.mark === mark) continue;
    const open = known?.element.querySelector("details")?.open ?? false;
    const focused = known?.element.contains(document.activeElement);
    const element = put(known?.element ?? h("li.job", { data: { job: job.id, state: job.state } }), view(job));
    element.dataset.state = job.state;
    const details = element.querySelector("details");
    if (details) details.open = open;
    if (focused) element.querySelector("button")?.focus();
    views.set(job.id, { mark, element });
  }
  const wanted = shown.map((job) => views.get(job.id).element);
  const list = room.querySelector("ul.jobs") ?? h("ul.jobs");
  if (!list.isConnected) put(room, h("h2", null, "Activity"), list, h("div.more-jobs"));
  if (wanted.length !== list.children.length || wanted.some((element, i) => list.children[i] !== element)) list.replaceChildren(...wanted);
  const rest = all.length - shown.length;
  const more = () => {
    whole = true;
    draw();
  };
  put(room.querySelector(".more-jobs"), rest > 0 && h("button.ghost.small", { type: "button", onclick: more }, `Show ${count(rest)} earlier`));
}

/** Begin to show jobs and to listen. @param {boolean} mayAct whether there are buttons */
export async function watchJobs(mayAct) {
  admin = mayAct;
  // A browser comes again by itself after a break, but not after an answer that is none, as of a proxy whose server is being begun anew.
  const listen = async () => {
    follow("/v1/events", { progress: take, end: take, error: (closed) => closed && setTimeout(() => listen().catch(() => {}), 5000) });
    const { jobs: found } = await get("/v1/jobs?limit=30");
    for (const job of found) jobs.has(job.id) ? take(job) : jobs.set(job.id, job);
    draw();
  };
  await listen();
  setInterval(() => {
    for (const one of byId("jobs").querySelectorAll("time")) one.textContent = ago(one.dateTime); // what is drawn has not changed but for this
  }, 60_000);
}
