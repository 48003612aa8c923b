// "Use as example": a segment shows what a label means, or does not. It is written into a draft of the label's set.
import { get } from "./api.js";
import { exampleChoice } from "./choice.js";
import { h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { setPath, writeLabel } from "./labeldata.js";
import { drafted, form, sets } from "./labelform.js";

let last = { set: "", label: "" }; // what was chosen before: examples come in runs

/** @param {string} segment its id */
export async function exampleDialog(segment) {
  const room = h("div", null, h("div.skeleton.line"));
  const dialog = openDialog("Use as an example", room);
  try {
    const known = (await sets()).filter((one) => one.state !== "retired");
    if (!known.length) return put(room, stateView("tag", "No labels yet", "Write a set of labels first; then clips can be examples of them.", h("a.button", { href: "/tags" }, "Labels")));
    put(room, choosing(segment, known.map((one) => one.name), dialog));
  } catch (problem) {
    put(room, problemView(problem));
  }
  room.querySelector("select")?.focus();
}

function choosing(segment, names, dialog) {
  const option = (value) => h("option", { value }, value);
  const set = h("select", { onchange: () => fill() }, names.map(option));
  const label = h("select", { required: true });
  const { picture, choice, into } = exampleChoice(segment, "It shows this");
  const fill = async () => {
    const { labels } = await get(setPath(set.value));
    const chosen = label.value || (set.value === last.set ? last.label : ""); // by somebody who was quicker than the answer, or last time
    put(label, labels.map((one) => option(one.name)));
    if (labels.some((one) => one.name === chosen)) label.value = chosen;
  };
  if (names.includes(last.set)) set.value = last.set;
  fill().catch((problem) => toast(problem.message, "bad"));
  const save = async () => {
    last = { set: set.value, label: label.value };
    const answer = await writeLabel(last.set, last.label, into);
    dialog.close();
    toast(drafted(answer));
  };
  return form(
    save,
    picture,
    h("div.pair", null, h("label.field", null, "Set", set), h("label.field", null, "Label", label)),
    choice,
    h("div.row.end", null, h("button.primary", { type: "submit" }, icon("plus"), "Add to a draft")),
  );
}
