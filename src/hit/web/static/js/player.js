// A video that plays; where the browser cannot play the file yet, it says what is being done about it.
import { follow, get, request } from "./api.js";
import { h, icon, put } from "./dom.js";
import { duration as length, percent } from "./format.js";

/**
 * @param {{id: string, at?: number, poster?: string|null, autoplay?: boolean}} given
 * @returns {{element: HTMLElement, video: HTMLVideoElement, seek: (seconds: number) => void, close: () => void}}
 */
export function player({ id, at = 0, poster = null, autoplay = false }) {
  const stream = `/v1/videos/${id}/stream`;
  const video = /** @type {HTMLVideoElement} */ (
    h("video", { controls: true, playsinline: true, preload: "metadata", poster, "aria-label": "Player" })
  );
  const note = h("div.player-note", { role: "status", hidden: true });
  const element = h("div.player", null, video, note);
  let unfollow = () => {};
  let wanted = at;
  let playing = autoplay;

  video.addEventListener("loadedmetadata", () => {
    note.hidden = true;
    if (wanted > 0) video.currentTime = Math.min(wanted, Math.max(video.duration - 0.05, 0));
    if (playing) video.play().catch(() => {}); // browsers may want a click first
  });
  video.addEventListener("error", explain);

  async function explain() {
    unfollow();
    if (!element.isConnected) return;
    try {
      await request("GET", stream, { headers: { Range: "bytes=0-0" } });
      say(icon("warning"), h("p", null, "This browser cannot play the file."), h("a.button.small", { href: stream, download: true }, "Download it"));
    } catch (problem) {
      if (problem.status === 409 && problem.body?.job) wait(problem.body.job);
      else say(icon("warning"), h("p", null, problem.message), problem.fix && h("p.small", null, problem.fix), again());
    }
  }

  function say(...what) {
    put(note, what);
    note.hidden = false;
  }

  const again = () => h("button.small", { type: "button", onclick: () => load() }, icon("retry"), "Try again");

  /** Wait for the job of this number. */
  function wait(job) {
    const bar = /** @type {HTMLProgressElement} */ (h("progress", { "aria-label": "Being prepared" }));
    const left = h("p.small.numbers", null, "");
    say(h("p", null, "This file is being prepared for the browser."), bar, left);
    const show = (told) => {
      const { done, total, eta_seconds: eta } = told.progress ?? {};
      if (total) {
        bar.max = total;
        bar.value = done;
        left.textContent = percent(done / total) + (eta ? `, ${length(eta)} left` : "");
      } else left.textContent = told.state === "queued" ? "It waits for its turn." : "";
    };
    const ended = (told) => {
      unfollow();
      if (told.state === "done") load();
      else say(icon("warning"), h("p", null, told.error ? `It could not be prepared: ${told.error}` : "It was not prepared."), again());
    };
    const look = () => get(`/v1/jobs/${job}`).then((told) => (told.ended_at ? ended(told) : show(told)));
    unfollow = follow(`/v1/jobs/${job}/events`, {
      progress: show,
      end: ended,
      error: (closed) => closed && look().catch((problem) => say(icon("warning"), h("p", null, problem.message), again())),
    });
  }

  function load() {
    note.hidden = true;
    video.src = stream;
  }
  load();

  return {
    element,
    video,
    /** Go there, and play. */
    seek(seconds, play = true) {
      wanted = seconds;
      playing = play;
      if (video.readyState < 1) return; // it goes there once it knows how long it is
      video.currentTime = seconds;
      if (play) video.play().catch(() => {});
    },
    close() {
      unfollow();
      video.pause();
      video.removeAttribute("src");
      video.load();
    },
  };
}
