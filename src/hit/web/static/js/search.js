// The search page. The address holds the whole state; what is shown follows from it.
import { get, may, post, request, withQuery } from "./api.js";
import { hitCard, skeletonCard, videoCard, videoPage } from "./card.js";
import { announce, byId, h, icon, problemView, put, stateView, toast } from "./dom.js";
import { exampleDialog } from "./example.js";
import { fill as fillFilters, label } from "./filters.js";
import { confidence, plural } from "./format.js";
import { pictureOf, takeFiles } from "./inputs.js";
import { cardStops, help, keys, step } from "./keys.js";
import { choice, menu } from "./menus.js";
import { policyExample } from "./policyexample.js";
import { preview } from "./preview.js";
import { filterOf, fromAddress, fromRequest, isEmpty, toAddress, toRequest } from "./query.js";
import { fill as fillSaved } from "./saved.js";

const PAGE = 24;
const HELP = [
  ["/", "Go to the search box"],
  ["← ↑ ↓ →", "Move through the results"],
  ["Enter", "Open the video at the moment"],
  ["Space", "Preview the moment"],
  ["Shift ← →", "Scrub through the video of the card"],
  ["Esc", "Close what is open"],
  ["?", "These keys"],
];

let state = fromAddress(location.search);
/** What was searched by files stays while the page is open. @type {Map<string, File>} */
const files = new Map();
/** The search that counts: what an earlier one brings later is dropped. */
let current = begun();
let wrongFilter = "";
let writes = false; // may write labels and policies

const box = /** @type {HTMLInputElement} */ (byId("q"));
const grid = byId("grid");
const more = /** @type {HTMLButtonElement} */ (byId("more"));

/** A search of which nothing has come yet. */
function begun() {
  return { control: new AbortController(), token: null, hits: [], threshold: null, nothing: false, weak: false, good: 0 };
}

/** Search for something else, and keep it in the history. */
function go(change) {
  state = { ...state, ...change };
  const address = toAddress(state);
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  show();
}

/** Show the state: the form first, then what is found. */
function show() {
  box.value = state.texts[0] ?? "";
  showMode(state.mode);
  showGroup(state.group);
  showChips();
  const empty = isEmpty(state);
  byId("search").classList.toggle("start", empty);
  document.title = `${state.texts[0] ? `${state.texts[0]} · ` : ""}${empty ? "Search · " : ""}HiT`;
  byId("examples").hidden = !empty;
  current.control.abort();
  current = begun();
  more.hidden = true;
  put(byId("notice"));
  if (empty) return start(current);
  return find(current);
}

async function find(mine) {
  byId("results").setAttribute("aria-busy", "true");
  if (grid.querySelector(".card:not(.skeleton-card)") && !grid.dataset.start) grid.classList.add("stale");
  else put(grid, Array.from({ length: 12 }, skeletonCard));
  put(byId("summary"));
  try {
    const answer = await ask(mine);
    if (mine !== current) return;
    delete grid.dataset.start;
    put(grid);
    take(mine, answer);
    if (!mine.hits.length) put(grid, nothingFound());
    announce(mine.hits.length ? `${plural(mine.hits.length, "result")}${mine.nothing ? ", but none fits well" : ""}` : "Nothing was found");
  } catch (problem) {
    if (mine !== current || problem.name === "AbortError") return;
    failed(problem);
  } finally {
    if (mine === current) {
      grid.classList.remove("stale");
      byId("results").setAttribute("aria-busy", "false");
    }
  }
}

/** Ask for the next page of a search. */
function ask(mine) {
  const asked = { ...toRequest(state), limit: PAGE, ...(mine.token ? { page_token: mine.token } : {}) };
  const options = { signal: mine.control.signal, onWait: (seconds) => mine === current && busy(seconds) };
  if (!state.upload) return post("/v1/search", asked, options);
  const file = files.get(state.upload);
  if (!file) throw Object.assign(new Error("gone"), { title: "The file is not here any more", detail: `“${state.upload}” was on your computer only: drop it here again, or take it out of the search.` });
  const form = new FormData();
  form.append("request", JSON.stringify(asked));
  form.append("file", file, file.name);
  return request("POST", "/v1/search/upload", { ...options, body: form });
}

