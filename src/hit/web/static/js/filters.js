// The filter menu: it writes terms of the language of filters (docs/filters.md), one for each chip.
import { get } from "./api.js";
import { h, icon } from "./dom.js";
import { seconds } from "./format.js";
import { inQuotes, quoted } from "./query.js";

const LENGTHS = [
  ["Under 1 minute", "duration<60"],
  ["1 to 10 minutes", "duration>=60 and duration<600"],
  ["10 minutes to 1 hour", "duration>=600 and duration<3600"],
  ["1 hour and more", "duration>=3600"],
];
const AGES = [
  ["Today", 0],
  ["In the last 7 days", 7],
  ["In the last 30 days", 30],
  ["In the last year", 365],
];
const SOUND = [
  ["With sound", "audio=yes"],
  ["Without sound", "audio=no"],
];
const CODECS = ["h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "prores"];
const WORDS = 'text:" "'; // a line of two words or more
const KNOWN = new Map([...[...LENGTHS, ...SOUND].map(([label, term]) => [term, label]), [WORDS, "Has words"]]);

/** What a term's chip says. */
export function label(term) {
  const known = KNOWN.get(term);
  if (known) return known;
  const [, field, operator, value] = /^(tag|codec|added|text|duration)(=|>=|<=|:)("?.*"?)$/s.exec(term) ?? [];
  const bare = value?.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
  if (!field || / (and|or) /.test(value.startsWith('"') ? "" : value)) return term;
  if (field === "added") return `Added ${operator === "<=" ? "until" : "since"} ${bare}`;
  if (field === "duration") return `${operator === "<=" ? "At most" : "At least"} ${bare}`;
  return `${{ tag: "Tag", codec: "Codec", text: "Words" }[field]}: ${bare}`;
}

/**
 * Fill the menu.
 * @param {HTMLElement} menu
 * @param {{state: import("./query.js").State, wrong: string, add: (term: string) => void, write: (filter: string) => void}} page
 */
export async function fill(menu, page) {
  const tags = await get("/v1/tags").catch(() => ({}));
  menu.classList.add("wide");
  const names = Object.entries(tags).sort((a, b) => b[1] - a[1]);
  const select = (text, options) =>
    h(
      "label.field",
      null,
      text,
      h("select", { onchange: (event) => event.target.value && page.add(event.target.value) }, h("option", { value: "" }, "Any"), options.map(([name, term]) => h("option", { value: term }, name))),
    );
  const typed = (text, placeholder, term, list = null) => {
    const input = h("input", { type: "text", maxlength: 200, placeholder, list, autocomplete: "off" });
    const enter = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      const made = input.value.trim() && term(input.value.trim());
      if (made) page.add(made);
      else if (input.value.trim()) input.setAttribute("aria-invalid", "true");
    };
    input.addEventListener("keydown", enter);
    return h("label.field", null, text, input);
  };
  const top = names.slice(0, 8).filter(([name]) => !page.state.terms.includes(`tag=${quoted(name)}`));
  const area = writing(page);
  const length = (sign) => (text) => (Number.isNaN(seconds(text)) ? "" : `duration${sign}${text}`);
  menu.replaceChildren(
    h(
      "form",
      { onsubmit: (event) => event.preventDefault() },
      names.length > 0 && typed("Tag", "A tag, and Enter", (text) => `tag=${quoted(text)}`, "filter-tags"),
      names.length > 0 && h("datalist", { id: "filter-tags" }, names.map(([name]) => h("option", { value: name }))),
      top.length > 0 &&
        h("div.chips", null, top.map(([name, number]) => h("button.small", { type: "button", onclick: () => page.add(`tag=${quoted(name)}`) }, icon("tag"), name, h("span.quiet", null, String(number))))),
      select("Length of the video", LENGTHS),
      h("div.pair", null, typed("At least", "1:30", length(">=")), typed("At most", "2:00:00", length("<="))),
      h("div.pair", null, select("Added", AGES.map(([name, days]) => [name, `added>=${daysAgo(days)}`])), select("Codec", CODECS.map((name) => [name, `codec=${name}`]))),
      h("div.pair", null, select("Sound", SOUND), select("Words", [["Has words, heard or read", WORDS]])),
      typed("Words heard or read contain", "goal", (text) => `text:${inQuotes(text)}`),
    ),
    h(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          page.write(area.value);
        },
      },
      h("label.field", null, "In the language of filters", area),
      page.wrong && h("p.wrong", { id: "filter-wrong", role: "alert" }, page.wrong),
      h("div.row.end", null, h("button.small", { type: "submit" }, "Apply")),
    ),
  );
}

/** The field in which a filter is written out; what is wrong with it is told below it. */
function writing(page) {
  const area = h("textarea", { id: "filter-text", value: page.state.filter, spellcheck: "false", placeholder: "duration>=60 and tag in [a, b] and not path:draft", maxlength: 20000 });
  if (page.wrong) {
    area.setAttribute("aria-invalid", "true");
    area.setAttribute("aria-describedby", "filter-wrong");
    area.dataset.first = "";
  }
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    page.write(area.value);
  });
  return area;
}

function daysAgo(days) {
  const then = new Date(Date.now() - days * 86_400_000);
  return then.toISOString().slice(0, 10);
}
