// The page of one video: the player, and all that follows it.
import { get, may, withQuery } from "./api.js";
import { byId, factRows, h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { day, duration, seconds, time } from "./format.js";
import { momentList, strip } from "./heat.js";
import { help, keys } from "./keys.js";
import { player } from "./player.js";
import { policyExample } from "./policyexample.js";
import { exampleDialog } from "./example.js";
import { showTags } from "./tags.js";
import { showVerdicts } from "./videoverdicts.js";
import { showWords } from "./words.js";

const HELP = [
  ["Space K", "Play and pause"],
  ["J L", "10 seconds back and forth"],
  ["← →", "1 second back and forth"],
  [", .", "One picture back and forth"],
  ["[ ]", "The moment before and after"],
  ["M F", "Mute; full screen"],
  ["/", "Find in this video"],
  ["?", "These keys"],
];
const CLIP = 12; // seconds of a clip, where no moment says how long it is

const page = byId("video");
const id = page.dataset.id ?? "";
const path = `/v1/videos/${encodeURIComponent(id)}`;
const given = new URLSearchParams(location.search);
const box = /** @type {HTMLInputElement} */ (byId("q"));

/** What there is to know, as it comes. */
const known = { video: null, segments: [], moments: [], shown: null, timeline: null, asked: 0 };

async function begin() {
  box.value = given.get("q") ?? "";
  try {
    known.video = await get(path);
  } catch (problem) {
    put(byId("main"), problemView(problem, () => location.reload()));
    return;
  }
  const video = known.video;
  document.title = `${video.title} · HiT`;
  put(byId("title"), video.title);
  showStage(video);
  showFacts(video);
  showTags(byId("tags"), video, seek);
  showVerdicts(byId("verdicts"), video, seek);
  page.setAttribute("aria-busy", "false");
  await Promise.all([showSegments(), find()]);
}

function showStage(video) {
  if (video.status === "failed") {
    const more = h("a.button", { href: withQuery("/library", { status: "failed" }) }, "See it in the library");
    put(byId("stage"), stateView("warning", "This video could not be indexed", video.error ?? "", more));
    return;
  }
  if (video.status !== "ready") {
    const more = h("a.button", { href: "/library" }, "Watch the progress");
    put(byId("stage"), stateView("clock", video.status === "indexing" ? "This video is being indexed" : "This video waits to be indexed", "It can be searched as soon as that is done.", more));
    return;
  }
  const at = Number.parseFloat(given.get("t") ?? "");
  known.shown = player({ id: video.id, at: Number.isFinite(at) ? at : 0, poster: at > 0 ? null : video.poster_url, autoplay: given.has("t") });
  put(byId("stage"), known.shown.element);
  known.shown.video.addEventListener("timeupdate", follow);
  known.shown.video.addEventListener("seeked", follow);
  showActions();
}

const now = () => known.shown?.video.currentTime ?? 0;
const seek = (to) => known.shown?.seek(to);

/** Have everything on the page follow the player. */
function follow() {
  const at = now();
  known.timeline?.play(at);
  known.words?.follow(at);
  const segment = known.segments.findLastIndex((one) => at >= one.start - 0.001);
  if (segment === known.segment) return;
  known.segment = segment;
  for (const [i, item] of [...byId("segments").children].entries()) {
    const button = item.firstElementChild;
    if (i !== segment) button.removeAttribute("aria-current");
    else {
      button.setAttribute("aria-current", "true");
      const room = byId("segments");
      if (!room.matches(":hover, :focus-within")) room.scrollLeft = item.offsetLeft - room.offsetLeft - room.clientWidth / 2 + item.clientWidth / 2;
    }
  }
}

// -- what was asked: a curve over the time, and the moments

async function find() {
  const text = box.value.trim();
  const mine = ++known.asked;
  const room = byId("timeline");
  known.moments = [];
  known.timeline = null;
  if (!text || known.video.status !== "ready") {
    put(room);
    return;
  }
  put(room, h("div.heat.skeleton"));
  try {
    const { moments, curve } = await get(withQuery(`${path}/moments`, { q: text }));
    if (mine !== known.asked) return;
    const length = known.video.duration ?? 0;
    known.moments = moments;
    if (!curve.length) {
      put(room, h("p.quiet", null, "Nothing of this video can be compared with a text."));
      return;
    }
    known.timeline = strip({ curve, moments, duration: length, onjump: seek });
    put(room, known.timeline, h("div.scale.numbers", { "aria-hidden": "true" }, [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", null, time(length * part)))), momentList({ moments, onjump: seek, most: 12 }));
    known.timeline.play(now());
  } catch (problem) {
    if (mine === known.asked) put(room, problemView(problem, find));
  }
}

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  given.delete("t");
  if (box.value.trim()) given.set("q", box.value.trim());
  else given.delete("q");
  history.replaceState(null, "", withQuery(location.pathname, Object.fromEntries(given)));
  known.words?.mark([box.value]);
  await find();
  if (known.moments.length) seek(known.moments[0].seek);
});

// -- segments, and the words in them

async function showSegments() {
  const room = byId("segments");
  try {
    const { segments } = await get(`${path}/segments`);
    known.segments = segments;
    const item = (one) =>
      h(
        "li",
        null,
        h(
          "button",
          { type: "button", onclick: () => seek(one.start) },
          h("span.thumb", null, one.poster_url ? h("img", { src: one.poster_url, alt: "", loading: "lazy", width: 144, height: 81 }) : icon("image")),
          h("span.numbers", null, h("span.hidden", null, "Segment "), `${time(one.start)} – ${time(one.end)}`),
        ),
      );
    put(room, segments.map(item));
    room.closest("section").hidden = !segments.length;
    known.words = showWords(segments, { texts: [box.value], seek });
    follow();
  } catch (problem) {
    put(room, h("li", null, problemView(problem, showSegments)));
  }
}

// -- what one can do

/** The stretch that is meant: the moment or the segment that the player is in. */
function here() {
  const at = now();
  const inside = (one) => at >= one.start - 0.05 && at < one.end;
  const found = known.moments.find(inside) ?? known.segments.find(inside);
  const end = known.video.duration ?? at + CLIP;
  return found ? { start: found.start, end: found.end } : { start: at, end: Math.min(at + CLIP, end) };
}

async function showActions() {
  const button = (sign, text, onclick) => h("button.small", { type: "button", onclick }, icon(sign), text);
  put(byId("actions"), button("similar", "Find similar", similar), (await may("senior")) && button("tag", "Use as example", () => segmentHere() && exampleDialog(segmentHere().id)), (await may("senior")) && button("policy", "Policy example", () => segmentHere() && policyExample(segmentHere().id)), button("download", "Clip", clip), button("link", "Copy link", copy), h("button.ghost.small.square.for-keys", { type: "button", "aria-label": "Keys", title: "Keys (?)", onclick: () => help(HELP) }, icon("keyboard")));
}

/** The segment that the player is in. */
const segmentHere = () => known.segments.find((one) => now() >= one.start - 0.05 && now() < one.end) ?? known.segments[0];

function similar() {
  const segment = segmentHere();
  location.assign(withQuery("/", { like: segment ? `s:${segment.id}` : `v:${id}` }));
}

async function copy() {
  const link = new URL(withQuery(location.pathname, { t: now() >= 0.1 ? now().toFixed(1) : "", q: box.value.trim() }), location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    toast("The link is on the clipboard");
  } catch {
    const field = h("input", { type: "text", readonly: true, value: link, "aria-label": "Link", onfocus: () => field.select() });
    openDialog("Link to this moment", h("div.stack", null, field)); // where the browser keeps the clipboard to itself
    field.focus();
  }
}

function clip() {
  const { start, end } = here();
  const from = h("input", { type: "text", value: time(start, 1), inputmode: "decimal" });
  const to = h("input", { type: "text", value: time(end, 1), inputmode: "decimal" });
  const wrong = h("p.wrong", { role: "alert" });
  const save = (event) => {
    event.preventDefault();
    const [a, b] = [seconds(from.value), seconds(to.value)];
    if (!(a < b)) {
      wrong.textContent = "Give two times such as 0:05 and 1:02.5, the first one first";
      return;
    }
    const link = h("a", { href: withQuery(`${path}/clip`, { start: a, end: b }), download: "" });
    document.body.append(link);
    link.click();
    link.remove();
    dialog.close();
  };
  const pair = h("div.pair", null, h("label.field", null, "From", from), h("label.field", null, "To", to));
  const note = h("p.quiet.small", null, "It is cut without a loss, and so may begin a little earlier: at a whole picture.");
  const buttons = h("div.row.end", null, h("button.primary", { type: "submit" }, icon("download"), "Download"));
  const dialog = openDialog("Download a clip", h("form.clip-form", { onsubmit: save }, pair, wrong, note, buttons));
}

async function showFacts(video) {
  const facts = [
    ["Length", duration(video.duration)],
    ["Picture", video.width ? `${video.width} × ${video.height}${video.rate ? `, ${Number(video.rate.toFixed(2))} a second` : ""}` : null],
    ["Codec", video.codec],
    ["Sound", video.has_audio === null ? null : video.has_audio ? "yes" : "none"],
    ["Added", day(video.added_at)],
    ["Segments", String(video.segments)],
    ["Model revision", video.revision && h("code", null, video.revision)],
    ["Id", h("code", null, video.id)],
  ];
  if (await may("admin")) for (const one of video.paths ?? []) facts.push(["File", h("code", null, one)]);
  put(byId("facts"), factRows(facts));
}

// -- keys

const jump = (by) => () => known.shown && seekQuietly(now() + by);
function seekQuietly(to) {
  const { video } = known.shown;
  video.currentTime = Math.min(Math.max(to, 0), video.duration || to);
}
function toggle() {
  const video = known.shown?.video;
  if (!video) return false;
  if (video.paused) video.play().catch(() => {});
  else video.pause();
}
function frame(way) {
  return () => {
    known.shown?.video.pause();
    jump(way / (known.video?.rate || 25))();
  };
}
function moment(way) {
  return () => {
    const times = known.moments.map((one) => one.seek).sort((a, b) => a - b);
    const to = way > 0 ? times.find((one) => one > now() + 0.25) : times.findLast((one) => one < now() - 0.75);
    if (to !== undefined) seek(to);
  };
}
const mute = () => known.shown && (known.shown.video.muted = !known.shown.video.muted);
function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else known.shown?.video.requestFullscreen?.().catch(() => {});
}
const space = (event) => (event.target instanceof Element && event.target.closest("button, a, input, summary") ? false : toggle());
const arrow = (by) => (event) => (event.target instanceof Element && event.target.closest(".strip, .lines") ? false : jump(by)());

keys({
  " ": space,
  k: toggle,
  j: jump(-10),
  l: jump(10),
  ArrowLeft: arrow(-1),
  ArrowRight: arrow(1),
  ",": frame(-1),
  ".": frame(1),
  "[": moment(-1),
  "]": moment(1),
  m: mute,
  f: fullscreen,
  "/": () => box.select(),
  "?": () => help(HELP),
});

begin();
