// A stretch of a video as a small card, whose picture follows the pointer.
import { h, icon } from "./dom.js";
import { time } from "./format.js";
import { scrub } from "./scrub.js";

/**
 * @param {{video_id: string, title: string, poster_url?: string|null, page_url: string, seek?: number, evidence?: any[]}} card of the API
 * @param {any[]} told what is said below it
 */
export function stretchCard(card, ...told) {
  const at = card.seek ?? card.evidence?.[0]?.seek;
  const segment = card.segment_id ?? card.evidence?.[0]?.segment_id;
  const href = at === undefined ? card.page_url : `/videos/${encodeURIComponent(card.video_id)}?t=${at.toFixed(2)}`;
  const open = h("a.card-open", { href });
  const picture = segment ? `/v1/segments/${encodeURIComponent(segment)}/poster` : card.poster_url;
  const frame = h("div.thumb", null, picture ? h("img", { src: picture, alt: "", width: 320, height: 180, loading: "lazy", decoding: "async" }) : icon("image"), at !== undefined && h("span.stamp.numbers", null, time(at)));
  open.append(frame, h("span.hidden", null, `${card.title}${at === undefined ? "" : `, at ${time(at)}`}`));
  scrub(frame, card.video_id, { begin: at ?? 0, focus: open });
  return h("article.card", null, open, h("h3.card-title", { title: card.title }, card.title), told.length > 0 && h("div.card-facts", null, told));
}
