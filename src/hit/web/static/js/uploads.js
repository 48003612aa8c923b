// Sending videos: several at a time, each with its progress, until it is in the library.
import { get, problemOf, unsafeHeaders } from "./api.js";
import { byId, h, icon, put } from "./dom.js";
import { takeDrops } from "./drop.js";
import { bytes, plural } from "./format.js";
import { ended, onJob, take } from "./jobs.js";

const AT_ONCE = 2;
const VIDEO = /\.(3gp|asf|avi|flv|gif|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|mxf|ogv|ts|vob|webm|wmv)$/i;
const WORDS = { waiting: "Waiting", sending: "Sending", checking: "Being checked", queued: "Waits to be indexed", running: "Indexing", ready: "Ready", known: "In the library already", failed: "Failed", refused: "Refused", cancelled: "Cancelled" };
const OVER = new Set(["ready", "known", "failed", "refused", "cancelled"]);

/** @type {{file: File, state: string, sent: number, why: string, video: any, job: number|null, request: XMLHttpRequest|null, element: HTMLElement}[]} */
const uploads = [];

/** Send files, after those that are under way. */
function send(files) {
  for (const file of files) {
    const element = h("li.upload");
    const upload = { file, state: "waiting", sent: 0, why: "", video: null, job: null, request: null, element };
    uploads.push(upload);
    draw(upload);
  }
  if (files.length) frame();
  next();
}

function next() {
  while (uploads.filter((one) => ["sending", "checking"].includes(one.state)).length < AT_ONCE) {
    const upload = uploads.find((one) => one.state === "waiting");
    if (!upload) return;
    upload.state = "sending";
    begin(upload).catch((problem) => end(upload, "refused", problem.message));
  }
}

async function begin(upload) {
  const headers = { ...(await unsafeHeaders()), "Content-Type": "application/octet-stream", Accept: "application/json" };
  if (upload.state !== "sending") return; // cancelled meanwhile
  const request = new XMLHttpRequest();
  upload.request = request;
  request.open("POST", `/v1/videos/upload?name=${encodeURIComponent(upload.file.name.slice(-300))}`);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (event) => {
    upload.sent = event.loaded;
    if (event.loaded === event.total) upload.state = "checking";
    draw(upload);
  };
  request.onload = () => answered(upload, request).catch((problem) => end(upload, "refused", problem.message));
  request.onerror = () => end(upload, "refused", "the connection broke: the server ended it, or the network is gone");
  request.onabort = () => end(upload, "cancelled");
  request.send(upload.file);
  draw(upload);
}

async function answered(upload, request) {
  if (request.status >= 400) {
    const headers = { "Content-Type": request.getResponseHeader("Content-Type") ?? "", "X-Request-ID": request.getResponseHeader("X-Request-ID") ?? "" };
    const problem = await problemOf(new Response(request.responseText, { status: request.status, headers }));
    return end(upload, "refused", [problem.detail || problem.title, problem.fix && `Try: ${problem.fix}`].filter(Boolean).join(". "));
  }
  const answer = JSON.parse(request.responseText);
  upload.video = answer.video;
  if (answer.duplicate || !answer.job) return end(upload, "known");
  upload.job = answer.job.id;
  upload.state = answer.job.state;
  take(answer.job);
  draw(upload);
  next();
}

onJob(async (job) => {
  const upload = uploads.find((one) => one.job === job.id);
  if (!upload || OVER.has(upload.state)) return;
  if (!ended(job)) {
    upload.state = job.state;
    return draw(upload);
  }
  if (job.state !== "done") return end(upload, job.state === "cancelled" ? "cancelled" : "failed", job.error ?? "");
  const video = await get(`/v1/videos/${upload.video.id}`).catch(() => null);
  if (video) upload.video = video;
  end(upload, video?.status === "failed" ? "failed" : "ready", video?.error ?? "");
});

function end(upload, state, why = "") {
  upload.state = state;
  upload.why = why;
  upload.request = null;
  draw(upload);
  next();
}

