// What the enforced policies say of a video. Where none says anything, nothing is shown.
import { get, may } from "./api.js";
import { h, icon, put } from "./dom.js";
import { time } from "./format.js";
import { matchWords, places, policyPage, verdictBadge } from "./verdict.js";

/** @param {HTMLElement} room @param {any} video @param {(seconds: number) => void} seek */
export async function showVerdicts(room, video, seek) {
  const [{ verdicts }, admin] = await Promise.all([get(`/v1/videos/${encodeURIComponent(video.id)}/verdicts`), may("admin")]);
  const place = (one) => h("button.moment.numbers", { type: "button", title: `raw score ${one.score.toFixed(3)}`, onclick: () => seek(one.seek) }, time(one.seek));
  const item = (one) =>
    h(
      "li",
      { data: { policy: one.policy } },
      h("div.row.between", null, h("a", { href: policyPage(one.policy) }, one.policy), h("span.row", null, h("span.quiet.small.numbers", { title: `raw score, version ${one.version}` }, one.score.toFixed(3)), verdictBadge(one.verdict))),
      one.evidence.length > 0 && places(one.evidence, place),
      one.matches.map((match) => h("p.small.wrong", null, matchWords(match))),
    );
  const bank = admin && h("a.small.row", { href: `/policies/bank?video=${encodeURIComponent(video.id)}` }, icon("plus"), "Add to the block bank");
  put(room, h("ul.own-verdicts", null, verdicts.map(item)), bank);
  room.closest("section").hidden = !verdicts.length && !bank;
}
