// Words that were heard and read, with those of the query marked.
import { h } from "./dom.js";

const WORD = /([\p{L}\p{N}]+)/u;
const SOURCE = { speech: "Heard", ocr: "Read", subtitles: "Subtitle", given: "Subtitle" };

// words that say too little to be marked
const PLAIN = new Set("a an and are as at be but by for from he her his i in is it its of on or she that the their they this to was we with you".split(" "));

/** What an expert's lines are called. */
export const sourceOf = (expert) => SOURCE[expert] ?? expert;

/** The text as nodes, in which words of the query stand in <mark>. */
export function marked(text, texts) {
  const wanted = new Set(texts.flatMap((one) => one.split(WORD)).map(stem).filter(Boolean));
  return text.split(WORD).map((part) => (wanted.has(stem(part)) ? h("mark", null, part) : part));
}

/** Close to what the server's search for words takes for the same word. */
function stem(word) {
  if (!WORD.test(word)) return "";
  const low = word.toLowerCase();
  if (PLAIN.has(low)) return "";
  return low.length > 4 ? low.replace(/(ing|ed|es|s)$/, "") : low.replace(/s$/, "") || low;
}