function cancel(upload) {
  if (upload.request) upload.request.abort();
  else end(upload, "cancelled");
}

function again(upload) {
  Object.assign(upload, { state: "waiting", sent: 0, why: "", job: null });
  draw(upload);
  next();
}

function draw(upload) {
  const { file, state } = upload;
  const good = ["ready", "known"].includes(state);
  const bad = ["failed", "refused"].includes(state);
  const name = good ? h("a", { href: upload.video.page_url }, file.name) : h("span", null, file.name);
  const bar = h("progress", { max: 1, "aria-label": `${file.name}: ${WORDS[state]}` });
  if (state === "sending" && file.size) bar.value = upload.sent / file.size;
  const size = state === "sending" ? `${bytes(upload.sent)} of ${bytes(file.size)}` : bytes(file.size);
  upload.element.dataset.state = state;
  put(
    upload.element,
    h("div.row.between", null, h("span.upload-name", null, name), h("span.row", null, h("span.quiet.small.numbers", null, size), h("span.badge", { class: good ? "good" : bad ? "bad" : "" }, WORDS[state]), buttons(upload))),
    !OVER.has(state) && state !== "waiting" && bar,
    upload.why && h("p.wrong", null, upload.why),
  );
  summary();
}

function buttons(upload) {
  const { file, state } = upload;
  if (["waiting", "sending", "checking"].includes(state)) {
    return h("button.ghost.small.square", { type: "button", "aria-label": `Do not send ${file.name}`, title: "Cancel", onclick: () => cancel(upload) }, icon("close"));
  }
  if (["refused", "cancelled"].includes(state)) return h("button.small", { type: "button", "aria-label": `Send ${file.name} again`, onclick: () => again(upload) }, icon("retry"), "Try again");
  return null;
}

function frame() {
  const room = byId("uploads");
  const list = room.querySelector("ul") ?? h("ul.uploads");
  if (!list.isConnected) {
    const clear = h("button.ghost.small", { type: "button", onclick: clearEnded }, "Clear");
    put(room, h("header.row.between", null, h("h2", { id: "uploads-title" }, "Uploads"), h("span.row", null, h("span.quiet.small", { id: "uploads-state" }), clear)), list);
  }
  list.append(...uploads.map((one) => one.element).filter((element) => element.parentElement !== list));
  room.hidden = !uploads.length;
  summary();
}

function clearEnded() {
  for (const one of uploads.filter((upload) => OVER.has(upload.state))) {
    one.element.remove();
    uploads.splice(uploads.indexOf(one), 1);
  }
  frame();
}

function summary() {
  const told = document.getElementById("uploads-state");
  const left = uploads.filter((one) => !OVER.has(one.state)).length;
  if (told) told.textContent = left ? `${plural(left, "file")} under way` : "all done";
}

/** The files of what was dropped, folders looked through. @returns {Promise<File[]>} */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry, top) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      if (top || VIDEO.test(file.name)) found.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const one of some) await walk(one, false);
    }
  };
  for (const entry of entries) await walk(entry, true);
  return found;
}

/** Let files be dropped anywhere on the page, and chosen by a button. @returns {HTMLElement} the button */
export function uploadButton() {
  const chooser = h("input", { type: "file", multiple: true, accept: "video/*,.mkv,.ts,.mts,.m2ts,.mxf,.vob,.flv", hidden: true, "aria-label": "Videos to send" });
  chooser.addEventListener("change", () => {
    send([...chooser.files]);
    chooser.value = "";
  });
  const veil = h("div.veil", { hidden: true }, h("div", null, icon("upload"), h("strong", null, "Drop videos to add them")));
  document.body.append(veil);
  takeDrops(veil, async (transfer) => send(await dropped(transfer)));
  window.addEventListener("beforeunload", (event) => {
    if (uploads.some((one) => ["waiting", "sending"].includes(one.state))) event.preventDefault();
  });
  return h("span.upload-button", null, chooser, h("button.primary", { type: "button", onclick: () => chooser.click() }, icon("upload"), "Upload videos"));
}
