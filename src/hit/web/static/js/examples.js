// A clip as an example of a policy: added to a new draft, which does nothing until somebody enforces it.
import { get, put as store } from "./api.js";
import { h, openDialog, stateView, toast } from "./dom.js";
import { policyPage } from "./verdict.js";

const WAYS = { examples_for: "It shows what the policy means", examples_against: "It does not, though it may look so" };

/** Ask of which policy a segment is an example, and add it. */
export async function askExample(segmentId, title) {
  const { policies } = await get("/v1/policies");
  if (!policies.length) {
    openDialog("Use as policy example", stateView("info", "No policies yet", "Write one first.", h("a.button.primary", { href: "/policies" }, "Policies")));
    return;
  }
  const which = h("select", null, policies.map((one) => h("option", { value: one.name }, one.name)));
  const way = h("select", null, Object.entries(WAYS).map(([key, label]) => h("option", { value: key }, label)));
  const wrong = h("p.wrong", { role: "alert" });
  const add = async (event) => {
    event.preventDefault();
    const path = `/v1${policyPage(which.value)}`;
    try {
      const { document } = await get(path);
      const other = way.value === "examples_for" ? "examples_against" : "examples_for";
      const kept = { ...document, [way.value]: [...new Set([...document[way.value], segmentId])], [other]: document[other].filter((one) => one !== segmentId) };
      const made = await store(path, kept);
      dialog.close();
      toast(`It is in version ${made.version} of ${made.name}, a draft`);
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  };
  const form = h("form.stack", { onsubmit: add }, h("p.quiet", null, title), h("label.field", null, "Policy", which), h("label.field", null, "The clip", way), wrong, h("div.row.end", null, h("button.primary", { type: "submit" }, "Add to a draft")));
  const dialog = openDialog("Use as policy example", form);
  which.focus();
}
