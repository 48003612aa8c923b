// A search as the address has it, as the page has it, and as the API has it.

/**
 * @typedef {object} State
 * @property {string[]} texts the box's text first, then the others
 * @property {string[]} like moments and videos to be alike: "s:SEGMENT", "v:VIDEO", "v:VIDEO@3-8" (seconds)
 * @property {string} upload the name of a file that the page holds, which the address cannot
 * @property {string[]} not texts that hits must not show
 * @property {string[]} unlike as `like`
 * @property {string[]} terms filters that the menu made, each in the language of filters
 * @property {string} filter a filter that somebody wrote
 * @property {string} mode
 * @property {string} group
 */

const MODES = ["hybrid", "meaning", "words"];
const GROUPS = ["clip", "video"];
const LISTS = { texts: "q", like: "like", not: "not", unlike: "unlike", terms: "f" };

/** @returns {State} */
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const lists = Object.fromEntries(Object.entries(LISTS).map(([name, key]) => [name, given.getAll(key).filter((one) => one.trim())]));
  const oneOf = (key, all) => (all.includes(given.get(key)) ? given.get(key) : all[0]);
  return { ...lists, upload: given.get("upload") ?? "", filter: given.get("filter") ?? "", mode: oneOf("mode", MODES), group: oneOf("group", GROUPS) };
}

/** @param {State} state */
export function toAddress(state) {
  const told = new URLSearchParams();
  for (const [name, key] of Object.entries(LISTS)) for (const one of state[name]) told.append(key, one);
  if (state.upload) told.set("upload", state.upload);
  if (state.filter.trim()) told.set("filter", state.filter.trim());
  if (state.mode !== MODES[0]) told.set("mode", state.mode);
  if (state.group !== GROUPS[0]) told.set("group", state.group);
  const text = told.toString();
  return text ? `/?${text}` : "/";
}

/** Whether there is nothing to look for. @param {State} state */
export const isEmpty = (state) => !state.texts.length && !state.like.length && !state.upload;

/** @param {State} state @returns {Record<string, any>} what POST /v1/search takes */
export function toRequest(state) {
  const request = { mode: state.mode, group_by: state.group };
  if (state.texts.length) request.query_text = state.texts.length === 1 ? state.texts[0] : state.texts;
  if (state.like.length) request.query_video = state.like.map(example);
  if (state.not.length) request.exclude = state.not;
  if (state.unlike.length) request.exclude_videos = state.unlike.map(example);
  const filter = filterOf(state);
  if (filter) request.filter = filter;
  return request;
}

/** The other way, for saved searches. What a page cannot show (weights of levels) is left to the command line. @returns {State} */
export function fromRequest(request) {
  const list = (value) => (value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]);
  const { filter } = request;
  return {
    texts: list(request.query_text).filter((one) => one.trim()),
    like: list(request.query_video).map(named),
    upload: "",
    not: list(request.exclude),
    unlike: list(request.exclude_videos).map(named),
    terms: [],
    filter: typeof filter === "string" ? filter : filter ? JSON.stringify(filter) : "",
    mode: MODES.includes(request.mode) ? request.mode : MODES[0],
    group: GROUPS.includes(request.group_by) ? request.group_by : GROUPS[0],
  };
}

export const inQuotes = (value) => `"${value.replace(/[\\"]/g, "\\$&")}"`;

/** A value of a filter, in quotes where it needs them. */
export function quoted(value) {
  return /^[\p{L}\p{N}_.-]+$/u.test(value) && !/^(and|or|not|in)$/i.test(value) ? value : inQuotes(value);
}

/** The filter, of what the menu made and of what somebody wrote. @param {State} state @returns {string|object} */
export function filterOf(state) {
  const own = state.filter.trim();
  if (own.startsWith("{") && !state.terms.length) return JSON.parse(own);
  const parts = own ? [state.terms.length ? `(${own})` : own, ...state.terms] : state.terms;
  return parts.join(" and ");
}

function example(text) {
  const [, kind, id, start, end] = /^([sv]):([^@]+)(?:@([\d.]+)-([\d.]+))?$/.exec(text) ?? ["", "s", text];
  if (kind === "s") return { segment_id: id };
  return { video_id: id, ...(end ? { start: Number(start), end: Number(end) } : {}) };
}

function named(one) {
  if (one.segment_id) return `s:${one.segment_id}`;
  return one.end ? `v:${one.video_id}@${one.start ?? 0}-${one.end}` : `v:${one.video_id}`;
}
