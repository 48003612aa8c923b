// What the list of reports and the page of one call things.
import { plural } from "./format.js";

export const KINDS = { train: "Training", evaluate: "Evaluation", reproduce: "Reproduction", ablate: "Ablation" };
export const WAYS = { t2v: "text to video", v2t: "video to text" };

/** What was measured, in one line: the data's name, the split, how many. */
export function measured(one) {
  const data = one.data?.split("/").filter(Boolean).at(-1);
  const size = one.queries ? `${plural(one.queries, "caption")}, ${plural(one.videos, "clip")}` : null;
  return [data, one.split, size].filter(Boolean).join(" · ");
}