function busy(seconds) {
  put(byId("notice"), h("p.note", { role: "status" }, icon("clock"), `The server is busy; asking again in ${Math.ceil(seconds)} s.`));
}

/** Add a page of hits to the grid. */
function take(mine, answer) {
  const eager = mine.hits.length ? 0 : 8;
  mine.threshold = answer.threshold;
  mine.nothing = answer.no_good_match === true;
  mine.token = answer.next_page_token;
  const fresh = answer.hits;
  const weak = (hit) => mine.threshold !== null && hit.confidence !== null && hit.confidence < mine.threshold && !hit.evidence.length;
  const page = { texts: state.texts, byVideo: state.group === "video", onsimilar, onexclude, onpreview, onexample: writes ? onexample : null, onpolicy: writes ? onpolicy : null };
  grid.append(...fresh.map((hit, i) => hitCard(hit, { ...page, eager: i < eager })));
  mine.hits.push(...fresh);
  drawLine(mine.hits.findLastIndex((hit) => !weak(hit)) + 1, mine);
  put(byId("notice"), mine.nothing && mine.hits.length > 0 && h("p.note", { role: "status" }, icon("info"), "Nothing here seems to match. This is what comes nearest."));
  summary(mine, answer.model);
  more.hidden = !mine.token;
  if (mine.token) near.observe(more);
}

/** The line below which nothing is thought to match: after the last hit that may. */
function drawLine(first, mine) {
  grid.querySelector(".below")?.remove();
  mine.weak = mine.nothing || first < mine.hits.length;
  mine.good = first;
  if (mine.nothing || first >= mine.hits.length) return;
  const cards = grid.querySelectorAll(".card");
  cards[first]?.before(h("p.below", { role: "note", title: `Confidence below ${mine.threshold.toFixed(2)}` }, "Below here we think nothing matches"));
}

function summary(mine, model) {
  const noun = state.group === "video" ? "video" : "moment";
  const lined = mine.weak && !mine.nothing;
  const number = lined ? `${plural(mine.good, noun)} that may match` : `${plural(mine.hits.length, noun)}${mine.token ? " so far" : ""}`;
  const sure = mine.hits.some((hit) => confidence(hit.confidence)) ? "" : ", not calibrated";
  const told = `Found by the model ${model.id}, revision ${model.revision}${sure}`;
  put(byId("summary"), mine.hits.length > 0 && h("p.quiet.small", null, number), h("p.quiet.small.clip", { title: told }, `${model.id} · ${model.revision}`));
}

function failed(problem) {
  const title = problem.title ?? "";
  if (title.startsWith("the filter")) {
    wrongFilter = `${problem.detail}${problem.fix ? `; ${problem.fix}` : ""}`;
    filters.show();
  }
  put(byId("summary"));
  put(grid, problem.title === "the library" && /no videos/.test(problem.detail) ? nothingHere() : problemView(problem, () => show()));
  announce(problem.message ?? title);
}

const nothingHere = () => stateView("library", "The library is empty", "Add videos, and then search what happens in them.", h("a.button.primary", { href: "/library" }, icon("plus"), "Add videos"));

function nothingFound() {
  const narrowed = state.terms.length || state.filter;
  const text = narrowed ? "No video goes through the filter." : state.mode === "words" ? "These words are neither spoken nor shown, nor in names or tags." : "Everything that came near is excluded.";
  const act = narrowed
    ? h("button", { type: "button", onclick: () => go({ terms: [], filter: "" }) }, "Search without filters")
    : state.mode === "words" && h("button", { type: "button", onclick: () => go({ mode: "hybrid" }) }, "Search by meaning too");
  return stateView("search", "Nothing was found", text, act);
}

