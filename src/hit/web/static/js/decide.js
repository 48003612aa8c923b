// The form by which somebody decides: numbered actions, a reason, a note.
import { announce, h, icon, openDialog, put } from "./dom.js";
import { VERDICTS } from "./verdict.js";

const OTHER = "Another reason";
const REASONS = {
  pass: ["It does not show what the policy means", "An exception of the policy holds", "Too little of it to act on"],
  block: ["It shows what the policy means", "It is like a known clip"],
};
const SKIPS = ["I know somebody in it", "It distresses me", "I do not understand its language", "It does not play"];

/** A list of reasons, with words of one's own. @param {string[]} reasons */
function reasonField(label, reasons) {
  const own = h("input", { type: "text", maxlength: 500, "aria-label": `${label} in your words`, placeholder: "in your words", hidden: true, autocomplete: "off" });
  const choose = h("select", { "aria-label": label, onchange: () => shown() });
  const shown = () => {
    own.hidden = choose.value !== OTHER;
    if (!own.hidden) own.focus();
  };
  const fill = (all) => put(choose, [...all, OTHER].map((one) => h("option", { value: one }, one)));
  fill(reasons);
  return {
    element: h("div.stack.tight", null, choose, own),
    focus: () => choose.focus(),
    /** Offer other reasons, but for one that was written. */
    offer(all) {
      if (choose.value === OTHER && own.value) return;
      fill(all);
      own.hidden = true;
    },
    read: () => (choose.value === OTHER ? own.value.trim() : choose.value),
    miss: () => own.focus(),
  };
}

/**
 * @param {string[]} actions as the case has them
 * @param {{onsubmit: () => void, onskip: () => void}} page
 */
export function decisionForm(actions, { onsubmit, onskip }) {
  let chosen = null;
  const group = h("div.decisions", { role: "radiogroup", "aria-label": "Decision" });
  const reason = reasonField("Reason", []);
  const note = h("textarea", { rows: 2, maxlength: 5000, placeholder: "A note, for whoever comes after you", "aria-label": "Note" });
  const wrong = h("p.wrong", { role: "alert" });
  const choose = (action) => {
    chosen = action;
    reason.offer(REASONS[action] ?? []);
    wrong.textContent = "";
    rest.hidden = false;
    draw();
  };
  const draw = () =>
    put(
      group,
      actions.map((action, i) => {
        const on = chosen === action;
        const stop = on || (chosen === null && i === 0) ? 0 : -1;
        return h("button.decision", { type: "button", role: "radio", class: action, "aria-checked": String(on), tabindex: stop, data: { action }, onclick: () => choose(action), onkeydown: (event) => arrows(event, i) }, h("kbd", { "aria-hidden": "true" }, i + 1), VERDICTS[action] ?? action, on && icon("check"));
      }),
    );
  function arrows(event, i) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (i + step + actions.length) % actions.length;
    choose(actions[next]);
    group.children[next].focus();
  }
  const rest = h("div.stack.tight", { hidden: true }, reason.element);
  draw();
  const submit = h("button.primary", { type: "submit", "aria-keyshortcuts": "Control+Enter" }, "Submit and next", h("kbd.for-keys", { "aria-hidden": "true" }, "Ctrl ↵"));
  const element = h(
    "form.panel.stack.decide",
    { "aria-label": "Decision", onsubmit: (event) => event.preventDefault() || onsubmit() },
    h("h2", null, "Does it break the policy?"),
    group,
    rest,
    note,
    wrong,
    h("div.row.between", null, h("button.ghost", { type: "button", onclick: onskip }, "Skip", h("kbd.for-keys", { "aria-hidden": "true" }, "S")), submit),
  );
  return {
    element,
    /** Choose by number, from 1. */
    choose: (number) => actions[number - 1] && (choose(actions[number - 1]), announce(`${VERDICTS[actions[number - 1]] ?? actions[number - 1]} is chosen`)),
    note: () => note.focus(),
    reason: () => (rest.hidden ? null : reason.focus()),
    /** What was decided; null, and why on the form, where something is missing. */
    read() {
      const why = chosen ? reason.read() : "";
      wrong.textContent = !chosen ? `Choose a decision first: ${actions.map((one, i) => `${i + 1} ${VERDICTS[one] ?? one}`).join(", ")}` : why ? "" : "Give a reason";
      if (chosen && !why) reason.miss();
      return chosen && why ? { action: chosen, reason: why, note: note.value.trim() || null } : null;
    },
  };
}

/** Ask why a case is skipped. @param {(reason: string) => Promise<void>} does @param {() => void} next */
export function askSkip(does, next) {
  const reason = reasonField("Reason", SKIPS);
  const wrong = h("p.wrong", { role: "alert" });
  const skip = async (event) => {
    event.preventDefault();
    const why = reason.read();
    if (!why) return reason.miss();
    try {
      await does(why);
    } catch (problem) {
      wrong.textContent = problem.message;
      return;
    }
    dialog.close(); // first: nothing behind it can have the focus
    next();
  };
  const form = h("form.stack", { onsubmit: skip }, h("p", null, "It goes back to the queue, and is not offered to you again."), reason.element, wrong, h("div.row.end", null, h("button", { type: "button", onclick: () => dialog.close() }, "Keep it"), h("button.primary", { type: "submit" }, "Skip")));
  const dialog = openDialog("Skip this case?", form);
  reason.focus();
}
