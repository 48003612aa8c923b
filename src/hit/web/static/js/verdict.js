// What pages of policies and of review share: words for states and verdicts, and how much of what there is.
import { h, icon, svg } from "./dom.js";
import { count, percent, plural, time } from "./format.js";

export const STATES = { enforced: "Enforced", shadow: "Shadow", draft: "Draft", retired: "Retired" };
export const STATE_BADGES = { enforced: "good", shadow: "warn", draft: "", retired: "" };
export const VERDICTS = { pass: "Pass", review: "Review", block: "Block" };
const BADGES = { pass: "good", review: "warn", block: "bad" };
export const SEVERITY = ["", "Trivial", "Minor", "Serious", "Severe", "Grave"];

/** Lines that say something. */
export const linesOf = (text) => text.split("\n").map((one) => one.trim()).filter(Boolean);

/** Where a policy's page is; with /v1 before it, where the API has the policy. */
export const policyPage = (name) => `/policies/${encodeURIComponent(name)}`;

/** A verdict or an action as a badge. */
export const verdictBadge = (verdict) => h("span.badge", { class: BADGES[verdict] ?? "" }, VERDICTS[verdict] ?? verdict);

/** How severe, as dots and as a word. */
export const severity = (level) => h("span.severity", { title: `Severity ${level} of 5` }, h("span.dots", { "aria-hidden": "true" }, [1, 2, 3, 4, 5].map((i) => h("i", { class: i <= level ? "on" : "" }))), SEVERITY[level] ?? String(level));

/** Counts by verdict as one bar, with its numbers below. @param {{pass: number, review: number, block: number}|null} counts */
export function shares(counts) {
  if (!counts) return h("p.quiet.small", null, "Not judged yet");
  const all = Object.keys(VERDICTS).reduce((sum, name) => sum + (counts[name] ?? 0), 0);
  const parts = Object.keys(VERDICTS).filter((name) => counts[name]);
  return h(
    "div.shares",
    null,
    h("div.share-bar", { "aria-hidden": "true" }, parts.map((name) => h("span", { class: name, style: { "flex-grow": counts[name] / (all || 1) } }))),
    h("ul.share-legend", null, Object.keys(VERDICTS).map((name) => h("li", null, h("i", { class: name }), `${VERDICTS[name]} `, h("strong.numbers", null, count(counts[name] ?? 0)), all > 0 && h("span.quiet", null, ` ${percent((counts[name] ?? 0) / all)}`)))),
  );
}

/** An interval of a share: "83 % (70 to 91)"; "no figure yet" where nothing was counted. */
export function interval(one) {
  const value = one?.estimate ?? one?.rate ?? one?.share ?? null;
  if (value === null) return "no figure yet";
  return `${percent(value)} (${Math.round(one.low * 100)} to ${Math.round(one.high * 100)})`;
}

/** Where in a video: links or buttons. @param {any[]} evidence @param {(one: any) => any} link makes the element of one */
export const places = (evidence, link, most = 4) => h("span.moments.places", null, evidence.slice(0, most).map((one) => link(one)), evidence.length > most && h("span.quiet.small", null, `+${evidence.length - most}`));

/** A link to a moment of a video. */
export const momentLink = (videoId) => (one) => h("a.moment.numbers", { href: `/videos/${videoId}?t=${one.seek.toFixed(2)}`, title: `${time(one.start, 1)} to ${time(one.end, 1)}, raw score ${one.score.toFixed(3)}` }, time(one.seek));

/** What of a clip of the bank is in a video. */
export const matchWords = (match) => `${match.title || `Clip ${match.bank_id}`}: ${percent(match.share)} of its pictures, ${plural(Math.round(match.distance), "bit")} apart`;

const [WIDE, TALL] = [640, 180];

/**
 * Scores of the library and of the background, with the lines of the thresholds. Heights are square roots, so that few are seen too.
 * @param {{edges: number[], library: number[], background: number[]}} histogram
 * @param {{name: string, at: number}[]} lines
 */
export function histogram({ edges, library, background }, lines) {
  const [low, high] = [edges[0], edges.at(-1)];
  const shown = lines.filter((one) => one.at !== null && one.at !== undefined);
  const from = Math.min(low, ...shown.map((one) => one.at));
  const to = Math.max(high, ...shown.map((one) => one.at)) || 1;
  const x = (score) => ((score - from) / (to - from || 1)) * WIDE;
  const bars = (counts, name) => {
    const most = Math.sqrt(Math.max(...counts, 1));
    return counts.map((number, i) => {
      const height = (Math.sqrt(number) / most) * (TALL - 24);
      return number > 0 && svg("rect", { class: name, x: x(edges[i]), width: Math.max(x(edges[i + 1]) - x(edges[i]) - 0.5, 0.5), y: TALL - height, height });
    });
  };
  const marks = shown.map((one) => svg("line", { class: `threshold ${one.name}`, x1: x(one.at), x2: x(one.at), y1: 0, y2: TALL }));
  const told = shown.map((one) => `${one.name} from ${one.at.toFixed(3)}`).join(", ");
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img", "aria-label": `Scores from ${from.toFixed(2)} to ${to.toFixed(2)}; ${told || "no line"}` }, bars(background, "background"), bars(library, "library"), marks);
  const key = (name, text) => h("li", null, h("i", { class: name }), text);
  const rows = library.map((number, i) => (number || background[i]) && h("tr", null, h("th", { scope: "row" }, `${edges[i].toFixed(3)} to ${edges[i + 1].toFixed(3)}`), h("td", null, count(number)), h("td", null, count(background[i]))));
  return h(
    "figure.histogram",
    null,
    h("div.histogram-board", null, picture, shown.map((one) => h("span.line-name", { class: `${one.name} ${x(one.at) > WIDE * 0.85 ? "left" : x(one.at) < WIDE * 0.15 ? "right" : ""}`, style: { left: `${(x(one.at) / WIDE) * 100}%` } }, `${VERDICTS[one.name] ?? one.name} ${one.at.toFixed(3)}`))),
    h("div.row.between.quiet.small.numbers", { "aria-hidden": "true" }, h("span", null, from.toFixed(2)), h("span", null, "raw score"), h("span", null, to.toFixed(2))),
    h("ul.share-legend", null, key("library", "This library"), key("background", "What the model takes for anything"), shown.map((one) => key(`threshold ${one.name}`, `${VERDICTS[one.name]} from here`))),
    h("details.numbers-of", null, h("summary", null, "Numbers"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Scores, numbers" }, h("table.table.dense", null, h("thead", null, h("tr", null, ["Score", "Library", "Background"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, rows)))),
  );
}

/** A link that downloads. */
export const downloadLink = (href, text) => h("a.button.small", { href, download: "" }, icon("download"), text);
