// Dialogs that write labels: one label, a new set, a set from a file.
import { get, put, request } from "./api.js";
import { h, icon, openDialog, toast } from "./dom.js";
import { ruleFields, setPage, setPath, write } from "./labeldata.js";

const LEAST = { percentile: 99 }; // a new label's rule
const FILE = /\.(csv|toml)$/i;
const MOST = 5_000_000; // bytes of a file

const lines = (text) => [...new Set(text.split("\n").map((one) => one.trim()).filter(Boolean))];
/** A field for lines, and what to know of it. */
const area = (id, label, value, about, rows = 3) => {
  const field = h("textarea", { rows, value: value.join("\n"), maxlength: 20_000, spellcheck: "true", "aria-describedby": `about-${id}` });
  return { field, element: h("div", null, h("label.field", null, label, field), h("p.quiet.small", { id: `about-${id}` }, about)) };
};

/** Run what a form asks for; what the server refuses is told in the form. Its last child stands below that. */
export function form(act, ...children) {
  const wrong = h("p.wrong", { role: "alert", hidden: true });
  const send = async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (button) button.disabled = true;
    try {
      await act(button?.value ?? "");
    } catch (problem) {
      wrong.textContent = [problem.message, problem.fix].filter(Boolean).join(". ");
      wrong.hidden = false;
    }
    if (button) button.disabled = false;
  };
  const last = children.pop();
  return h("form.stack", { onsubmit: send }, children, wrong, last);
}

/** Pictures of example segments; each can be taken out. */
function examples(title, ids) {
  const kept = new Set(ids);
  const one = (id) => {
    const drop = () => {
      kept.delete(id);
      item.remove();
    };
    const item = h("li", null, h("img", { src: `/v1/segments/${encodeURIComponent(id)}/poster`, alt: "", width: 96, height: 54, loading: "lazy" }), h("button.small.square", { type: "button", "aria-label": `Take out an example (${title.toLowerCase()})`, onclick: drop }, icon("close")));
    return item;
  };
  return { ids: () => [...kept], element: ids.length > 0 && h("div", null, h("span.quiet.small", null, title), h("ul.example-list", null, ids.map(one))) };
}

/**
 * Write a label, new or known, as a new draft of its set.
 * @param {string} set
 * @param {any[]} labels of the set's newest version
 * @param {any|null} label
 * @param {(answer: any) => void} ondone
 */
export function labelDialog(set, labels, label, ondone) {
  const name = h("input", { type: "text", required: true, maxlength: 200, value: label?.name ?? "", autocomplete: "off", readonly: label !== null });
  const group = h("input", { type: "text", maxlength: 200, value: label?.group ?? "", list: "label-groups", autocomplete: "off" });
  const groups = h("datalist", { id: "label-groups" }, [...new Set(labels.map((one) => one.group).filter(Boolean))].map((one) => h("option", { value: one })));
  const texts = area("texts", "Phrasings, one a line", label?.texts ?? [], "Several ways to say it; they are averaged. Empty: the name.");
  const exceptions = area("exceptions", "But not, one a line", label?.exceptions ?? [], "What fits one of these at least as well does not get the label.", 2);
  const rule = ruleFields(label?.rule ?? LEAST);
  const liked = examples("Shows it", label?.examples_for ?? []);
  const disliked = examples("Does not show it", label?.examples_against ?? []);
  const made = () => {
    const said = name.value.trim();
    const words = lines(texts.field.value);
    return {
      name: said,
      group: group.value.trim(),
      texts: words.length ? words : [said],
      exceptions: lines(exceptions.field.value),
      examples_for: liked.ids(),
      examples_against: disliked.ids(),
      rule: rule.rule(),
    };
  };
  const save = async (how) => {
    const one = made();
    if (!label && labels.some((other) => other.name === one.name)) throw new Error(`There is a label “${one.name}” already`);
    const rest = (all) => all.filter((other) => other.name !== one.name);
    const change = how === "drop" ? rest : (all) => (label ? all.map((other) => (other.name === one.name ? one : other)) : [...all, one]);
    const answer = await write(set, change);
    dialog.close();
    ondone(answer);
  };
  const body = form(
    save,
    h("div.pair", null, h("label.field", null, "Name", name), h("label.field", null, "Group", group, groups)),
    texts.element,
    exceptions.element,
    h("fieldset.field", null, h("legend.quiet.small", null, "It begins at"), rule.element),
    liked.element,
    disliked.element,
    h("div.row.end", null, label && labels.length > 1 && h("button.danger", { type: "submit", value: "drop", formnovalidate: true }, "Delete the label"), h("span.grow"), h("button.primary", { type: "submit" }, "Save as a draft")),
  );
  const dialog = openDialog(label ? `Label “${label.name}”` : "A new label", body);
  (label ? texts.field : name).focus();
}