// -- the start: examples, and what came last

async function start(mine) {
  put(byId("summary"));
  if (!grid.dataset.start) put(grid, Array.from({ length: 8 }, skeletonCard));
  grid.dataset.start = "yes";
  try {
    const { signal } = mine.control;
    const filter = filterOf(state);
    const path = withQuery("/v1/videos", { status: "ready", limit: 24, filter: typeof filter === "string" ? filter : "" });
    const asked = [path, "/v1/tags", "/v1/searches"].map((one) => get(one, { signal }));
    const [{ videos, total }, tags, { searches }] = await Promise.all(asked);
    if (mine !== current) return;
    put(grid, total ? videos.map(videoCard) : filter ? nothingFound() : nothingHere());
    const all = h("a.small", { href: "/library" }, filter ? "All videos" : `All ${plural(total, "video")}`);
    put(byId("summary"), total > 0 && [h("h2", null, filter ? `${plural(total, "video")} that fit` : "Recently added"), all]);
    examples(total, tags, searches);
  } catch (problem) {
    if (mine === current && problem.name !== "AbortError") failed(problem);
  }
}

function examples(total, tags, searches) {
  const names = Object.entries(tags).sort((a, b) => b[1] - a[1]).slice(0, 4);
  const texts = ["someone walks through the picture", "a car drives by", "hands that make a sign", "a red ball that bounces"];
  const own = searches.filter((one) => one.query).slice(0, 4);
  const buttons = [
    ...own.map((one) => h("button.chip", { type: "button", onclick: () => go(fromRequest(one.query)) }, icon("star"), one.name)),
    ...texts.slice(own.length).map((text) => h("button.chip", { type: "button", onclick: () => go({ texts: [text] }) }, icon("search"), text)),
    ...names.map(([name]) => h("button.chip", { type: "button", onclick: () => go({ texts: [name], mode: "words" }) }, icon("tag"), name)),
  ];
  put(byId("examples"), total > 0 && h("div.chips", null, buttons));
}

// -- chips

function chip(kind, text, drop, { image = null, sign = null } = {}) {
  const picture = image ? h("img", { src: image, alt: "" }) : icon(sign);
  return h("span.chip", { class: kind }, picture, h("span", { title: text }, text), h("button", { type: "button", "aria-label": `Take out: ${text}`, onclick: drop }, icon("close")));
}

function showChips() {
  const without = (name, i) => () => go({ [name]: state[name].filter((_, j) => j !== i) });
  const file = files.get(state.upload);
  put(
    byId("chips"),
    state.texts.slice(1).map((text, i) => chip("on", text, without("texts", i + 1), { sign: "search" })),
    state.upload && chip("on", state.upload, () => go({ upload: "" }), { sign: "image", image: file && pictureOf(file) }),
    state.like.map((one, i) => chip("on", one.startsWith("v:") ? "Like this video" : "Like this moment", without("like", i), { sign: "similar", image: poster(one) })),
    state.not.map((text, i) => chip("not", `Not: ${text}`, without("not", i), { sign: "exclude" })),
    state.unlike.map((one, i) => chip("not", "Not like this", without("unlike", i), { sign: "exclude", image: poster(one) })),
    state.terms.map((term, i) => chip("", label(term), without("terms", i), { sign: "filter" })),
    state.filter && chip("", state.filter, () => go({ filter: "" }), { sign: "filter" }),
  );
}

const poster = (one) => (one.startsWith("s:") ? `/v1/segments/${encodeURIComponent(one.slice(2))}/poster` : null);

// -- what cards offer

function onsimilar(hit) {
  box.focus({ preventScroll: true });
  scrollTo({ top: 0 });
  go({ texts: [], like: [`s:${hit.clip_id}`], upload: "" });
}

function onexclude(hit) {
  const one = `s:${hit.clip_id}`;
  if (state.unlike.includes(one)) return;
  go({ unlike: [...state.unlike, one] });
  toast("What is like this is left out");
}

