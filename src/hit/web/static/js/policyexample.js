// "Use as policy example": a clip shows what a policy means, or does not. It is written into a draft, which does nothing by itself.
import { get, put as store } from "./api.js";
import { exampleChoice } from "./choice.js";
import { h, icon, openDialog, problemView, put, stateView, toast } from "./dom.js";
import { policyPage } from "./verdict.js";

let last = ""; // the policy that was chosen before: examples come in runs

/** @param {string} segment its id */
export async function policyExample(segment) {
  const room = h("div", null, h("div.skeleton.line"));
  const dialog = openDialog("Use as policy example", room);
  try {
    const { policies } = await get("/v1/policies");
    if (!policies.length) put(room, stateView("policy", "No policies yet", "Write one first; then clips can be examples of it.", h("a.button", { href: "/policies" }, "Policies")));
    else put(room, choosing(segment, policies.map((one) => one.name), dialog));
  } catch (problem) {
    put(room, problemView(problem));
  }
  room.querySelector("select")?.focus();
}

function choosing(segment, names, dialog) {
  const which = h("select", null, names.map((one) => h("option", { value: one, selected: one === last }, one)));
  const { picture, choice, into } = exampleChoice(segment, "It breaks this policy");
  const wrong = h("p.wrong", { role: "alert" });
  const save = async (event) => {
    event.preventDefault();
    last = which.value;
    try {
      const { document } = await get(`/v1${policyPage(last)}`);
      const made = await store(`/v1${policyPage(last)}`, into(document));
      dialog.close();
      toast(`Added to version ${made.version} of ${made.name}, a draft`);
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  };
  return h(
    "form.stack",
    { onsubmit: save },
    picture,
    h("label.field", null, "Policy", which),
    choice,
    wrong,
    h("div.row.end", null, h("button.primary", { type: "submit" }, icon("plus"), "Add to a draft")),
  );
}
