// A job as a bar, until it has ended.
import { follow, get } from "./api.js";
import { h } from "./dom.js";
import { duration, percent } from "./format.js";

/**
 * @param {any} job as the API has it
 * @param {string} name what it does
 * @param {(job: any) => void} onend
 * @returns {HTMLElement}
 */
export function jobBar(job, name, onend) {
  const bar = /** @type {HTMLProgressElement} */ (h("progress", { max: 1, "aria-label": name }));
  const told = h("p.quiet.small.numbers", { role: "status" }, `${name}: waiting for its turn`);
  const show = ({ state, progress }) => {
    const part = progress.total ? Math.min(1, progress.done / progress.total) : null;
    if (part !== null) bar.value = part;
    const left = progress.eta_seconds > 0 ? `about ${duration(progress.eta_seconds)} left` : null;
    told.textContent = state === "queued" ? `${name}: waiting for its turn` : [name, part !== null && percent(part), left].filter(Boolean).join(" · ");
  };
  const end = (last) => {
    unfollow();
    onend(last);
  };
  const look = () => get(`/v1/jobs/${job.id}`).then((now) => (now.ended_at ? end(now) : show(now)));
  const unfollow = follow(`/v1/jobs/${job.id}/events`, {
    progress: show,
    end,
    error: (closed) => closed && setTimeout(() => look().catch((problem) => (told.textContent = problem.message)), 1000),
  });
  return h("div.job-bar", null, bar, told);
}
