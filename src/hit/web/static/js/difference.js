// What a version of a set of labels would change: counts for each label, and clips that would be tagged or not any more.
import { h, icon, stateView } from "./dom.js";
import { segmentCard } from "./card.js";
import { count, plural } from "./format.js";
import { setPage } from "./labeldata.js";
import { previewSegment } from "./preview.js";

const SIGNS = { added: ["plus", "good", "New"], removed: ["close", "bad", "Gone"] };

function number(value, sign) {
  return h("td.number", { class: value ? sign : "quiet" }, value ? `${{ added: "+", removed: "−" }[sign]}${count(value)}` : "0");
}

function table(name, answer, version) {
  const busy = answer.labels.filter((one) => one.added || one.removed);
  const link = (one) => h("a", { href: `${setPage(name, one.name)}?version=${version}` }, one.name);
  const row = (one) =>
    h("tr", { data: { label: one.name } }, h("th", { scope: "row" }, link(one)), h("td.number", null, count(one.before)), h("td.number", null, count(one.after)), number(one.added, "added"), number(one.removed, "removed"));
  const head = ["Label", answer.before ? `Now (v${answer.before})` : "Now", "Then", "New", "Gone"];
  const rows = [...busy, ...answer.labels.filter((one) => !busy.includes(one))].map(row);
  return h(
    "div.scroll",
    { tabindex: 0, role: "region", "aria-label": "What would change" },
    h("table.table.differences", null, h("thead", null, h("tr", null, head.map((one, i) => h("th", { scope: "col", class: i ? "number" : "" }, one)))), h("tbody", null, rows)),
  );
}

function sample({ change, card }) {
  const [sign, kind, words] = SIGNS[change];
  return segmentCard(card, { onpreview: previewSegment }, h("p.card-facts", null, h("span.badge", { class: kind }, icon(sign), words)));
}

/** Clips of each label that changes; those of the first are shown at once. */
function samples(labels, all) {
  const own = (one) => all.filter((sample) => sample.label === one.name);
  const number = (one) => [one.added && `${count(one.added)} new`, one.removed && `${count(one.removed)} gone`].filter(Boolean).join(", ");
  return labels
    .filter((one) => own(one).length)
    .map((one, i) => h("details.samples", { open: i === 0 }, h("summary", null, h("strong", null, one.name), h("span.quiet", null, ` ${number(one)}`)), h("div.grid.small-grid", null, own(one).map(sample))));
}

/**
 * @param {string} name of the set
 * @param {any} answer as the API has it
 * @param {string|null} label only this one
 */
export function difference(name, answer, label = null) {
  const labels = label === null ? answer.labels : answer.labels.filter((one) => one.name === label);
  const sum = (what) => labels.reduce((all, one) => all + one[what], 0);
  const [added, removed] = [sum("added"), sum("removed")];
  const told =
    added || removed
      ? `${plural(added, "tag")} would come, ${plural(removed, "tag")} would go, ${count(sum("kept"))} would stay, in ${plural(answer.videos, "video")}.`
      : `Nothing would change: ${plural(sum("kept"), "tag")} would stay as ${sum("kept") === 1 ? "it is" : "they are"}, in ${plural(answer.videos, "video")}.`;
  if (!labels.length) return stateView("tag", "No labels", "This version has none.");
  return h(
    "div.stack",
    { data: { added, removed } },
    h("p", null, told),
    table(name, { ...answer, labels }, answer.version),
    samples(labels, answer.samples),
  );
}
