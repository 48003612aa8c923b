// What a case shows: stills of its evidence first, and then the video, from the first evidence on.
import { h, icon } from "./dom.js";
import { time } from "./format.js";
import { player } from "./player.js";
import { onWellness, turn } from "./wellness.js";

const FRAME = 1 / 25; // seconds, where nobody says how many pictures a second has

/**
 * @param {{video: any, evidence: any[]}} judged a case as the API has it
 * @param {{onmove: (seconds: number) => void}} page told where it is shown
 */
export function stage({ video, evidence }, { onmove }) {
  const moments = [...evidence].sort((a, b) => a.start - b.start);
  const first = moments[0]?.seek ?? 0;
  const pictureOf = (one) => (one ? `/v1/segments/${encodeURIComponent(one.segment_id)}/poster` : video.poster_url);
  const shown = player({ id: video.video_id, at: first, poster: pictureOf(moments[0]) });
  const film = shown.video;
  const still = h("img.still", { src: pictureOf(moments[0]), alt: "A still of the evidence" });
  const caption = h("span.stamp.numbers");
  const play = h("button.play-still", { type: "button", "aria-label": "Play the video from here", onclick: () => move(placeOf(), true) }, icon("play"));
  const frame = h("div.still-frame", null, still, caption, play);
  const veil = h("button.small.unblur", { type: "button", onclick: () => turn("blur") }, "Blurred: show it");
  const element = h("div.case-stage", null, frame, shown.element, veil);
  let filmed = false; // whether the video is shown
  let at = 0; // the evidence that is

  const placeOf = () => (filmed ? film.currentTime : (moments[at]?.seek ?? 0));

  function showStill(number) {
    at = number;
    const one = moments[at];
    still.src = pictureOf(one) ?? "";
    caption.textContent = one ? `${time(one.seek)} · still ${at + 1} of ${moments.length}` : "still";
    onmove(one?.seek ?? 0);
  }

  function showFilm(yes) {
    filmed = yes;
    frame.hidden = yes;
    shown.element.hidden = !yes;
    if (!yes) film.pause();
  }

  /** Go there in the video, which goes on playing if it did. */
  function move(to, playing = false) {
    showFilm(true);
    const place = Math.max(0, Math.min(to, film.duration || to));
    shown.seek(place, playing || !film.paused);
    onmove(place);
  }

  film.addEventListener("timeupdate", () => filmed && onmove(film.currentTime));
  film.addEventListener("seeked", () => filmed && onmove(film.currentTime));
  showStill(0);
  let stills = null;
  const forget = onWellness((now) => {
    veil.hidden = !now.blur;
    film.muted = now.mute;
    if (stills !== now.stills) showFilm(!now.stills);
    stills = now.stills;
  });

  return {
    element,
    place: placeOf,
    playing: () => filmed && !film.paused,
    /** It is on the page now: a video that could not be loaded before says why. */
    begin: () => film.error && film.load(),
    toggle() {
      if (!filmed) move(placeOf(), true);
      else if (film.paused) film.play().catch(() => {});
      else film.pause();
    },
    jump: (by) => move(placeOf() + by),
    frame(way) {
      film.pause();
      move(placeOf() + way * FRAME);
    },
    seek: (to) => move(to),
    /** The evidence before and after. */
    step(way) {
      if (!moments.length) return;
      const now = placeOf();
      const next = !filmed ? at + way : way > 0 ? moments.findIndex((one) => one.seek > now + 0.25) : moments.findLastIndex((one) => one.seek < now - 0.75);
      if (next < 0 || next >= moments.length) return;
      if (filmed) move(moments[next].seek);
      else showStill(next);
    },
    /** The evidence that is shown, or that the player is in. */
    here: () => (filmed ? moments.find((one) => film.currentTime >= one.start - 0.05 && film.currentTime < one.end) : moments[at]) ?? null,
    close() {
      forget();
      shown.close();
    },
  };
}
