// "Use as example": a segment shows what a label means, or does not. It is written into a draft of the label's set.
import { get } from "./api.js";
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
  const shows = h("input", { type: "radio", name: "shows", checked: true });
  const lacks = h("input", { type: "radio", name: "shows" });
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
    const [into, from] = shows.checked ? ["examples_for", "examples_against"] : ["examples_against", "examples_for"];
    const change = (one) => ({ ...one, [into]: [...new Set([...one[into], segment])], [from]: one[from].filter((id) => id !== segment) });
    const answer = await writeLabel(last.set, last.label, change);
    dialog.close();
    toast(drafted(answer));
  };
  const picture = h("img.example-poster", { src: `/v1/segments/${encodeURIComponent(segment)}/poster`, alt: "The clip", width: 160, height: 90 });
  return form(
    save,
    picture,
    h("div.pair", null, h("label.field", null, "Set", set), h("label.field", null, "Label", label)),
    h("fieldset.row", null, h("legend.hidden", null, "What it is an example of"), h("label.row", null, shows, "It shows this"), h("label.row", null, lacks, "It does not")),
    h("div.row.end", null, h("button.primary", { type: "submit" }, icon("plus"), "Add to a draft")),
  );
}
