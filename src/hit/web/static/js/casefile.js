// A case as a person reads it: the video with its evidence, the policy's words, what it resembles, what was decided before.
import { h, put } from "./dom.js";
import { ago, moment, time } from "./format.js";
import { stage } from "./stage.js";
import { timeline } from "./timeline.js";
import { matchWords, severity, verdictBadge } from "./verdict.js";
import { onWellness, wellnessBar } from "./wellness.js";

const SEATS = { first: "First review", second: "Second review", senior: "Senior review", appeal: "Appeal" };
const KINDS = { decide: "decided", uphold: "upheld", overturn: "overturned", appeal: "appealed", reopen: "reopened", undo: "taken back" };

const seatName = (seat) => SEATS[seat] ?? seat;

/** What the policy asks. */
function policyPanel(policy) {
  const list = (title, texts) => texts?.length > 0 && [h("h3", null, title), h("ul", null, texts.map((text) => h("li", null, text)))];
  return h(
    "section.panel.policy-text",
    { "aria-label": "Policy" },
    h("header.row.between", null, h("h2", null, policy.name), h("span.quiet.small", null, `version ${policy.version}`)),
    severity(policy.severity),
    list("It means", policy.texts),
    list("But not", policy.exceptions),
    policy.note && h("p.note-text", null, policy.note),
  );
}

/** What came before, newest last. */
function historyPanel(history) {
  if (!history.length) return null;
  const item = (one) =>
    h(
      "li",
      { data: { kind: one.kind } },
      h("div.row", null, h("strong", null, `${one.seat ? `${seatName(one.seat)}: ` : ""}${KINDS[one.kind] ?? one.kind}`), one.action && verdictBadge(one.action), h("time.quiet.small", { datetime: one.at, title: moment(one.at) }, ago(one.at)), one.reviewer && h("span.quiet.small", null, `by ${one.reviewer}`)),
      one.reason && h("p.small", null, one.reason),
      one.note && h("p.small.quiet", null, one.note),
    );
  return h("section.panel", { "aria-label": "History" }, h("h2", null, "History"), h("ol.history", null, history.map(item)));
}

function matchesPanel(video, matches, seek) {
  if (!matches?.length) return null;
  const shot = (one) => h("button.shot", { type: "button", onclick: () => seek(one.time), title: `Like its picture at ${time(one.bank_time, 1)}, ${one.distance} bits apart` }, h("img", { src: `/v1/videos/${encodeURIComponent(video.video_id)}/thumbnail?t=${one.time}&size=96`, alt: "", loading: "lazy", width: 128, height: 72 }), h("span.numbers", null, time(one.time, 1)));
  return h("section.panel", { "aria-label": "Known clips" }, h("h2", null, "Like a known clip"), matches.map((one) => h("div.match", null, h("p", null, matchWords(one)), one.note && h("p.quiet.small", null, one.note), h("div.shots", null, one.frames.slice(0, 8).map(shot)))));
}

/**
 * @param {any} judged the case, as the API has it
 * @param {{seat?: string|null, side: (HTMLElement|null|false)[]}} page side: what stands beside it, first
 */
export function caseView(judged, { seat = null, side }) {
  const { video, policy, evidence } = judged;
  const inOrder = [...evidence].sort((a, b) => a.start - b.start);
  const marked = new Set(inOrder.map((one) => one.segment_id));
  const list = h("ol.evidence-list", { aria: { label: "Evidence" } });
  // whoever judges first shall not be told what a machine makes of it
  const known = seat === null || seat === "senior" || seat === "appeal";
  const lines = known ? Object.entries(judged.thresholds ?? {}).filter(([, at]) => at !== null).map(([name, at]) => ({ name, at })) : [];
  const line = timeline({ curve: judged.curve ?? [], evidence, duration: video.duration, lines, onjump: (to) => shown.seek(to) });
  const shown = stage(judged, { onmove: follow });

  function follow(at) {
    line.play(at);
    for (const [i, item] of [...list.children].entries()) item.classList.toggle("now", at >= inOrder[i].start - 0.05 && at < inOrder[i].end);
  }

  function mark(one) {
    marked.has(one.segment_id) ? marked.delete(one.segment_id) : marked.add(one.segment_id);
    draw();
  }

  function draw() {
    const focus = document.activeElement?.dataset?.evidence;
    const item = (one, i) =>
      h(
        "li",
        null,
        h("button.small.ghost.place", { type: "button", onclick: () => shown.seek(one.seek) }, h("span.numbers", null, `${time(one.start, 1)} to ${time(one.end, 1)}`)),
        h("button.small.switch", { type: "button", "aria-pressed": String(marked.has(one.segment_id)), "aria-label": `Evidence ${i + 1} counts`, data: { evidence: one.segment_id }, onclick: () => mark(one) }, "Counts"),
      );
    put(list, inOrder.map(item));
    if (focus) list.querySelector(`[data-evidence="${CSS.escape(focus)}"]`)?.focus();
  }
  draw();
  follow(shown.place());

  const element = h(
    "div.watch.case",
    null,
    h(
      "div.watch-main",
      null,
      h("header.case-head", null, h("h1", { tabindex: -1 }, video.title), h("p.quiet.small", null, seat && h("span.badge", null, seatName(seat)), " in the queue ", h("time", { datetime: judged.created_at, title: moment(judged.created_at) }, ago(judged.created_at)))),
      wellnessBar(),
      shown.element,
      line,
      inOrder.length ? h("section", { "aria-label": "Evidence" }, list) : h("p.quiet.small", null, "No stretch of it stands out."),
      matchesPanel(video, judged.matches, (to) => shown.seek(to)),
    ),
    h("aside.watch-side", null, side, policyPanel(policy), historyPanel(judged.history ?? [])),
  );
  const forget = onWellness((now) => {
    element.classList.toggle("blurred", now.blur);
    element.classList.toggle("grey", now.grey);
  });
  return {
    element,
    shown,
    close() {
      forget();
      shown.close();
    },
    title: video.title,
    /** The evidence that the reviewer lets count, in the order of time. */
    evidence: () => inOrder.filter((one) => marked.has(one.segment_id)).map((one) => one.segment_id),
    /** Let what is shown now count, or not. */
    markHere() {
      const one = shown.here();
      if (one) mark(one);
    },
  };
}
