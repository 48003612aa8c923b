// The tags that labels gave a video: how sure, where in it, and why.
import { get } from "./api.js";
import { h, put } from "./dom.js";
import { confidence, percent, time } from "./format.js";
import { setPage } from "./labeldata.js";

/** What the API knows of a video's labels; none where that cannot be asked. */
export const taggedBy = (id) => get(`/v1/videos/${encodeURIComponent(id)}/tagged`).then((answer) => answer.tags);

function told(one) {
  const sure = confidence(one.confidence);
  const why = `${sure ? `Confidence ${percent(one.confidence)}; raw` : "Not calibrated; raw"} score ${one.score.toFixed(4)}, from ${one.threshold.toFixed(4)} on; ${one.label_set} version ${one.version}, model revision ${one.revision}`;
  return h("span.quiet.small", { title: why }, sure ? sure.word : `Score ${one.score.toFixed(3)}`, h("span.hidden", null, ` (${why})`));
}

/**
 * @param {HTMLElement} room
 * @param {any[]} tags
 * @param {(seconds: number) => void} seek
 * @param {(tag: any) => any} off makes what takes a tag off, if one may
 */
export function showLabelTags(room, tags, seek, off) {
  const jump = (segment) => h("li", null, h("button.moment.numbers", { type: "button", title: `${time(segment.start, 1)} to ${time(segment.end, 1)}, raw score ${segment.score.toFixed(3)}`, onclick: () => seek(segment.seek) }, time(segment.seek)));
  const row = (one) =>
    h(
      "li.label-tag",
      { data: { label: one.label } },
      h("div.row.between", null, h("a", { href: setPage(one.label_set, one.label), title: `A label of ${one.label_set}` }, one.label), h("span.row", null, told(one), off(one))),
      one.segments.length > 0 && h("ul.moments", { "aria-label": `Where: ${one.label}` }, one.segments.map(jump)),
    );
  const groups = [...new Set(tags.map((one) => one.label_set))];
  put(room, groups.map((set) => [h("h3.quiet.small", null, "By ", h("a", { href: setPage(set) }, set)), h("ul.label-tags", null, tags.filter((one) => one.label_set === set).map(row))]));
  room.hidden = !tags.length;
}
