// The library page: totals, the list of videos, and the model.
import { get, may, post, remove, withQuery } from "./api.js";
import { announce, byId, confirmDialog, debounce, factRows, h, icon, problemView, put, stateView, toast } from "./dom.js";
import { ago, bytes, count, duration, moment, plural } from "./format.js";
import { folderButton } from "./folders.js";
import { ended, onJob, take, watchJobs } from "./jobs.js";
import { uploadButton } from "./uploads.js";

const STATES = { ready: "Ready", indexing: "Indexing", pending: "Pending", failed: "Failed" };
const BADGES = { ready: "good", indexing: "", pending: "", failed: "bad" };
const PAGE = 30;
const PARTS = { thumbnails: "Pictures", fetched: "Copies of pictures", arrays: "Vectors", store: "Search index", database: "Records", remote: "Fetched videos", uploads: "Uploads", cache: "Previews", backups: "Copies of the records", model: "Model", logs: "Logs" };
const CHANGES = new Set(["index", "reindex", "remove"]);

const page = { admin: false, videos: [], total: 0, token: null, asked: 0, removing: new Set(), info: null };

function wanted() {
  const query = new URLSearchParams(location.search);
  const status = query.get("status") ?? "";
  return { status: status in STATES ? status : "", q: query.get("q") ?? "", sort: query.get("sort") || "added" };
}

function go(change, replace = false) {
  const { status, q, sort } = { ...wanted(), ...change };
  const url = withQuery("/library", { status, q, sort: sort === "added" ? "" : sort });
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  load();
}

// -- totals

function tile(label, value, note) {
  return h("div.panel.tile", null, h("span.quiet.small", null, label), h("strong", null, value), h("span.quiet.small", null, note));
}

function storage(sizes) {
  const parts = Object.entries(sizes).filter(([name, size]) => name !== "all" && size > 0).sort((a, b) => b[1] - a[1]);
  const rest = sizes.all - parts.reduce((sum, [, size]) => sum + size, 0);
  if (rest > sizes.all * 0.005) parts.push(["Other", rest]);
  const share = (size) => `${((size / (sizes.all || 1)) * 100).toFixed(2)}%`;
  return h(
    "div.panel.tile.storage",
    null,
    h("span.quiet.small", null, "Storage"),
    h("strong", null, bytes(sizes.all)),
    h("div.bars", { "aria-hidden": "true" }, parts.map(([, size], i) => h("span", { class: `part${i % 8}`, style: { width: share(size) } }))),
    h("ul.bar-legend", null, parts.map(([name, size], i) => h("li", null, h("i", { class: `part${i % 8}` }), PARTS[name] ?? name, " ", h("span.quiet", null, bytes(size))))),
  );
}

async function totals() {
  const room = byId("totals");
  try {
    const info = await get("/v1/library");
    page.info = info;
    const videos = info.videos;
    const all = sum(videos);
    const others = ["indexing", "pending", "failed"].filter((name) => videos[name]).map((name) => `${count(videos[name])} ${name}`);
    put(
      room,
      tile("Videos", count(all), others.length ? others.join(", ") : all ? "all ready" : "none yet"),
      tile("To watch", info.seconds ? duration(info.seconds) : "0 s", all ? `${duration(info.seconds / all)} each on average` : ""),
      tile("Segments", count(info.segments), plural(info.tags, "tag")),
      storage(info.bytes),
    );
    states(videos);
  } catch (problem) {
    put(room, problemView(problem, totals));
  }
  room.setAttribute("aria-busy", "false");
}

const sum = (videos) => Object.values(videos).reduce((all, one) => all + one, 0);

function states(videos) {
  const { status } = wanted();
  const tab = (name, label, number) => h("button", { type: "button", "aria-pressed": String(status === name), onclick: () => go({ status: name }) }, label, " ", h("span.numbers", null, count(number)));
  const there = Object.keys(STATES).filter((name) => videos[name] || name === status);
  byId("states").hidden = there.length < 2 && !status; // nothing to choose
  put(byId("states"), tab("", "All", sum(videos)), there.map((name) => tab(name, STATES[name], videos[name] ?? 0)));
}

// -- videos

async function load({ more = false, quiet = false } = {}) {
  const asked = ++page.asked;
  const { status, q, sort } = wanted();
  const room = byId("list");
  if (page.info) states(page.info.videos);
  if (!more && !quiet) skeleton(room);
  const limit = quiet ? Math.min(200, Math.max(PAGE, page.videos.length)) : PAGE;
  try {
    const answer = await get(withQuery("/v1/videos", { status, q, sort, limit, page_token: more ? page.token : "" }));
    if (asked !== page.asked) return; // another question was asked meanwhile
    page.videos = more ? [...page.videos, ...answer.videos] : answer.videos;
    page.total = answer.total;
    page.token = answer.next_page_token;
    show(room);
    if (!quiet) announce(`${plural(page.total, "video")}`);
  } catch (problem) {
    if (asked === page.asked && !quiet) put(room, problemView(problem, () => load()));
  }
  if (asked === page.asked) room.setAttribute("aria-busy", "false");
}

