// Whether a clip shows something or not: what labels and policies ask of whoever makes it an example.
import { h } from "./dom.js";

/**
 * @param {string} segment its id
 * @param {string} yes what is said of a clip that shows it
 * @returns {{picture: HTMLElement, choice: HTMLElement, into: (one: any) => any}} into: what is asked about, with the clip among its
 *   examples of the kind that was chosen, and no longer among the others
 */
export function exampleChoice(segment, yes) {
  const shows = /** @type {HTMLInputElement} */ (h("input", { type: "radio", name: "shows", checked: true }));
  const lacks = h("input", { type: "radio", name: "shows" });
  return {
    picture: h("img.example-poster", { src: `/v1/segments/${encodeURIComponent(segment)}/poster`, alt: "The clip", width: 160, height: 90 }),
    choice: h("fieldset.row", null, h("legend.hidden", null, "What it is an example of"), h("label.row", null, shows, yes), h("label.row", null, lacks, "It does not")),
    into(one) {
      const [into, from] = shows.checked ? ["examples_for", "examples_against"] : ["examples_against", "examples_for"];
      return { ...one, [into]: [...new Set([...one[into], segment])], [from]: one[from].filter((id) => id !== segment) };
    },
  };
}
