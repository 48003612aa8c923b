// Numbers as people read them.

/** Seconds as a place in a video: 0:05, 1:02:03; with `digits`, 0:05.4. */
export function time(seconds, digits = 0) {
  const unit = 10 ** digits;
  const all = Math.round(Math.max(0, seconds) * unit) / unit;
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor((all % 3600) / 60);
  const rest = (all % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** The other way: 90, "1:30", "1:02:03.4" as seconds; NaN for what is no time. */
export function seconds(text) {
  const parts = String(text).trim().split(":");
  if (parts.length > 3 || parts.some((part) => !/^\d+(\.\d+)?$/.test(part))) return Number.NaN;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** Seconds as a length: 8.4 s, 3 min 20 s, 2 h 5 min. */
export function duration(all) {
  if (all === null || all === undefined) return "unknown";
  if (all < 10) return `${all.toFixed(1)} s`;
  const whole = Math.round(all);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** 1.4 MB; powers of 1000, as the command line has them. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let step = 0;
  let left = count;
  while (left >= 999.95 && step < units.length - 1) {
    left /= 1000;
    step++;
  }
  return `${step ? left.toFixed(1) : left} ${units[step]}`;
}

const NUMBER = new Intl.NumberFormat("en");
/** 12,345 */
export const count = (number) => NUMBER.format(number);

/** "1 video", "2 videos" */
export const plural = (number, word, words = `${word}s`) => `${count(number)} ${number === 1 ? word : words}`;

const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
export const day = (iso) => DAY.format(new Date(iso));
export const moment = (iso) => MOMENT.format(new Date(iso));

const STEPS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** "3 minutes ago", "in 2 days" */
export function ago(iso, now = Date.now()) {
  const past = (new Date(iso).getTime() - now) / 1000;
  for (const [unit, length] of STEPS) {
    if (Math.abs(past) >= length) return RELATIVE.format(Math.round(past / length), unit);
  }
  return Math.abs(past) < 10 ? "just now" : RELATIVE.format(Math.round(past), "second");
}

/**
 * A calibrated probability in words: at least 0.8 very likely, 0.5 likely, 0.25 possible, else unlikely.
 * @param {number|null} probability
 * @returns {{word: string, level: number}|null} level: 3 (best) to 0; null where scores are not calibrated
 */
export function confidence(probability) {
  if (probability === null || probability === undefined) return null;
  if (probability >= 0.8) return { word: "Very likely", level: 3 };
  if (probability >= 0.5) return { word: "Likely", level: 2 };
  if (probability >= 0.25) return { word: "Possible", level: 1 };
  return { word: "Unlikely", level: 0 };
}

/** 83 %, and never 100 % or 0 % for what is not certain. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "under 1 %";
  if (share < 1 && share > 0.99) return "over 99 %";
  return `${Math.round(share * 100)} %`;
}
