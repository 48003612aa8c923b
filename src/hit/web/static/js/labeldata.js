// Sets of labels as the API has them, and what pages say of them.
import { get, put } from "./api.js";
import { h } from "./dom.js";

const STATES = { draft: "Draft", active: "In use", retired: "Retired" };
const BADGES = { draft: "warn", active: "good", retired: "" };
const RULES = { percentile: () => 99, precision: () => 90, score: () => 0 }; // what a rule of this kind begins with, as it is shown

/** Where the API has a set, or a label of it. */
export const setPath = (name, label = null) => `/v1/label-sets/${encodeURIComponent(name)}${label === null ? "" : `/labels/${encodeURIComponent(label)}`}`;

/** Where its page is. */
export const setPage = (name, label = null) => `/tags/${encodeURIComponent(name)}${label === null ? "" : `/${encodeURIComponent(label)}`}`;

export const stateBadge = (state) => h("span.badge", { class: BADGES[state] }, STATES[state]);

/** A score short enough to be read; all its digits stand in tooltips. */
export const score = (value) => value.toFixed(3);

/** A rule in words. */
export function ruleWords(rule) {
  if (rule.percentile !== undefined) return `Above ${Number(rule.percentile.toFixed(3))} % of the background`;
  if (rule.precision !== undefined) return `Right in ${Number((rule.precision * 100).toFixed(1))} % of the answers`;
  return `From score ${score(rule.score)}`;
}

/**
 * Fields of a rule: what it goes by, and how much of that.
 * @param {Record<string, number>} rule
 * @param {Partial<typeof RULES>} [begin] with what another kind begins
 */
export function ruleFields(rule, begin = {}) {
  const values = { ...RULES, ...begin };
  const [[kind, value]] = Object.entries(rule);
  const select = h(
    "select",
    { "aria-label": "A label begins", onchange: () => show(select.value, values[select.value]()) },
    h("option", { value: "percentile" }, "Background percentile"),
    h("option", { value: "precision" }, "Precision in %"),
    h("option", { value: "score" }, "Score"),
  );
  const number = h("input", { type: "number", step: "any", required: true, "aria-label": "How much" });
  const show = (name, shown) => {
    select.value = name;
    Object.assign(number, name === "score" ? { min: "", max: "" } : { min: "0", max: "100" });
    number.value = String(Number(shown.toFixed(name === "score" ? 6 : 3)));
  };
  show(kind, kind === "precision" ? value * 100 : value);
  return {
    element: h("div.rule", null, select, number),
    /** @returns {Record<string, number>} */
    rule: () => ({ [select.value]: select.value === "precision" ? Number(number.value) / 100 : Number(number.value) }),
    /** Show another one. */
    show: (name, shown) => show(name, shown),
    kind: () => select.value,
  };
}

/** A label as it is sent: without what the server finds out by itself. */
const given = ({ name, group, texts, exceptions, examples_for, examples_against, rule }) => ({ name, group, texts, exceptions, examples_for, examples_against, rule });

/**
 * Write a new draft of a set: its newest version with some change. What others wrote meanwhile stays.
 * @param {(labels: any[]) => any[]} change
 */
export async function write(name, change) {
  const known = await get(setPath(name)).catch((problem) => {
    if (problem.status === 404) return { labels: [] };
    throw problem;
  });
  return put(setPath(name), { labels: change(known.labels.map(given)) });
}

/** The same for one label of it. @param {(label: any) => any} change */
export const writeLabel = (name, label, change) => write(name, (labels) => labels.map((one) => (one.name === label ? change(one) : one)));