function skeleton(room) {
  room.setAttribute("aria-busy", "true");
  if (!page.videos.length) put(room, h("div.stack", { "aria-hidden": "true" }, Array.from({ length: 4 }, () => h("div.skeleton.line"))));
}

function empty() {
  const { status, q } = wanted();
  if (q || status) return stateView("search", "No such videos", q ? `Nothing is called “${q}”${status ? ` and ${status}` : ""}.` : `No video is ${status}.`, h("button", { type: "button", onclick: () => go({ q: "", status: "" }) }, "Show all"));
  if (page.admin) return stateView("library", "No videos yet", "Drop some onto this page, upload them, or add a folder of the server.");
  return stateView("library", "No videos yet", "An administrator can add some.");
}

function show(room) {
  if (!page.videos.length) return put(room, empty());
  const focus = document.activeElement?.closest?.("tr")?.dataset.video;
  const verb = document.activeElement?.dataset?.verb;
  const failed = page.admin && wanted().status === "failed";
  const head = ["Video", "State", "Length", "Added", "Tags", page.admin && "Actions"].filter(Boolean);
  put(
    room,
    failed && h("p.row", null, h("button", { type: "button", onclick: retryAll }, icon("retry"), `Retry ${page.total > 1 ? `all ${count(page.total)}` : "it"}`)),
    h(
      "table.table.video-table",
      null,
      h("caption.hidden", null, "Videos"),
      h("thead", null, h("tr", null, head.map((name) => h("th", { scope: "col" }, name === "Actions" ? h("span.hidden", null, name) : name)))),
      h("tbody", null, page.videos.map(row)),
    ),
    h("p.row.between.small.quiet", null, `${count(page.videos.length)} of ${plural(page.total, "video")}`, page.token && h("button", { type: "button", onclick: () => load({ more: true }) }, "Show more")),
  );
  if (focus) room.querySelector(`tr[data-video="${CSS.escape(focus)}"] [data-verb="${verb ?? "open"}"]`)?.focus();
  return room;
}

function row(video) {
  const gone = page.removing.has(video.id);
  const size = [video.width && `${video.width} × ${video.height}`, video.codec, video.segments > 0 && plural(video.segments, "segment")].filter(Boolean).join(" · ");
  const picture = video.poster_url ? h("img", { src: video.poster_url, alt: "", width: 96, height: 60, loading: "lazy", decoding: "async" }) : h("span.no-poster", null, icon(video.status === "failed" ? "warning" : "image"));
  const told = video.tags.slice(0, 3);
  return h(
    "tr",
    { class: gone ? "gone" : "", data: { video: video.id, status: video.status } },
    h("td.video-cell", null, h("div", null, h("a.video-link", { href: video.page_url, data: { verb: "open" } }, picture, h("span.video-title", null, video.title)), h("p.quiet.small", null, size), video.error && h("p.wrong", null, video.error))),
    h("td", { data: { label: "State" } }, h("span.badge", { class: BADGES[video.status] }, gone ? "Removing" : STATES[video.status])),
    h("td.numbers", { data: { label: "Length" } }, video.duration === null ? "" : duration(video.duration)),
    h("td", { data: { label: "Added" } }, h("time", { datetime: video.added_at, title: moment(video.added_at) }, ago(video.added_at))),
    h("td", { data: { label: "Tags" } }, told.length ? h("span.chips", null, told.map((tag) => h("span.chip", null, h("span", null, tag))), video.tags.length > 3 && h("span.quiet.small", null, `+${video.tags.length - 3}`)) : ""),
    page.admin && h("td.actions", null, h("div.row.end", null, actions(video, gone))),
  );
}

function actions(video, gone) {
  const again = video.status === "failed";
  return [
    h("button.small", { type: "button", class: again ? "" : "ghost square", disabled: gone, "aria-label": `${again ? "Try again" : "Index anew"}: ${video.title}`, title: again ? "Look at the file again" : "Index anew", data: { verb: "again" }, onclick: () => reindex(video) }, icon("retry"), again && "Retry"),
    h("button.small.ghost.square", { type: "button", disabled: gone, "aria-label": `Remove ${video.title}`, title: "Remove", data: { verb: "remove" }, onclick: () => forget(video) }, icon("trash")),
  ];
}