/** "beach", "beach: a sandy beach; people at the sea", "scene/beach: ...": a label a line. */
export function parseLines(text) {
  return lines(text).map((line) => {
    const [head, ...rest] = line.split(":");
    const [name, group] = head.split("/").map((one) => one.trim()).reverse();
    const texts = rest.join(":").split(";").map((one) => one.trim()).filter(Boolean);
    return { name, group: group ?? "", texts: texts.length ? texts : [name] };
  });
}

const nameField = (value = "") => h("input", { type: "text", required: true, maxlength: 100, pattern: "[^\\/]+", title: "A name without a slash", value, autocomplete: "off" });

/** Write a set that is new. @param {string[]} taken names of sets */
export function newSetDialog(taken) {
  const name = nameField();
  const list = area("lines", "Labels, one a line", [], "After a colon: ways to say it, with semicolons between them; without one the name is what it says. Before a slash: its group.", 7);
  list.field.placeholder = "beach\nplace/forest: a forest; trees seen from within";
  list.field.required = true;
  const save = async () => {
    const said = name.value.trim();
    if (taken.includes(said)) throw new Error(`There is a set “${said}” already`);
    await put(setPath(said), { labels: parseLines(list.field.value) });
    location.assign(setPage(said));
  };
  openDialog("A new set of labels", form(save, h("label.field", null, "Name", name), list.element, h("div.row.end", null, h("button.primary", { type: "submit" }, "Write a draft"))));
  name.focus();
}

/**
 * Read a file of labels into a set, whose newest draft it replaces.
 * @param {File} file
 * @param {string|null} set null: it is asked for
 * @param {(answer: any) => void} ondone
 */
export function importDialog(file, set, ondone) {
  if (!FILE.test(file.name)) return toast("Labels are read from files that end in .csv or .toml", "bad");
  if (file.size > MOST) return toast("The file is too large for one of labels", "bad");
  const name = nameField(set ?? file.name.replace(FILE, ""));
  const type = /toml$/i.test(file.name) ? "application/toml" : "text/csv";
  const send = async () => {
    const answer = await request("POST", `${setPath(name.value.trim())}/import`, { body: new Blob([file], { type }) });
    dialog.close();
    ondone(answer);
  };
  const note = h("p.quiet.small", null, "It is written as a draft; nothing is tagged before you apply it.");
  const dialog = openDialog(`Read ${file.name}`, form(send, h("label.field", null, "Into the set", Object.assign(name, { readOnly: set !== null })), note, h("div.row.end", null, h("button.primary", { type: "submit" }, "Read it"))));
  return dialog;
}

/** A button that has a file chosen. @param {(file: File) => void} take */
export function fileButton(take) {
  const chooser = h("input", { type: "file", accept: ".csv,.toml", hidden: true, "aria-label": "A file of labels" });
  chooser.addEventListener("change", () => {
    if (chooser.files.length) take(chooser.files[0]);
    chooser.value = "";
  });
  return h("span", null, chooser, h("button", { type: "button", onclick: () => chooser.click() }, icon("upload"), "Import"));
}

/** The set that a label or an example was added to, as a note with a link. */
export const drafted = (answer) => `Draft v${answer.version} of “${answer.name}” is written; nothing is tagged before you apply it`;

export const sets = () => get("/v1/label-sets").then((answer) => answer.label_sets);
