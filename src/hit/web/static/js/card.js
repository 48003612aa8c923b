// A card of the grid: a hit of a search, or a video of the library.
import { h, icon } from "./dom.js";
import { marked, sourceOf } from "./evidence.js";
import { confidence, duration, percent, time } from "./format.js";
import { momentList, strip } from "./heat.js";
import { withQuery } from "./api.js";
import { scrub } from "./scrub.js";

/** Where a video's page shows a place of it, and what was asked. */
export const videoPage = (id, at, text) => withQuery(`/videos/${id}`, { t: at ? at.toFixed(3).replace(/\.?0+$/, "") : "", q: text });

/**
 * @param {Record<string, any>} hit as the API has it
 * @param {{texts: string[], byVideo: boolean, eager: boolean,
 *   onsimilar: (hit: any) => void, onexclude: (hit: any) => void, onexample: ((hit: any) => void)|null, onpolicy: ((hit: any) => void)|null, onpreview: (hit: any, at: number, from: HTMLElement) => void}} page
 */
export function hitCard(hit, page) {
  const { title, duration: length } = hit.metadata;
  const at = page.byVideo && hit.moments?.length ? hit.moments[0].seek : hit.seek;
  const asked = page.texts[0] ?? "";
  const open = h("a.card-open", { href: videoPage(hit.video_id, at, asked), data: { nav: "" } });
  const frame = thumb(hit.thumbnail_url, page.eager, h("span.stamp.numbers", null, time(at)));
  open.append(frame, h("span.hidden", null, `${title}, at ${time(at)}`));
  scrub(frame, hit.video_id, { begin: at, focus: open });
  const card = h(
    "article.card",
    { data: { clip: hit.clip_id } },
    open,
    h(
      "div.card-tools",
      null,
      tool("play", `Preview ${title}`, "Preview (space)", (event) => page.onpreview(hit, at, event.currentTarget)),
      tool("similar", `Find what is similar to ${title}`, "Find similar", () => page.onsimilar(hit)),
      tool("exclude", `Exclude what is like ${title}`, "Exclude this", () => page.onexclude(hit)),
      page.onexample && tool("tag", `Use ${title} as an example of a label`, "Use as example", () => page.onexample(hit)),
      page.onpolicy && tool("policy", `Use ${title} as an example of a policy`, "Use as policy example", () => page.onpolicy(hit)),
    ),
    h("h3.card-title", { title }, title),
    h("div.card-facts", null, sureness(hit), length ? h("span.numbers", { title: "Length of the video" }, duration(length)) : null),
  );
  if (page.byVideo && hit.curve?.length > 1) {
    const href = (seconds) => videoPage(hit.video_id, seconds, asked);
    card.append(strip({ curve: hit.curve, moments: hit.moments ?? [], duration: length ?? 0, href }));
    if (hit.moments?.length) card.append(momentList({ moments: hit.moments, href }));
  }
  if (hit.evidence.length) card.append(said(hit.evidence, page.texts));
  card.addEventListener("preview", () => page.onpreview(hit, at, open));
  return card;
}

/** A video as the library lists it. */
export function videoCard(video) {
  const open = h("a.card-open", { href: video.page_url, data: { nav: "" } });
  const frame = thumb(video.poster_url, false, video.duration ? h("span.stamp.numbers", null, time(video.duration)) : null);
  open.append(frame, h("span.hidden", null, video.title));
  if (video.status === "ready") scrub(frame, video.id, { focus: open });
  const tags = video.tags.slice(0, 3).map((name) => h("span.badge", null, name));
  return h("article.card", null, open, h("h3.card-title", { title: video.title }, video.title), tags.length ? h("div.card-facts", null, tags) : null);
}

/**
 * A moment of a video: a segment with its score.
 * @param {Record<string, any>} one as the API has it
 * @param {{onpreview?: (one: any, from: HTMLElement) => void, scored?: boolean}} [page] scored: whether the score is shown
 * @param {...any} foot what stands below it
 */
export function segmentCard(one, { onpreview, scored = true } = {}, ...foot) {
  const open = h("a.card-open", { href: videoPage(one.video_id, one.seek), data: { nav: "" } });
  const frame = thumb(one.poster_url, false, h("span.stamp.numbers", null, time(one.seek)));
  open.append(frame, h("span.hidden", null, `${one.title}, at ${time(one.seek)}`));
  scrub(frame, one.video_id, { begin: one.seek, focus: open });
  const play = onpreview && tool("play", `Preview ${one.title} at ${time(one.seek)}`, "Preview (space)", () => onpreview(one, open));
  const card = h(
    "article.card",
    { data: { segment: one.segment_id } },
    open,
    h("div.card-tools", null, play),
    h("h3.card-title", { title: one.title }, one.title),
    scored && h("div.card-facts", null, sureness(one)),
    foot,
  );
  if (onpreview) card.addEventListener("preview", () => onpreview(one, open));
  return card;
}

/** A card's place before it is there. */
export const skeletonCard = () => h("div.card.skeleton-card", { "aria-hidden": "true" }, h("div.thumb.skeleton"), h("div.line.skeleton"), h("div.line.skeleton"));

function thumb(poster, eager, ...over) {
  const picture = poster
    ? h("img", { src: poster, alt: "", width: 320, height: 180, loading: eager ? "eager" : "lazy", decoding: "async" })
    : icon("image");
  return h("div.thumb", null, picture, over);
}

const tool = (name, label, title, onclick) => h("button", { type: "button", tabindex: -1, "aria-label": label, title, onclick }, icon(name));

function sureness(hit) {
  const above = typeof hit.percentile === "number" && `above ${Number(hit.percentile.toFixed(2))} % of the background`;
  const raw = [`raw score ${hit.score.toFixed(4)}`, hit.rank && `rank ${hit.rank}`, above].filter(Boolean).join(", ");
  const sure = confidence(hit.confidence);
  if (!sure) return h("span.numbers", { title: `No confidence: not calibrated; ${raw}` }, `Score ${hit.score.toFixed(3)}`);
  const bars = [0, 1, 2, 3].map((i) => h("i", { class: i <= sure.level ? "on" : "" }));
  const told = `Confidence ${percent(hit.confidence)}; ${raw}`;
  return h("span.sure", { title: told }, h("span.meter", { "aria-hidden": "true" }, bars), sure.word, h("span.hidden", null, ` (${told})`));
}

function said(evidence, texts) {
  const lines = evidence.slice(0, 2).map((one) =>
    h("li", { title: `${sourceOf(one.expert)} at ${time(one.start, 1)}` }, `${sourceOf(one.expert)} `, h("q", null, marked(one.text, texts))),
  );
  return h("ul.said", { aria: { label: "Words that match" } }, lines);
}