async function reindex(...videos) {
  try {
    for (const video of videos) take(await post(`/v1/videos/${video.id}/reindex`));
    toast(`${videos.length === 1 ? `“${videos[0].title}” is` : `${plural(videos.length, "video")} are`} being looked at again`);
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

async function retryAll() {
  const { videos } = await get("/v1/videos?status=failed&limit=200").catch(() => page);
  reindex(...videos);
}

async function forget(video) {
  const uploaded = (video.paths ?? []).some((path) => path.includes("/uploads/"));
  const file = uploaded ? "It was uploaded, so its file is deleted, too." : "Its file stays where it is.";
  const parts = video.segments ? `${plural(video.segments, "segment")}, tags and pictures` : "tags";
  const text = `Its ${parts} are forgotten. ${file}`;
  if (!(await confirmDialog(`Remove “${video.title}”?`, text, "Remove"))) return;
  try {
    page.removing.add(video.id);
    show(byId("list"));
    take(await remove(`/v1/videos/${video.id}`));
  } catch (problem) {
    page.removing.delete(video.id);
    show(byId("list"));
    toast(problem.message, "bad");
  }
}

// -- the model

function copyable(command) {
  const code = h("code", null, command);
  const copy = h("button.small", { type: "button", onclick: () => copied(command, code) }, "Copy");
  return h("div.command.row", null, code, copy);
}

async function copied(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    getSelection()?.selectAllChildren(element); // not allowed here: then at least it is chosen
  }
}

async function model() {
  const room = byId("model");
  try {
    const { models } = await get("/v1/models");
    const now = models.find((one) => one.current);
    const rest = models.filter((one) => !one.current);
    const card = now?.card;
    const facts = now && {
      "model": card?.name ?? now.id,
      "revision": now.revision,
      "vectors": `${count(now.vectors)} of ${now.dim} numbers, ${bytes(now.bytes)}`,
      "levels": now.parts && Object.keys(now.parts).join(", "),
      "confidence": card ? (card.calibration ? "calibrated" : "not calibrated: hit calibrate does it") : null,
      "trained": card && [card.steps && `${count(card.steps)} steps`, card.seed !== null && `seed ${card.seed}`, card.commit && `commit ${card.commit.slice(0, 7)}`].filter(Boolean).join(", "),
      "sees": card && Object.keys(card.experts).join(", "),
    };
    const older = rest.map((one) => h("li", null, h("code", null, one.revision), ` ${one.id ?? ""}, ${plural(one.vectors, "vector")}, ${bytes(one.bytes)}`));
    put(
      room,
      h("header.row.between", null, h("h2", null, "Model"), h("a", { href: "/evaluations" }, "How good it is")),
      now ? h("dl.facts", null, factRows(Object.entries(facts))) : h("p.quiet", null, "There are no vectors yet."),
      rest.length > 0 && h("div", null, h("h3", null, "Kept of earlier models"), h("ul.small", null, older)),
      page.admin && h("details.swap", null, h("summary", null, "Change the model"), h("p.quiet.small", null, "All videos are embedded anew; until that is done, searches go on with the present model. On the server:"), copyable(`hit index ${page.info?.path ?? "LIB"} --model MODEL`)),
    );
    room.hidden = false;
  } catch (problem) {
    put(room, h("h2", null, "Model"), problemView(problem, model));
    room.hidden = false;
  }
}

// -- what ties it together

const refresh = debounce(() => {
  load({ quiet: true });
  totals().then(model);
}, 400);
let last = 0;

onJob((job) => {
  if (!CHANGES.has(job.kind)) return;
  if (ended(job)) {
    for (const id of job.kind === "remove" ? (job.detail.videos ?? []) : []) page.removing.delete(id);
    return refresh();
  }
  if (job.state === "running" && Date.now() - last > 3000) {
    last = Date.now();
    refresh();
  }
});

async function begin() {
  const { q, sort } = wanted();
  const text = /** @type {HTMLInputElement} */ (byId("q"));
  const order = /** @type {HTMLSelectElement} */ (byId("sort"));
  text.value = q;
  order.value = sort;
  byId("wanted").addEventListener("submit", (event) => event.preventDefault());
  text.addEventListener("input", debounce(() => go({ q: text.value.trim() }, true), 250));
  order.addEventListener("change", () => go({ sort: order.value }));
  window.addEventListener("popstate", () => {
    text.value = wanted().q;
    order.value = wanted().sort;
    load();
  });
  load();
  const first = totals();
  page.admin = await may("admin");
  if (page.admin) {
    put(byId("add"), folderButton(), uploadButton());
    byId("add").hidden = false;
    if (page.videos.length || byId("list").getAttribute("aria-busy") === "false") show(byId("list"));
  }
  await first;
  model();
  await watchJobs(page.admin);
}

begin().catch((problem) => put(byId("list"), problemView(problem, () => location.reload())));
