// A policy as a form: its document in, what stands in the fields out.
import { get } from "./api.js";
import { h, icon, put } from "./dom.js";
import { linesOf, SEVERITY } from "./verdict.js";

const RULES = {
  percentile: { label: "Percentile of the background", low: 50, high: 100, step: "any", usual: 99.5 },
  precision: { label: "Precision by decisions so far, %", low: 1, high: 100, step: "any", usual: 90 },
  score: { label: "Raw score", low: null, high: null, step: "any", usual: 0 },
};
const SHARE = 100; // precision is a share in the document, per cent in the field

/** A rule for a threshold: which kind, and its number. */
function ruleField(name, rule, none) {
  const [kind, value] = Object.entries(rule ?? {})[0] ?? ["", null];
  const choose = h("select", { "aria-label": `${name}: how the line is found` }, none && h("option", { value: "" }, none), Object.entries(RULES).map(([one, { label }]) => h("option", { value: one }, label)));
  choose.value = kind;
  const number = h("input", { type: "number", required: true, "aria-label": `${name}: the number`, step: "any" });
  const shown = (one, given) => (one === "precision" ? Number((given * SHARE).toFixed(6)) : given);
  const limits = () => {
    const rules = RULES[choose.value];
    number.hidden = number.disabled = !rules;
    for (const [side, bound] of [["min", rules?.low], ["max", rules?.high]]) bound === null || bound === undefined ? number.removeAttribute(side) : number.setAttribute(side, bound);
  };
  if (value !== null) number.value = shown(kind, value);
  choose.addEventListener("change", () => {
    number.value = RULES[choose.value]?.usual ?? "";
    limits();
  });
  limits();
  const element = h("fieldset.rule", null, h("legend", null, name), h("div.row", null, choose, number));
  const read = () => (choose.value ? { [choose.value]: choose.value === "precision" ? number.valueAsNumber / SHARE : number.valueAsNumber } : null);
  return { element, read };
}

/** Example clips, each with what it shows and a button that takes it out. */
function examples(title, given, empty, onchange) {
  let ids = [...given];
  const list = h("ul.examples-of");
  const take = (id) => {
    ids = ids.filter((one) => one !== id);
    draw();
    onchange();
  };
  const draw = () => put(list, ids.length ? ids.map(item) : h("li.quiet.small", null, empty));
  const item = (id) => {
    const link = h("a", { href: "#", "aria-label": "Open the clip" }, h("img", { src: `/v1/segments/${encodeURIComponent(id)}/poster`, alt: "", width: 128, height: 72, loading: "lazy" }));
    get(`/v1/segments/${encodeURIComponent(id)}`).then((segment) => link.setAttribute("href", `/videos/${segment.video_id}?t=${segment.seek.toFixed(2)}`)).catch(() => link.removeAttribute("href")); // of a video that is gone
    return h("li", { data: { segment: id } }, link, h("button.small.ghost.square", { type: "button", "aria-label": "Take out this example", title: "Take out", onclick: () => take(id) }, icon("close")));
  };
  draw();
  return { element: h("div", null, h("h3", null, title), list), read: () => ids };
}

const area = (value, rows, label) => h("textarea", { value: value.join("\n"), rows, maxlength: 50_000, "aria-label": label });
const field = (label, input, note) => h("label.field", null, label, input, note && h("span.quiet.small", null, note));

/**
 * @param {any} document of the API
 * @param {{locked: boolean, onchange: () => void}} page locked: nothing may be changed
 * @returns {{element: HTMLElement, read: () => any, valid: () => boolean}}
 */
export function policyForm(document, { locked, onchange }) {
  const texts = area(document.texts, 4);
  const exceptions = area(document.exceptions, 3);
  texts.required = true;
  const review = ruleField("To review", document.review, null);
  const block = ruleField("Block", document.block, "Never by itself");
  const liked = examples("Examples of it", document.examples_for, "None. Search for some, and choose “Use as example” at a clip.", onchange);
  const disliked = examples("Examples of what it is not", document.examples_against, "None", onchange);
  const pick = (value, options) => h("select", null, options.map(([one, label]) => h("option", { value: one, selected: one === value }, label)));
  const level = pick(document.severity, SEVERITY.slice(1).map((word, i) => [i + 1, `${i + 1} · ${word}`]));
  const reviewers = pick(document.reviewers, [[1, "One reviewer"], [2, "Two, who do not see each other's word"]]);
  const audit = h("input", { type: "number", min: 0, max: 100, step: "any", required: true, value: Number((document.audit_share * SHARE).toFixed(6)) });
  const window_ = h("input", { type: "number", min: 0, step: "any", value: document.window ?? "", placeholder: "each segment by itself" });
  const least = h("input", { type: "number", min: 0, step: "any", required: true, value: document.min_duration });
  const scope = h("input", { type: "text", maxlength: 4000, value: document.scope, placeholder: "all videos; or: tag=upload and duration<600", autocomplete: "off", spellcheck: "false" });
  const bank = h("input", { type: "checkbox", checked: document.bank });
  const note = h("textarea", { rows: 3, maxlength: 20_000, value: document.note });
  const form = h(
    "form.policy-form",
    { onsubmit: (event) => event.preventDefault() },
    h(
      "section.panel.stack",
      null,
      h("h2", null, "What it means"),
      field("What it looks for: each line another way to say it", texts),
      field("But not: what fits one of these lines better is left alone", exceptions),
      h("div.pair", null, liked.element, disliked.element),
      field("Note for reviewers", note),
    ),
    h(
      "section.panel.stack",
      null,
      h("h2", null, "Where the lines are"),
      h("p.quiet.small", null, "A percentile of 99 means: 99 of 100 clips taken at random score less."),
      review.element,
      block.element,
      h("div.pair", null, field("Averaged over, seconds", window_), field("For at least, seconds in all", least)),
      h("label.row.small", null, bank, "What is like a clip of the block bank counts too"),
    ),
    h(
      "section.panel.stack",
      null,
      h("h2", null, "Who looks at it"),
      h("div.pair", null, field("Severity", level), field("Reviewers", reviewers)),
      h("div.pair", null, field("Passes that are looked at all the same, per cent", audit), field("Only videos of this filter", scope)),
    ),
  );
  if (locked) for (const one of form.querySelectorAll("input, select, textarea, button")) one.disabled = true;
  form.addEventListener("input", onchange);
  form.addEventListener("change", onchange);
  const read = () => ({
    ...document,
    texts: linesOf(texts.value),
    exceptions: linesOf(exceptions.value),
    examples_for: liked.read(),
    examples_against: disliked.read(),
    review: review.read(),
    block: block.read(),
    severity: Number(level.value),
    audit_share: audit.valueAsNumber / SHARE,
    window: Number.isFinite(window_.valueAsNumber) && window_.valueAsNumber > 0 ? window_.valueAsNumber : null,
    min_duration: least.valueAsNumber || 0,
    scope: scope.value.trim(),
    reviewers: Number(reviewers.value),
    bank: bank.checked,
    note: note.value,
  });
  return { element: form, read, valid: () => form.reportValidity() };
}
