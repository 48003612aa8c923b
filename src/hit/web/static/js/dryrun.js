// What a policy would do: counts, scores, the clips nearest to its lines, and what would change.
import { segmentCard } from "./card.js";
import { h, put } from "./dom.js";
import { count, plural } from "./format.js";
import { histogram, shares, verdictBadge } from "./verdict.js";

const FIRST = 12; // changes that are shown at once

const all = (counts) => counts.pass + counts.review + counts.block;

/** In one sentence: for dialogs. */
export function inWords(run) {
  const { pass, review, block } = run.counts;
  return `Of ${plural(all(run.counts), "video")}, ${count(pass)} would pass, ${count(review)} would go to review and ${count(block)} would be blocked${run.audit ? `; ${count(run.audit)} of those that pass would be looked at as a sample` : ""}.`;
}

/** Against the version before it, in one sentence; "" where there is none. */
export function changeInWords(run) {
  if (!run.previous) return "";
  return run.changed ? `For ${plural(run.changed, "video")} that is another verdict than version ${run.previous.version} has now.` : `No verdict is another one than version ${run.previous.version} has now.`;
}

/** A video as a card of its best evidence. */
const card = (one) => segmentCard({ ...one, seek: one.evidence[0]?.seek ?? 0, segment_id: one.evidence[0]?.segment_id ?? "" });

function row(title, note, cards) {
  return cards.length > 0 && h("section.line-side", null, h("h3", null, title, " ", h("span.quiet.small", null, note)), h("div.reel", { tabindex: 0, role: "region", "aria-label": title }, cards.map(card)));
}

function changes(run) {
  if (!run.changes.length) return null;
  const list = h("ul.change-list");
  const item = (one) => h("li", null, h("a.clip", { href: one.page_url }, one.title), h("span.row", null, one.before ? verdictBadge(one.before) : h("span.quiet.small", null, "not judged"), h("span", { "aria-label": "becomes" }, "→"), verdictBadge(one.after), h("span.quiet.small.numbers", null, one.score.toFixed(3))));
  const draw = (most) => put(list, run.changes.slice(0, most).map(item), run.changes.length > most && h("li", null, h("button.small", { type: "button", onclick: () => draw(Infinity) }, `Show all ${count(run.changes.length)}`)));
  draw(FIRST);
  const more = run.changed > run.changes.length && h("p.quiet.small", null, `The first ${count(run.changes.length)} of ${count(run.changed)}.`);
  return h("section", null, h("h3", null, "What would change"), list, more);
}

/** @param {any} run as the API answers */
export function dryRun(run) {
  const { review, block } = run.thresholds;
  const before = run.previous && h("div", null, h("h3", null, `Version ${run.previous.version} now`), shares(run.previous.counts), h("p.small", null, changeInWords(run)));
  return h(
    "div.dry-run.stack",
    null,
    h("p", null, inWords(run)),
    h("div.compare", null, h("div", null, h("h3", null, run.version ? `Version ${run.version}` : "What stands in the form"), shares(run.counts)), before),
    histogram(run.histogram, [{ name: "review", at: review }, { name: "block", at: block }]),
    row("Just over the line: block", "the least of those that would be blocked", run.block),
    row("Just over the line: review", "the least of those that would be looked at", run.review),
    row("Just under the line", "the nearest of those that would pass", run.passed),
    changes(run),
    h("p.quiet.small", null, `By the model ${run.model.id}, revision ${run.model.revision}. Nothing was written.`),
  );
}
