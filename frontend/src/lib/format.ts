/** Numbers and times as people read them. Every page shows them through these functions. */

const MISSING = "–";

type Maybe = number | null | undefined;

// Made once: a log of 100,000 lines is formatted when it is searched, and making a formatter takes longer than using it.
const GROUPED = new Intl.NumberFormat("en-US");
const ROUNDED = new Map<number, Intl.NumberFormat>();

function rounding(digits: number): Intl.NumberFormat {
  const known = ROUNDED.get(digits);
  if (known) return known;
  const made = new Intl.NumberFormat("en-US", { maximumSignificantDigits: digits, useGrouping: false });
  ROUNDED.set(digits, made);
  return made;
}

function present(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** A loss: `0.0277`, `2.6365`, `12.34`. Four decimals, fewer from 10 on. */
export function loss(value: Maybe): string {
  if (!present(value)) return MISSING;
  return value.toFixed(Math.abs(value) >= 10 ? 2 : 4);
}

/** A whole number with thin groups: `9,768,960`. */
export function integer(value: Maybe): string {
  return present(value) ? GROUPED.format(Math.round(value)) : MISSING;
}

/** A count in few characters: `950`, `1.2 k`, `9.77 M`, `1.5 G`. */
export function compact(value: Maybe): string {
  if (!present(value)) return MISSING;
  const size = Math.abs(value);
  if (size < 1000) return significant(value, 3);
  for (const [unit, scale] of [
    ["k", 1e3],
    ["M", 1e6],
    ["G", 1e9],
    ["T", 1e12],
  ] as const) {
    if (size < scale * 999.5 || unit === "T") return `${significant(value / scale, 3)} ${unit}`;
  }
  return MISSING;
}

/** Speed: `449 tok/s`, `1.2 k tok/s`. */
export function speed(value: Maybe): string {
  return present(value) ? `${compact(value)} tok/s` : MISSING;
}

/** Bytes in powers of 1000, as disks and `droidft` itself count: `117 MB`, `1.6 GB`. */
export function bytes(value: Maybe): string {
  if (!present(value)) return MISSING;
  if (value < 1000) return `${Math.round(value)} B`;
  for (const [unit, scale] of [
    ["kB", 1e3],
    ["MB", 1e6],
    ["GB", 1e9],
    ["TB", 1e12],
  ] as const) {
    if (value < scale * 999.5 || unit === "TB") {
      const scaled = value / scale;
      return `${scaled < 9.95 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
    }
  }
  return MISSING;
}

/** A share of one as percent: `7.26 %`, `0.44 %`, `0 %`. */
export function percent(share: Maybe, digits = 2): string {
  if (!present(share)) return MISSING;
  return `${Number((share * 100).toFixed(digits))} %`;
}

/** A learning rate or other small number: `1e-4`, `5.3e-4`, `0.01`. */
export function rate(value: Maybe): string {
  if (!present(value)) return MISSING;
  if (value === 0) return "0";
  if (Math.abs(value) >= 0.01 && Math.abs(value) < 1000) return significant(value, 3);
  const [mantissa = "", exponent = ""] = value.toExponential(2).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

/** At most `digits` significant digits, no trailing zeros. */
export function significant(value: Maybe, digits = 3): string {
  if (!present(value)) return MISSING;
  return rounding(digits).format(Number(value.toPrecision(digits)));
}

/** A length of time: `0.4 s`, `42 s`, `2 min 28 s`, `3 h 5 min`, `2 d 4 h`. */
export function duration(seconds: Maybe): string {
  if (!present(seconds)) return MISSING;
  if (seconds < 9.95 && seconds > 0) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(whole / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(whole / 3600);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large: number, unit: string, small: number, part: string): string {
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${part}`;
}

/** How long ago, or in how long, a moment is; `moment` and `now` in seconds since the epoch. */
export function relative(moment: Maybe, now: number = Date.now() / 1000): string {
  if (!present(moment)) return MISSING;
  const ago = now - moment;
  if (Math.abs(ago) < 5) return "just now";
  const text = coarse(Math.abs(ago));
  return ago > 0 ? `${text} ago` : `in ${text}`;
}

function coarse(seconds: number): string {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (seconds < 3570) return `${Math.round(seconds / 60)} min`;
  if (seconds < 84600) return `${Math.round(seconds / 3600)} h`;
  const days = Math.round(seconds / 86400);
  return `${days} ${days === 1 ? "day" : "days"}`;
}

/** A date with time in the reader's zone: `24 Nov 2026, 13:05`. */
export function moment(seconds: Maybe): string {
  if (!present(seconds)) return MISSING;
  return new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** `text` with a capital at its start. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A sentence as people write it: a capital at its start, a full stop at its end. Quoted names and code stay as they are. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  const start = /^[a-z]+[ ,]/.test(trimmed) ? trimmed.charAt(0).toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?…:]$/.test(start) ? start : `${start}.`;
}

/** `0.056 epochs`, `1 epoch`. */
export function epochs(value: number): string {
  const shown = Number(value.toFixed(3));
  return `${shown} ${shown === 1 ? "epoch" : "epochs"}`;
}

/** The last part of a path or hub id. */
export function shortName(path: string): string {
  return path.split("/").filter(Boolean).at(-1) ?? path;
}

/** `1 row`, `2 rows`, `1,024 rows`. */
export function count(value: number, noun: string, plural = `${noun}s`): string {
  return `${integer(value)} ${value === 1 ? noun : plural}`;
}

// Colours and cursor moves (CSI), titles and links (OSC), and the two-character escapes.
const ESCAPES =
  /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[ -/]*[0-~]/g;
// Control characters but tab and newline, and those that turn the direction of writing or have no width.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** `text` without terminal escapes, and with every other hidden character written as its code. */
export function visible(text: string): string {
  return text.replace(ESCAPES, "").replace(HIDDEN, (hidden) => {
    const code = hidden.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Lines of a log as a terminal would leave them: of what was overwritten by a carriage return the last state stays. */
export function logLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => {
    const states = line.split("\r").filter((state) => state !== "");
    return visible(states.at(-1) ?? "").replaceAll("\t", "    ");
  });
}
