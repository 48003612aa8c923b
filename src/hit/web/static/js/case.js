// One case with its whole history; for seniors, and for whoever holds or decided it.
import { get, may, post } from "./api.js";
import { caseView } from "./casefile.js";
import { byId, h, icon, openDialog, problemView, put, toast } from "./dom.js";
import { keys } from "./keys.js";
import { VERDICTS, verdictBadge } from "./verdict.js";
import { turn } from "./wellness.js";

const page = byId("case");
const path = `/v1/cases/${encodeURIComponent(page.dataset.number ?? "")}`;
let view = null;

/** Ask for a reason, and then do it. */
function ask(title, text, verb, does) {
  const reason = h("input", { type: "text", required: true, maxlength: 500, autocomplete: "off" });
  const wrong = h("p.wrong", { role: "alert" });
  const go = async (event) => {
    event.preventDefault();
    try {
      await does(reason.value.trim());
      dialog.close();
      toast("Done");
      await begin();
    } catch (problem) {
      wrong.textContent = problem.message;
    }
  };
  const dialog = openDialog(title, h("form.stack", { onsubmit: go }, h("p", null, text), h("label.field", null, "Reason", reason), wrong, h("div.row.end", null, h("button", { type: "button", onclick: () => dialog.close() }, "Keep as it is"), h("button.primary", { type: "submit" }, verb))));
  reason.focus();
}

async function golden(judged) {
  const make = (answer) => async () => {
    try {
      await post("/v1/cases/golden", { video_id: judged.video.video_id, policy: judged.policy.name, answer });
      dialog.close();
      toast("It is mixed in among the cases");
    } catch (problem) {
      toast(problem.message, "bad");
    }
  };
  const text = "A golden case has an answer that is known. It comes to reviewers among their cases, and shows how often they are right.";
  const dialog = openDialog("Use as a golden case", h("div.stack", null, h("p", null, text), h("div.row.end", null, ["pass", "block"].map((one) => h("button", { type: "button", onclick: make(one) }, `The answer is ${VERDICTS[one].toLowerCase()}`)))));
}

function acts(judged, senior) {
  const decided = judged.state === "decided";
  return h(
    "section.panel.stack",
    { "aria-label": "The case" },
    h("div.row.between", null, h("h2", null, `Case ${judged.id}`), decided ? verdictBadge(judged.outcome) : judged.state && h("span.badge", null, judged.state)),
    senior && judged.verdict && h("p.small", null, "The machine said ", verdictBadge(judged.verdict), h("span.numbers.quiet", null, ` ${judged.score.toFixed(3)}`), judged.audit && " (a sample of those that pass)"),
    h(
      "div.row",
      null,
      (decided || !judged.state) && h("button.small", { type: "button", onclick: () => ask("Appeal?", "A senior who has not decided it looks at it anew, and upholds or overturns what was decided.", "Appeal", (reason) => post(`${path}/appeal`, { reason })) }, "Appeal"),
      decided && senior && h("button.small", { type: "button", onclick: () => ask("Reopen?", "It goes back to the queue as if nobody had decided it. What was decided stays in the record.", "Reopen", (reason) => post(`${path}/reopen`, { reason })) }, icon("retry"), "Reopen"),
      senior && h("button.small", { type: "button", onclick: () => golden(judged) }, icon("star"), "Use as a golden case"),
    ),
  );
}

async function begin() {
  try {
    const [judged, senior] = await Promise.all([get(path), may("senior")]);
    view?.close();
    view = caseView(judged, { side: [acts(judged, senior)] });
    put(page, view.element);
    view.shown.begin();
    document.title = `Case ${judged.id} · HiT`;
  } catch (problem) {
    put(page, problemView(problem, begin));
  }
  page.setAttribute("aria-busy", "false");
}

const shown = (act) => () => (view ? act(view.shown) : false);
const onButton = (event) => event.target instanceof Element && Boolean(event.target.closest("button, a, input, summary"));
keys({
  k: shown((one) => one.toggle()),
  " ": (event) => (onButton(event) ? false : shown((one) => one.toggle())()),
  j: shown((one) => one.jump(-10)),
  l: shown((one) => one.jump(10)),
  ArrowLeft: shown((one) => one.jump(-1)),
  ArrowRight: shown((one) => one.jump(1)),
  ",": shown((one) => one.frame(-1)),
  ".": shown((one) => one.frame(1)),
  "[": shown((one) => one.step(-1)),
  "]": shown((one) => one.step(1)),
  b: () => turn("blur"),
  g: () => turn("grey"),
  m: () => turn("mute"),
  v: () => turn("stills"),
});
begin();