const onexample = (hit) => exampleDialog(hit.clip_id);
const onpolicy = (hit) => policyExample(hit.clip_id);

function onpreview(hit, at, from) {
  const { video_id: id, start, end } = hit;
  preview({ id, at, title: hit.metadata.title, start, end, href: videoPage(id, at, state.texts[0] ?? "") }, from);
}

// -- the page's controls

const showMode = choice(byId("mode"), (mode) => go({ mode }));
const showGroup = choice(byId("group"), (group) => go({ group }));

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = box.value.trim();
  go({ texts: [...(text ? [text] : []), ...state.texts.slice(1)] });
});

const filters = menu(byId("filter-button"), byId("filter-menu"), (element) => {
  const wrong = wrongFilter;
  wrongFilter = "";
  const add = (term) => {
    filters.close();
    if (!state.terms.includes(term)) go({ terms: [...state.terms, term] });
  };
  const write = (filter) => {
    filters.close();
    go({ filter: filter.trim() });
  };
  return fillFilters(element, { state, wrong, add, write });
});

const excluded = menu(byId("exclude-button"), byId("exclude-menu"), (element) => {
  const input = h("input", { type: "text", maxlength: 2000, required: true, placeholder: "a crowd", autocomplete: "off" });
  const add = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    excluded.close();
    if (!state.not.includes(text)) go({ not: [...state.not, text] });
  };
  put(element, h("form", { onsubmit: add }, h("label.field", null, "Leave out what shows", input), h("div.row.end", null, h("button.small", { type: "submit" }, "Exclude"))));
});

const saved = menu(byId("saved-button"), byId("saved-menu"), (element) => {
  const open = (asked) => {
    saved.close();
    go(asked);
  };
  return fillSaved(element, { state, open, close: () => saved.close() });
});

takeFiles((file) => {
  files.set(file.name, file);
  if (state.upload === file.name) show();
  else go({ upload: file.name });
});

async function next() {
  const mine = current;
  if (!mine.token || more.disabled) return;
  more.disabled = true;
  more.textContent = "Searching …";
  try {
    const answer = await ask(mine);
    if (mine === current) take(mine, answer);
  } catch (problem) {
    if (mine === current && problem.name !== "AbortError") toast(problem.message, "bad");
  } finally {
    more.disabled = false;
    more.textContent = "More results";
    near.unobserve(more); // it may still be in sight, which is no news
    if (mine.token) near.observe(more);
  }
}
more.addEventListener("click", next);
// below the line more comes only when it is asked for
const near = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !current.weak && next(), { rootMargin: "400px" });

cardStops(grid);
const inGrid = (event) => event.target === document.body || event.target === byId("main") || (event.target instanceof Element && event.target.matches("[data-nav]"));
const arrows = (event) => inGrid(event) && !event.shiftKey && step(grid, event.key);
keys({
  "/": () => box.select(),
  "?": () => help(HELP),
  ArrowLeft: arrows,
  ArrowRight: arrows,
  ArrowUp: arrows,
  ArrowDown: arrows,
  " ": (event) => {
    const on = event.target instanceof Element && event.target.matches("[data-nav]") && event.target.closest(".card");
    if (!on) return false;
    on.dispatchEvent(new Event("preview"));
  },
});
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && !event.defaultPrevented && step(grid, event.key)) event.preventDefault();
  if (event.key !== "Escape") return;
  event.preventDefault(); // a browser would empty the box, and what is shown would not be what it says
  box.value = state.texts[0] ?? "";
  box.blur();
});
byId("help").addEventListener("click", () => help(HELP));
window.addEventListener("popstate", () => {
  state = fromAddress(location.search);
  show();
});
window.addEventListener("online", () => grid.querySelector(".state.offline") && show());

may("senior").then((yes) => (writes = yes)).catch(() => {}); // it is known before a search is answered
show();
if (isEmpty(state) && matchMedia("(hover: hover)").matches) box.focus();
